"""Named jobs that are kept from beginning, and let go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction

from dask_facade import current
from dask_facade.exceptions import DaskJobException
from dask_facade.named import clusters, statuses
from dask_facade.named.reading import standings
from dask_facade.named.steering import LINKS, link, members, submit, take, telling, withdraw
from dask_facade.named.work import leaves_of, restored

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


def pause(job: DaskJob) -> None:
    """Hold what has not begun."""
    with transaction.atomic(using=job._state.db):
        take(job, LINKS)
        rows = members(job)
        where = standings(rows)
        if not job.is_parent:
            _require_pausable(job, where[job.pk].kind)
        going = [
            each
            for each in rows
            if where[each.pk].kind == statuses.PENDING
            or (where[each.pk].kind == statuses.SUBMITTED and each.work is not None)
        ]
        if not going and job.standing.kind != statuses.PAUSED:
            raise NotImplementedError("all of its leaves have begun: what runs cannot be paused")
        for each in going:
            each.held = True
            each.save(update_fields=["held"])
        withdraw([each for each in going if each.ledger_id], terminate=False)
    if job in going:
        job.held = True


def _require_pausable(job: DaskJob, status: str) -> None:
    if status in statuses.TERMINAL:
        raise DaskJobException(f"job {job} has ended: there is nothing to be paused")
    if status == statuses.SUBMITTED and job.work is None:
        raise NotImplementedError(
            "a future, or a graph too large to be kept, cannot be paused: Dask has begun with it"
        )
    if status not in (statuses.PENDING, statuses.SUBMITTED, statuses.PAUSED):
        raise NotImplementedError(
            "a job that runs cannot be paused: Dask cannot interrupt what it has begun. It can be "
            "stopped"
        )


def resume(job: DaskJob) -> None:
    """Let go on what is held: what had begun before it was withdrawn is left as it is."""
    job.refresh_from_db(fields=LINKS)
    held = [each for each in members(job) if each.held]
    if not held:
        raise DaskJobException(f"job {job} is not paused")
    if any(each.work is not None for each in held):
        with telling():
            clusters.require_ours(current.app(), job.scheduler)
    with telling(), transaction.atomic(using=job._state.db):
        where = standings(held)
        rows = type(job)._default_manager.using(job._state.db)
        # Of two who resume it at once, one finds it held.
        freed = [each for each in held if rows.filter(pk=each.pk, held=True).update(held=False)]
        for each in freed:
            each.held = False
        ours = [
            each
            for each in freed
            if each.work is not None and where[each.pk].kind == statuses.PAUSED
        ]
        withdrawn = [each for each in ours if each.execute_time is not None]
        if withdrawn:
            link(withdrawn, [restored(each.work) for each in withdrawn])
        for each in ours:
            if each.execute_time is None:
                work = restored(each.work)
                submit(each, work, leaves_of(work))
    job.refresh_from_db(fields=LINKS)
