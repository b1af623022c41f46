"""Runs of the main job: starting one, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.db import transaction

from codebase.models import Run
from codebase.tasks import measure, rank
from dask_facade import AsyncResult, Signature, chord
from dask_facade.models import Job
from dask_facade.states import PENDING, READY_STATES

PATIENCE = timedelta(seconds=5)
FORGOTTEN = "FORGOTTEN"


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    *state* is that of the main job, or `FORGOTTEN` when its row has been pruned;
    *stalled* says that no file was finished for `PATIENCE`.
    """

    state: str
    completed: int
    total: int
    stalled: bool

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in READY_STATES or self.state == FORGOTTEN


def main_job(paths: Iterable[str]) -> Signature:
    """Return the main job: measure each file, then rank them all."""
    return chord((measure.s(path) for path in paths), rank.s())


def start_run(paths: Sequence[str], owner: Any = None) -> AsyncResult:
    """Submit the main job and remember it, both in one transaction; its jobs are *owner*'s."""
    with transaction.atomic():
        result = main_job(paths).apply_async(user=owner)
        Run.objects.create(job_id=result.id, group_id=result.parent.id, files=len(paths))
    return result


def states_of(runs: Iterable[Run]) -> dict[str, str]:
    """Return the states of the runs' main jobs by job id, with one query."""
    ids = [run.job_id for run in runs]
    found = dict(Job.objects.filter(id__in=ids).values_list("id", "state"))
    return {job_id: found.get(job_id, FORGOTTEN) for job_id in ids}


def progress_of(run: Run, *, now: datetime) -> Progress:
    """Ask the ledger how far the run has come."""
    state = states_of([run])[run.job_id]
    ended = Job.objects.filter(group_id=run.group_id, state__in=READY_STATES)
    completed = min(ended.count(), run.files)
    return Progress(
        state=state,
        completed=completed,
        total=run.files,
        stalled=state == PENDING and now - last_move(run, completed, now=now) > PATIENCE,
    )


def last_move(run: Run, completed: int, *, now: datetime) -> datetime:
    """Return when this count was first seen; a run that has not begun moved when it was made."""
    if completed == 0:
        return run.created
    seen: datetime | None = cache.get_or_set(
        f"codebase:{run.job_id}:{completed}", now, timeout=3600
    )
    return seen or now


def seconds_of(run: Run) -> float | None:
    """Return how long a run took from its submission, None when the end is not known."""
    ended = AsyncResult(run.job_id).date_done
    return None if ended is None else (ended - run.created).total_seconds()


def ranking_of(run: Run) -> dict[str, Any] | None:
    """Return the result of a run that succeeded, None when it is no longer kept."""
    record = AsyncResult(run.job_id).result
    return record if isinstance(record, dict) else None
