"""How named jobs are executed: what they are given is kept, or submitted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from dask_facade import current
from dask_facade.exceptions import ClusterUnavailable, DaskJobException, ResultLost
from dask_facade.graphs import Graph
from dask_facade.ids import new_id
from dask_facade.named import clusters
from dask_facade.named.reading import alias
from dask_facade.named.rows import (
    LINKS,
    all_rows,
    change,
    change_each,
    reread,
    said_of,
    taken,
)
from dask_facade.named.shares import share
from dask_facade.named.work import has_futures, leaves_of, place, restored, stored

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


@contextmanager
def telling() -> Iterator[None]:
    """Raise DaskJobException in place of what a cluster's absence or a lost future raise."""
    try:
        yield
    except (ClusterUnavailable, ResultLost) as error:
        raise DaskJobException(str(error)) from error


def address_for(job: DaskJob) -> str:
    """Return where a job's work goes; not in a transaction, for it may wait for the network."""
    with telling():
        return clusters.address_of(current.app(), job.scheduler)


def prepare(job: DaskJob, work: Any) -> None:
    """Keep *work* until the job is executed."""
    _save_new(job)
    data = _storable(work)
    with transaction.atomic(using=job._state.db):
        _take_unexecuted(job)
        change([job], work=data, **said_of(job))


def execute(job: DaskJob, work: Any) -> None:
    """Submit *work*, or what the job has prepared; a paused job keeps it."""
    _save_new(job)
    try:
        if work is None:
            work = _prepared(job)
        leaves = leaves_of(work)
        at = address_for(job)
        with telling(), transaction.atomic(using=job._state.db):
            _take_unexecuted(job)
            if job.held:
                change([job], work=_storable(work), **said_of(job))
            else:
                submit(job, work, leaves, at=at)
    except Exception as error:
        _refuse(job, error)
        raise


def _save_new(job: DaskJob) -> None:
    if job._state.adding:
        job.save(using=alias())


def _take_unexecuted(job: DaskJob) -> None:
    """Take a job's row; raise DaskJobException where it was executed or stopped."""
    taken(job)
    if job.execute_time is not None:
        raise DaskJobException(f"job {job} was executed before: resubmit it, or create another")
    if job.stopped:
        raise DaskJobException(f"job {job} was stopped before it was executed: create another")


def _prepared(job: DaskJob) -> Any:
    """Return the graph that the job keeps; raise DaskJobException where there is none."""
    kept = all_rows(job).filter(pk=job.pk, work__isnull=False).values_list("work", flat=True)
    data = kept.first()
    if data is None:
        raise DaskJobException(
            f"job {job} has no graph: execute it with one, or give one to prepare() before"
        )
    return restored(data)


def _storable(work: Any) -> bytes:
    """Return *work* as bytes; raise DaskJobException for what no job can keep."""
    leaves_of(work)
    if has_futures(work):
        raise DaskJobException("Dask has begun with a future already: execute the job at once")
    data = stored(work)
    if data is None:
        raise DaskJobException("the graph is too large to be kept until it is executed")
    return data


def submit(job: DaskJob, work: Any, leaves: Sequence[Any] | None, *, at: str) -> None:
    """Submit what a taken job does for the first time; *leaves* become jobs of their own."""
    change(
        [job],
        execute_time=timezone.now(),
        is_parent=leaves is not None,
        refusal="",
        **said_of(job),
    )
    if leaves is None:
        link([job], [work], at=at)
        return
    jobs = [_leaf(job, number) for number in range(1, len(leaves) + 1)]
    _place(jobs, leaves, at=at, again=False)
    all_rows(job).bulk_create(jobs)
    share(jobs, job.groups.keys())


def link(jobs: Sequence[DaskJob], works: Sequence[Any], *, at: str, again: bool = False) -> None:
    """Submit the work of taken jobs together, and write which jobs of the ledger do it.

    *at* is the address of their scheduler; "": the dispatcher's. *again* says that what the cluster
    knows to have failed of it is to run again.
    """
    _place(jobs, works, at=at, again=again)
    change_each(jobs, LINKS)


def _place(jobs: Sequence[DaskJob], works: Sequence[Any], *, at: str, again: bool) -> None:
    """Submit the work of jobs of one owner, and note in these objects which jobs do it."""
    first = jobs[0]
    placed = place(
        current.app(),
        [Graph(new_id(), work, job.name, again) for job, work in zip(jobs, works, strict=True)],
        owner=first.owner,
        function=first.results_function,
        forget=first.forget,
        scheduler=at,
    )
    for job, its in zip(jobs, placed, strict=True):
        job.ledger_id, job.results_id = its.ledger_id, its.results_id
        job.key, job.work = its.key, its.work


def _leaf(job: DaskJob, number: int) -> DaskJob:
    ending = f" {number}"
    longest = job._meta.get_field("name").max_length or len(job.name)
    return type(job)(
        name=job.name[: longest - len(ending)] + ending,
        description=job.description,
        label=job.label,
        owner=job.owner,
        scheduler=job.scheduler,
        forget=job.forget,
        results_function=job.results_function,
        extended_properties=job.extended_properties,
        parent=job,
        execute_time=job.execute_time,
    )


def _refuse(job: DaskJob, error: Exception) -> None:
    """Write why a job could not be executed, unless it has been."""
    words = str(error) or type(error).__name__
    all_rows(job).filter(pk=job.pk, execute_time=None).update(refusal=words)
    with suppress(DaskJobException):  # it has been deleted
        reread(job)
