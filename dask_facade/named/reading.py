"""What the ledger says of named jobs: many at a time, and nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Case, Q, Value, When

from dask_facade import current
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.named.standing import Seen, Standing, standing_of, standing_of_parent
from dask_facade.named.statuses import TERMINAL
from dask_facade.result import AsyncResult

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob

CHUNK = 500  # ids in one query
_FIELDS = ("state", "said", "result_preview", "far", "worker", "claimed", "started", "finished")


def alias() -> str:
    """Return the database of the ledger, which has the named jobs, too."""
    found: str | None = getattr(current.app().store, "alias", None)
    if found is None:
        raise ImproperlyConfigured(
            "named jobs need the ledger of a Django site; this app has one in memory"
        )
    return found


def seen(ids: Collection[str], using: str) -> dict[str, Seen]:
    """Return what the ledger says of these jobs; unknown ids are left out."""
    rows = apps.get_model("dask_facade", "Job")._default_manager.using(using)
    far = Case(When(Q(result=None) & ~Q(key=""), then=Value(True)), default=Value(False))
    wanted, found = list(ids), dict[str, Seen]()
    for start in range(0, len(wanted), CHUNK):
        those = rows.filter(id__in=wanted[start : start + CHUNK]).annotate(far=far)
        found.update((id, Seen(*said)) for id, *said in those.values_list("id", *_FIELDS))
    return found


def standings(jobs: Iterable[DaskJob]) -> dict[Any, Standing]:
    """Return where jobs stand, by their primary keys."""
    jobs = list(jobs)
    if not jobs:
        return {}
    using = jobs[0]._state.db or alias()
    parents = [job for job in jobs if job.is_parent]
    leaves: Sequence[DaskJob] = ()
    if parents:
        leaves = list(type(parents[0])._default_manager.using(using).defer("work").filter(
            parent__in=[job.pk for job in parents]
        ))  # fmt: skip
    ids = {id for job in (*jobs, *leaves) for id in (job.ledger_id, job.results_id) if id}
    known = seen(ids, using)
    below: dict[Any, list[Standing]] = {job.pk: [] for job in parents}
    for leaf in leaves:
        below[leaf.parent_id].append(_alone(leaf, known))
    return {
        job.pk: standing_of_parent(job.own(), below[job.pk])
        if job.is_parent
        else _alone(job, known)
        for job in jobs
    }


def _alone(job: DaskJob, known: Mapping[str, Seen]) -> Standing:
    return standing_of(job.own(), known.get(job.ledger_id), known.get(job.results_id))


def results_id_of(job: DaskJob) -> str:
    """Return the id of the ledger's job whose result is that of *job*."""
    return job.results_id or job.ledger_id


def result_of(job: DaskJob) -> Any:
    """Return the result of a job, see `DaskJob.result`."""
    if job.forget:
        return None
    if job.is_parent:
        return [result_of(leaf) for leaf in job.leaves.order_by("id")]
    if not job.ledger_id or job.standing.kind not in TERMINAL:
        return None
    return AsyncResult(results_id_of(job), app=current.app()).result


def preview_of(job: DaskJob) -> str:
    """Return the result of a job as people may see it, without rebuilding it."""
    if job.is_parent:
        return "\n".join(f"{leaf.name}: {preview_of(leaf)}" for leaf in job.leaves.order_by("id"))
    found = seen([results_id_of(job)], job._state.db or alias()).get(results_id_of(job))
    return "" if found is None or found.finished is None else found.words


def logs_of(job: DaskJob) -> dict[str, str]:
    """Return what is known of a job's run, by heading."""
    if job.is_parent:
        return {
            f"{leaf.name}: {heading}": text
            for leaf in job.leaves.order_by("id")
            for heading, text in logs_of(leaf).items()
        }
    using = job._state.db or alias()
    known = seen([id for id in (job.ledger_id, job.results_id) if id], using)
    rows = apps.get_model("dask_facade", "Job")._default_manager.using(using)
    traces: dict[str, str | None] = dict(
        rows.filter(id__in=list(known)).values_list("id", "traceback")
    )
    logs = {"Job": "\n".join(_told(job))}
    for heading, id in (("Work", job.ledger_id), ("Results function", job.results_id)):
        if id in known:
            logs[heading] = "\n".join(_history(id, known[id]))
            if trace := traces.get(id):
                logs[f"{heading}: traceback"] = trace
    return logs


def _told(job: DaskJob) -> Iterable[str]:
    standing = job.standing
    yield f"{job.creation_time:%Y-%m-%d %H:%M:%S} created by {job.owner}"
    if job.execute_time is not None:
        yield f"{job.execute_time:%Y-%m-%d %H:%M:%S} executed"
    yield f"{standing.status}{f': {standing.message}' if standing.message else ''}"


def _history(id: str, job: Seen) -> Iterable[str]:
    yield f"job {id}{f' on {job.worker}' if job.worker else ''}"
    for what, when in (("claimed", job.claimed), ("begun", job.started), ("ended", job.finished)):
        if when is not None:
            yield f"{when:%Y-%m-%d %H:%M:%S.%f} {what}"
    if job.finished is not None:
        yield f"{job.state}: {job.words}"
