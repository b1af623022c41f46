"""Running named jobs again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone

from dask_facade import current
from dask_facade.control import ask
from dask_facade.exceptions import DaskJobException
from dask_facade.jobs import REOPEN
from dask_facade.named import clusters, statuses
from dask_facade.named.reading import seen, standings
from dask_facade.named.steering import LINKS, link, members, telling
from dask_facade.named.work import restored
from dask_facade.states import FAILURE, SUCCESS

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


def retry(job: DaskJob) -> None:
    """Run again what ended badly: the results function alone, where it was that."""
    with telling():
        clusters.require_ours(current.app(), job.scheduler)
    with telling(), transaction.atomic(using=job._state.db):
        job.refresh_from_db(fields=LINKS)
        where = standings(members(job))
        bad = [each for each in members(job) if where[each.pk].kind in statuses.ENDED_BADLY]
        if not bad:
            raise DaskJobException(f"nothing of job {job} has ended badly")
        known = seen([each.ledger_id for each in bad], job._state.db or "")
        for each in bad:
            work = known.get(each.ledger_id)
            if each.results_id and work is not None and work.state == SUCCESS:
                ask(current.app(), REOPEN, [each.results_id])
            else:
                _again(each)
    job.refresh_from_db(fields=LINKS)


def resubmit(job: DaskJob) -> None:
    """Run all of a job again that has ended."""
    with telling():
        clusters.require_ours(current.app(), job.scheduler)
    with telling(), transaction.atomic(using=job._state.db):
        job.refresh_from_db(fields=LINKS)
        rows = members(job)
        where = standings(rows)
        if any(where[each.pk].kind not in statuses.TERMINAL for each in rows):
            raise DaskJobException(f"job {job} has not ended: stop it first")
        for each in rows:
            _again(each)
    job.refresh_from_db(fields=LINKS)


def _again(job: DaskJob) -> None:
    """Submit a job's work anew, as other jobs of the ledger."""
    work = _work_of(current.app(), job)
    rows = type(job)._default_manager.using(job._state.db)
    now = timezone.now()
    if not rows.filter(pk=job.pk, execute_time=job.execute_time).update(execute_time=now):
        raise DaskJobException(f"job {job} was submitted meanwhile by somebody else")
    job.execute_time = now
    job.stopped = job.held = False
    job.refusal = ""
    link([job], [work], again=True)


def _work_of(app: Any, job: DaskJob) -> Any:
    if job.work is not None:
        return restored(job.work)
    known = seen([job.ledger_id], job._state.db or "")
    if job.ledger_id not in known or known[job.ledger_id].state != FAILURE:
        raise DaskJobException(
            f"job {job} cannot run again: it followed a future that has not failed, or a graph too "
            "large to be kept"
        )
    return clusters.followed(app, job.ledger_id)
