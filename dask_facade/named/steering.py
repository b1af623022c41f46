"""What is done with named jobs: executed, held, stopped, deleted.

Rows are written with guards, and what moves the ledger's jobs is asked of the dispatcher in the
same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from dask_facade import current
from dask_facade.control import ask
from dask_facade.exceptions import ClusterUnavailable, DaskJobException, ResultLost
from dask_facade.graphs import Graph
from dask_facade.ids import new_id
from dask_facade.jobs import FORGET, REVOKE
from dask_facade.named import clusters, statuses
from dask_facade.named.reading import alias, seen, standings
from dask_facade.named.work import (
    has_futures,
    leaves_of,
    path_of,
    place,
    process,
    restored,
    stored,
)
from dask_facade.states import PENDING

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob

LINKS = ("ledger_id", "results_id", "key", "work", "held", "stopped", "refusal", "execute_time",
         "is_parent")  # fmt: skip


def say(job: DaskJob, status: str | None) -> None:
    """Show *status*, words of the project's own; None: read the job's row again."""
    if status is None:
        job.refresh_from_db(fields=[*LINKS, "own_status", "own_message"])
        return
    if status in statuses.MEANINGS and status != statuses.OTHER:
        raise ValueError(
            f"{status!r} is for the ledger to tell: only words of your own can be said of a job"
        )
    job.own_status = status
    job.save(update_fields=["own_status"])


def prepare(job: DaskJob, work: Any) -> None:
    """Keep *work* until the job is executed."""
    require_unexecuted(job)
    leaves_of(work)
    if has_futures(work):
        raise DaskJobException("Dask has begun with a future already: execute the job at once")
    data = stored(work)
    if data is None:
        raise DaskJobException("the graph is too large to be kept until it is executed")
    job.work = data
    job.save()


def execute(job: DaskJob, work: Any) -> None:
    """Submit *work*, or what the job has prepared."""
    if job._state.adding:
        job.save(using=alias())
    try:
        with telling():
            require_unexecuted(job)
            if work is None:
                work = prepared(job)
            leaves = leaves_of(work)
            # Before the transaction, which on SQLite keeps everybody from writing.
            clusters.require_ours(current.app(), job.scheduler)
        with telling(), transaction.atomic(using=job._state.db):
            if job.held:
                prepare(job, work)
            else:
                submit(job, work, leaves)
    except Exception as error:
        _refuse(job, error)
        raise


def require_unexecuted(job: DaskJob) -> None:
    """Raise DaskJobException for a job that has been executed."""
    job.refresh_from_db(fields=LINKS_BUT_WORK)
    if job.execute_time is not None:
        raise DaskJobException(f"job {job} was executed before: resubmit it, or create another")


LINKS_BUT_WORK = [name for name in LINKS if name != "work"]


def prepared(job: DaskJob) -> Any:
    """Return the graph that the job keeps; raise DaskJobException where there is none."""
    if job.work is None:
        raise DaskJobException(
            f"job {job} has no graph: execute it with one, or give one to prepare() before"
        )
    return restored(job.work)


@contextmanager
def telling() -> Iterator[None]:
    """Raise DaskJobException in place of what a cluster's absence or a lost future raise."""
    try:
        yield
    except (ClusterUnavailable, ResultLost) as error:
        raise DaskJobException(str(error)) from error


def submit(job: DaskJob, work: Any, leaves: Sequence[Any] | None) -> None:
    rows = type(job)._default_manager.using(job._state.db)
    now = timezone.now()
    if not rows.filter(pk=job.pk, execute_time=None).update(execute_time=now):
        raise DaskJobException(f"job {job} was executed meanwhile by somebody else")
    job.execute_time = now
    job.refusal, job.stopped = "", False
    if leaves is None:
        link([job], [work])
    else:
        job.is_parent = True
        job.save()
        link([_leaf(job, number) for number in range(1, len(leaves) + 1)], leaves)


def link(jobs: Sequence[DaskJob], works: Sequence[Any], *, again: bool = False) -> None:
    """Submit the work of jobs of one owner together, and write which jobs of the ledger do it.

    *again* says that what the cluster knows to have failed of it is to run again.
    """
    first = jobs[0]
    placed = place(
        current.app(),
        [Graph(new_id(), work, job.name, again) for job, work in zip(jobs, works, strict=True)],
        owner=first.owner,
        function=first.results_function,
        forget=first.forget,
    )
    for job, its in zip(jobs, placed, strict=True):
        job.ledger_id, job.results_id = its.ledger_id, its.results_id
        job.key, job.work = its.key, its.work
        job.save()


def _leaf(job: DaskJob, number: int) -> DaskJob:
    ending = f" {number}"
    longest = job._meta.get_field("name").max_length or len(job.name)
    leaf = type(job)(
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
    leaf.save(using=job._state.db)
    leaf.groups.set(job.groups.keys())
    return leaf


def _refuse(job: DaskJob, error: Exception) -> None:
    """Write why a job could not be executed, unless it has been."""
    job.refresh_from_db(fields=LINKS)
    if job.execute_time is None:
        job.refusal = str(error) or type(error).__name__
        job.save(update_fields=["refusal"])


def members(job: DaskJob) -> list[DaskJob]:
    """Return the leaves of a parent, else the job alone."""
    return list(job.leaves.order_by("id")) if job.is_parent else [job]


def take(job: DaskJob, fields: Sequence[str]) -> None:
    """Read a job's row anew; until the transaction ends, nobody else submits what it does."""
    rows = type(job)._base_manager.using(job._state.db).select_for_update()
    job.refresh_from_db(fields=fields, from_queryset=rows)


def stop(job: DaskJob) -> None:
    """Ask that the job's work ends; nothing is done about what has ended."""
    with transaction.atomic(using=job._state.db):
        take(job, LINKS_BUT_WORK)
        rows = members(job)
        where = standings(rows)
        going = [each for each in rows if where[each.pk].kind not in statuses.TERMINAL]
        for each in going:
            each.stopped, each.held = True, False
            each.save(update_fields=["stopped", "held"])
        withdraw(going, terminate=True)
    if job in going:
        job.stopped, job.held = True, False


def withdraw(jobs: Collection[DaskJob], *, terminate: bool) -> None:
    """Ask that jobs of the ledger are revoked; let Dask drop those that nobody follows yet."""
    app = current.app()
    ids = [id for job in jobs for id in (job.ledger_id, job.results_id) if id]
    if not ids:
        return
    ask(app, REVOKE, ids, terminate=terminate)
    known = seen([job.ledger_id for job in jobs if job.ledger_id], next(iter(jobs))._state.db or "")
    unfollowed = [id for id, said in known.items() if said.state == PENDING]
    if unfollowed:
        app.store.on_commit(partial(clusters.give_up, app, unfollowed))


def process_results(job: DaskJob) -> None:
    """Submit the call of the results function of a job that was executed without one."""
    for each in members(job):
        function = job.results_function or each.results_function
        if each.results_id or not each.ledger_id or not function or each.forget:
            continue
        with transaction.atomic(using=job._state.db):
            rows = type(job)._default_manager.using(job._state.db)
            claim = new_id()
            if rows.filter(pk=each.pk, results_id="").update(results_id=claim):
                id = process(current.app(), path_of(function), each.ledger_id, each.owner)
                rows.filter(pk=each.pk).update(results_id=id, results_function=function)
                each.results_id = id
                if each.pk == job.pk:
                    job.results_id = id


def delete(
    job: DaskJob, delete_row: Callable[..., tuple[int, dict[str, int]]]
) -> tuple[int, dict[str, int]]:
    """Stop a job, let the ledger forget it once it has ended, and delete its row and leaves."""
    with transaction.atomic(using=job._state.db):
        with suppress(type(job).DoesNotExist):  # somebody else has deleted it
            take(job, LINKS_BUT_WORK)
        rows = members(job)
        withdraw(rows, terminate=True)
        ids = [id for each in rows for id in (each.results_id, each.ledger_id) if id]
        ask(current.app(), FORGET, ids)
        return delete_row()
