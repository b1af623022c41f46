"""What becomes of a pool's tasks: which run, and how the others have ended."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dask_facade.exceptions import (
    ClusterUnavailable,
    DecodeError,
    ResultLost,
    TimeLimitExceeded,
    TimeoutError,
)
from dask_facade.jobs import Job
from dask_facade.pools import journal
from dask_facade.pools.journal import SimulationLog
from dask_facade.pools.ledgers import Ledger
from dask_facade.pools.processes import TIMED_OUT
from dask_facade.pools.task import PoolTask
from dask_facade.result import AsyncResult
from dask_facade.states import SUCCESS
from dask_facade.waiting import Patience, ended

logger = logging.getLogger(__name__)

WARN_AFTER = 5  # looks
LOOK_EVERY = 1.0  # seconds between looks whether what runs them still is there


class Tally:
    """Tasks of one ledger, and their exit statuses as they come. Several threads may wait.

    *check* raises what keeps the tasks from ending. Ends that no worker has written to *log* are
    written there, as said by *code*.
    """

    def __init__(
        self, ledger: Ledger, check: Callable[[], None], log: SimulationLog | None, code: str
    ) -> None:
        self._active: dict[str, PoolTask] = {}  # by the id of the job
        self._check = check
        self._code = code
        self._ended: dict[str, Any] = {}
        self._ledger = ledger
        self._lock = threading.Lock()
        self._log = log
        self._new: dict[str, Any] = {}  # exit statuses that nobody has asked for yet
        self._unanswered = 0  # looks without a dispatcher, in a row

    @property
    def active(self) -> list[str]:
        """The ids of the jobs of tasks that have not ended, as far as is known."""
        with self._lock:
            return list(self._active)

    @property
    def ended(self) -> Mapping[str, Any]:
        """The exit statuses that are known, by task."""
        with self._lock:
            return dict(self._ended)

    def add(self, id: str, task: PoolTask) -> None:
        """Wait for this task, too, whose job has this id."""
        with self._lock:
            self._active[id] = task

    def settle(self, task: PoolTask, status: Any) -> None:
        """Take a task that ran where it was submitted."""
        with self._lock:
            self._new[task.name] = self._ended[task.name] = status

    def new(self) -> dict[str, Any]:
        """Return the exit statuses that were not returned yet."""
        with self._lock:
            new, self._new = self._new, {}
        return new

    def wait_for_news(self) -> None:
        """Return when there is something new, or nothing runs any more."""

        def first() -> list[Job]:
            return [next(ended(self._ledger.app, active, Patience(LOOK_EVERY)))]

        while (active := self.active) and not self._new:
            try:
                self._take(self._ledger.do(first))
            except TimeoutError as late:
                self._go_on(late)

    def wait(self, ids: Iterable[str], timeout: float | None = None) -> None:
        """Take the ends of jobs as they come, until all have ended; raise TimeoutError."""
        left = set(ids)

        def some() -> None:
            patience = Patience(LOOK_EVERY if timeout is None else timeout)
            for job in ended(self._ledger.app, list(left), patience):
                left.discard(job.id)
                self._take([job])

        while left:
            try:
                self._ledger.do(some)
            except TimeoutError as late:
                if timeout is not None:
                    raise
                self._go_on(late)

    def _go_on(self, late: TimeoutError) -> None:
        """Raise what keeps the tasks from ending; say, once, that no dispatcher answers."""
        self._check()
        if self._ledger.app.client.connected:
            self._unanswered = 0
            return
        self._unanswered += 1
        if self._unanswered == WARN_AFTER:
            logger.warning("a pool goes on waiting: %s", late)

    def look(self) -> None:
        """Take what has ended meanwhile, without waiting."""
        if active := self.active:
            known = self._ledger.do(lambda: self._ledger.app.store.fetch_committed(active))
            self._take(job for job in known.values() if job.ready)

    def _take(self, jobs: Iterable[Job]) -> None:
        for job in sorted(jobs, key=_finished):
            task = self._active.get(job.id)
            if task is None:
                continue
            status = self._status(job)
            with self._lock:
                if self._active.pop(job.id, None) is not None:  # no other thread has taken it
                    self._new[task.name] = self._ended[task.name] = status
                    self._note(job, task, status)

    def _status(self, job: Job) -> Any:
        result = AsyncResult(job.id, app=self._ledger.app)
        try:
            status = self._ledger.do(
                lambda: result.get(propagate=False, disable_sync_subtasks=False)
            )
        except (ClusterUnavailable, DecodeError, ResultLost) as error:  # it cannot be had here
            return error
        return TIMED_OUT if isinstance(status, TimeLimitExceeded) else status

    def _note(self, job: Job, task: PoolTask, status: Any) -> None:
        """Add the end of a task to the simulation log, if its worker could not."""
        log = self._log
        if log is None or log.has_end_of(job.id):
            return
        over = time.time() if job.finished is None else job.finished.timestamp()
        began = over if job.started is None else job.started.timestamp()
        timed_out = job.state != SUCCESS and status == TIMED_OUT
        state = journal.TIMED_OUT if timed_out else journal.FAILED
        log.ends(self._code, task.name, state, began, over, task_id=job.id, **task.told)


def _finished(job: Job) -> float:
    return 0.0 if job.finished is None else job.finished.timestamp()
