"""Named jobs that are kept from beginning, and let go on."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from django.db import transaction

from dask_facade.exceptions import DaskJobException
from dask_facade.named import statuses
from dask_facade.named.executing import address_for, link, submit, telling
from dask_facade.named.reading import ends_of, standing_in
from dask_facade.named.rows import change, members, taken, works_of
from dask_facade.named.steering import withdraw
from dask_facade.named.work import leaves_of, restored

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


def pause(job: DaskJob) -> None:
    """Hold what has not begun."""
    with transaction.atomic(using=job._state.db):
        rows = taken(job)
        known = ends_of(rows)
        kinds = {each.pk: standing_in(known, each).kind for each in rows}
        going = [
            each
            for each in rows
            if kinds[each.pk] == statuses.PENDING
            or (kinds[each.pk] == statuses.SUBMITTED and each.has_graph)
        ]
        if not going:
            _require_paused(job, set(kinds.values()))
        change(going, held=True)
        withdraw(going, known, terminate=False)


def _require_paused(job: DaskJob, kinds: Collection[str]) -> None:
    """Raise where nothing of a job is paused: DaskJobException if there is nothing left to be."""
    if statuses.PAUSED in kinds:
        return
    if statuses.TERMINAL.issuperset(kinds):
        raise DaskJobException(f"job {job} has ended: there is nothing to be paused")
    if statuses.SUBMITTED in kinds:
        raise NotImplementedError(
            "a future, or a graph too large to be kept, cannot be paused: Dask has begun with it"
        )
    raise NotImplementedError(
        "a job that runs cannot be paused: Dask cannot interrupt what it has begun. It can be "
        "stopped"
    )


def resume(job: DaskJob) -> None:
    """Let go on what is held: what had begun before it was withdrawn is left as it is."""
    waits = any(each.held and each.has_graph for each in members(job))
    at = address_for(job) if waits else ""
    with telling(), transaction.atomic(using=job._state.db):
        held = [each for each in taken(job) if each.held]
        if not held:
            raise DaskJobException(f"job {job} is not paused")
        known = ends_of(held)
        paused = [each for each in held if standing_in(known, each).kind == statuses.PAUSED]
        change(held, held=False)
        works = {pk: restored(data) for pk, data in works_of(paused).items()}
        withdrawn = [each for each in paused if each.pk in works and each.execute_time is not None]
        if withdrawn:
            link(withdrawn, [works[each.pk] for each in withdrawn], at=at)
        elif job.pk in works:
            submit(job, works[job.pk], leaves_of(works[job.pk]), at=at)
