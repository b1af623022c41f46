"""Rows of named jobs, for who changes what they do."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from dask_facade.exceptions import DaskJobException
from dask_facade.named.reading import CHUNK

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob, DaskJobs

STEERED = ("ledger_id", "results_id", "key", "held", "stopped", "refusal", "execute_time",
           "is_parent")  # fmt: skip
LINKS = ("ledger_id", "results_id", "key", "work")
SAID = ("name", "description", "label", "owner", "extended_properties", "scheduler", "forget",
        "results_function", "own_message")  # fmt: skip


def reread(job: DaskJob) -> None:
    """Read anew what is done about a job; raise DaskJobException for one that was deleted."""
    _read(job, all_rows(job).slim())


def members(job: DaskJob) -> list[DaskJob]:
    """Read a job anew; return the rows that do its work: its leaves, else itself.

    Their graphs are not read. Raises DaskJobException for a job that was deleted.
    """
    return _members(job, all_rows(job).slim())


def taken(job: DaskJob) -> list[DaskJob]:
    """Return what `members` does; until the transaction ends nobody else changes these rows."""
    return _members(job, all_rows(job).slim().select_for_update())


def _members(job: DaskJob, rows: DaskJobs) -> list[DaskJob]:
    _read(job, rows)
    return list(rows.filter(parent=job.pk).order_by("pk")) if job.is_parent else [job]


def _read(job: DaskJob, rows: DaskJobs) -> None:
    found = rows.filter(pk=job.pk).first()
    if found is None:
        raise DaskJobException(f"job {job} was deleted")
    for name in (*STEERED, "graph_is_kept"):
        setattr(job, name, getattr(found, name))
    job.__dict__.pop("work", None)  # what was read of it before may be of the past
    job.noted = None


def all_rows(job: DaskJob) -> DaskJobs:
    """Return all named jobs, where this one is."""
    rows: DaskJobs = type(job)._default_manager.using(job._state.db)
    return rows


def change(jobs: Sequence[DaskJob], **values: Any) -> None:
    """Write columns of rows that were taken, and nothing else of them."""
    for start in range(0, len(jobs), CHUNK):
        those = [job.pk for job in jobs[start : start + CHUNK]]
        all_rows(jobs[0]).filter(pk__in=those).update(**values)
    for job in jobs:
        for name, value in values.items():
            setattr(job, name, value)


def change_each(jobs: Sequence[DaskJob], fields: Collection[str]) -> None:
    """Write what differs between rows that were taken, as it stands in these objects."""
    if jobs:
        all_rows(jobs[0]).bulk_update(jobs, fields)


def said_of(job: DaskJob) -> dict[str, Any]:
    """Return what its owner says of a job, by column: nobody else writes these."""
    return {name: getattr(job, name) for name in SAID}


def works_of(jobs: Collection[DaskJob]) -> dict[Any, bytes | memoryview | None]:
    """Return the graphs that jobs keep, by primary key."""
    kept = [job for job in jobs if job.has_graph]
    if not kept:
        return {}
    those = all_rows(kept[0]).filter(pk__in=[job.pk for job in kept])
    return dict(those.values_list("pk", "work"))
