"""Running named jobs again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from dask_facade import current
from dask_facade.control import ask
from dask_facade.exceptions import DaskJobException
from dask_facade.jobs import REOPEN
from dask_facade.named import clusters, statuses
from dask_facade.named.executing import address_for, link, submit, telling
from dask_facade.named.reading import ends_of, standing_in
from dask_facade.named.rows import change, taken, works_of
from dask_facade.named.standing import Seen
from dask_facade.named.work import leaves_of, restored
from dask_facade.states import FAILURE, SUCCESS

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


def retry(job: DaskJob) -> None:
    """Run again what ended badly: the results function alone, where it was that."""
    at = address_for(job)
    with telling(), transaction.atomic(using=job._state.db):
        rows = taken(job)
        known = ends_of(rows)
        bad = [each for each in rows if standing_in(known, each).kind in statuses.ENDED_BADLY]
        if not bad:
            raise DaskJobException(f"nothing of job {job} has ended badly")
        if job.execute_time is None:
            _begin(job, at)
            return
        processed = [each for each in bad if each.results_id and _ended_well(each, known)]
        if processed:
            ask(current.app(), REOPEN, [each.results_id for each in processed])
        _again([each for each in bad if each not in processed], known, at)


def _ended_well(job: DaskJob, known: Mapping[str, Seen]) -> bool:
    return job.ledger_id in known and known[job.ledger_id].state == SUCCESS


def resubmit(job: DaskJob) -> None:
    """Run all of a job again that has ended."""
    at = address_for(job)
    with telling(), transaction.atomic(using=job._state.db):
        rows = taken(job)
        known = ends_of(rows)
        if any(standing_in(known, each).kind not in statuses.TERMINAL for each in rows):
            raise DaskJobException(f"job {job} has not ended: stop it first")
        if job.execute_time is None:
            _begin(job, at)
            return
        _again(rows, known, at)
        if job.is_parent:
            change([job], execute_time=timezone.now())


def _begin(job: DaskJob, at: str) -> None:
    """Submit what a job has kept that was refused, or stopped, before it was executed."""
    kept = works_of([job])
    if not kept:
        raise DaskJobException(f"job {job} was never executed, and has no graph: create another")
    work = restored(kept[job.pk])
    change([job], stopped=False, held=False)
    submit(job, work, leaves_of(work), at=at)


def _again(jobs: Sequence[DaskJob], known: Mapping[str, Seen], at: str) -> None:
    """Submit the work of jobs anew, as other jobs of the ledger."""
    if not jobs:
        return
    kept = works_of(jobs)
    works = [restored(kept[job.pk]) if job.pk in kept else _followed(job, known) for job in jobs]
    change(jobs, execute_time=timezone.now(), stopped=False, held=False, refusal="")
    link(jobs, works, at=at, again=True)


def _followed(job: DaskJob, known: Mapping[str, Seen]) -> Any:
    """Return the future that a job has followed, if that has failed."""
    if job.ledger_id not in known or known[job.ledger_id].state != FAILURE:
        raise DaskJobException(
            f"job {job} cannot run again: it followed a future that has not failed, or a graph too "
            "large to be kept"
        )
    return clusters.followed(current.app(), job.ledger_id)
