"""Calls that run where they are made: ``apply()`` and ``task_always_eager``.

The plan is the one that would be submitted, and each call is run as a worker runs it, from bytes to
bytes: what would fail there fails here.
"""

from __future__ import annotations

import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from dask_facade.exceptions import Reject
from dask_facade.ledger.ends import errbacks_of, failure_of
from dask_facade.ledger.store import calls_of
from dask_facade.messages import Again, Edge, NewJob, Outcome, Shape
from dask_facade.packing import unpack_again
from dask_facade.plan import Plan
from dask_facade.registry import tasks
from dask_facade.serialization import NONE, dumps, load_exception, loads
from dask_facade.states import (
    FAILURE,
    IGNORED,
    PENDING,
    READY_STATES,
    REJECTED,
    RETRY,
    SUCCESS,
)
from dask_facade.worker.endings import failed, outcome_of
from dask_facade.worker.execution import Execution

Value = tuple[str, Any, str | None]
"""How a job ended: its state, what it returned or raised, and the traceback."""


class LocalRun:
    """A plan, run to its end in this thread. Nothing waits: what is due later runs at once."""

    def __init__(
        self,
        plan: Plan,
        *,
        submit: Callable[[Sequence[NewJob], Sequence[Edge]], float],
        result_of: Callable[[str], Any],
    ) -> None:
        """*submit* writes what calls submit; *result_of* waits for another plan's job."""
        self._execution = Execution(
            find=tasks.find,
            hostname=socket.gethostname(),
            inline_limit=sys.maxsize,
            store_limit=sys.maxsize,
            around=lambda: None,
        )
        self._edges: dict[str, list[Edge]] = {job.id: [] for job in plan.jobs}
        self._ends: dict[str, Outcome] = {}
        self._jobs = {job.id: job for job in plan.jobs}
        self._open = set(self._jobs)
        self._order = deque(plan.jobs)
        self._result_of = result_of
        self._submit = submit
        self.kept: dict[str, Any] = {}  # results that are never serialised
        for edge in plan.edges:
            self._edges[edge.child_id].append(edge)

    def run(self) -> None:
        """Run everything, in the order of dependence."""
        while self._order:
            job = self._order.popleft()
            if any(edge.parent_id in self._open for edge in self._edges[job.id]):
                self._order.append(job)
            elif job.id in self._open:
                self._end(self._jobs[job.id])

    def first_failure(self) -> BaseException | None:
        """Return the exception of the first job that failed; a rejected one has none."""
        for end in self._ends.values():
            if end.state == FAILURE:
                error = load_exception(end.result or NONE)
                if not isinstance(error, Reject):
                    return error
        return None

    def value(self, job_id: str) -> Value:
        """Return how a job ended, in Celery's words where its end was not to count as one."""
        end = self._ends[job_id]
        state = self._uncounted(job_id) or end.state
        if end.state not in READY_STATES or end.result is None:
            return state, self.kept.get(job_id), end.traceback
        if end.state == SUCCESS:
            return state, loads(end.result), None
        return state, load_exception(end.result), end.traceback

    def _uncounted(self, job_id: str) -> str | None:
        """Return what Celery calls the end of a job that was ignored or rejected, or is behind it.

        None: it was neither.
        """
        end = self._ends[job_id]
        if end.state == SUCCESS:
            return IGNORED if end.cut and end.result is None and job_id not in self.kept else None
        reason = self._reason(self._jobs[job_id])
        if reason is not None:
            return self._uncounted(reason.id)
        if end.state == FAILURE and isinstance(load_exception(end.result or NONE), Reject):
            return REJECTED
        return None

    def _end(self, job: NewJob) -> None:
        reason = self._reason(job)
        if reason is not None:
            shape, now = job.shape, time.time()
            end = failure_of(job.id, reason, attempt=1, hand=0, shape=shape, now=now)
        else:
            end = self._run(job, 1)
        if end.state == PENDING:
            self._order.append(job)
            return
        self._open.discard(job.id)
        self._ends[job.id] = end
        if end.state == FAILURE:
            own = self._jobs[job.id].errbacks
            errbacks = errbacks_of(job.id, own, inherited=reason is not None)
            self._take_in([each for each in errbacks if each.id not in self._jobs], ())

    def _reason(self, job: NewJob) -> Outcome | None:
        """Return the end of what *job* waits for in vain."""
        for edge in self._edges[job.id]:
            end = self._ends.get(edge.parent_id)
            if end is not None and (end.state != SUCCESS or end.cut):
                return end
        return None

    def _run(self, job: NewJob, attempt: int) -> Outcome:
        """Run *job*, again and again while it asks for that; PENDING if it is another one now."""
        while True:
            channel = _Here(self, job)
            (call,) = calls_of([job], time.time(), ())
            call = call._replace(attempt=attempt)
            if job.shape in (Shape.FIRST, Shape.ERROR):
                call = call._replace(inputs=channel.pull(0, None))
            end = self._execution.run(call, channel)
            if end.state not in (RETRY, PENDING):
                return end
            again = unpack_again(end.again)
            if end.state == PENDING and not again.becomes:  # handed out anew, to nobody
                error = Reject("nobody else is there to run it", requeue=True)
                return outcome_of(call, failed(error, None), end.finished, end.runtime)
            job = self._changed(job, again)
            attempt += 1
            if any(edge.parent_id in self._open for edge in self._edges[job.id]):
                return end

    def _changed(self, job: NewJob, again: Again) -> NewJob:
        """Return what a job is that goes on; take in what comes with it."""
        changed = job._replace(options=again.options)
        for new in again.becomes:
            changed = new._replace(
                root_id=job.root_id, parent_id=job.parent_id, group_id=job.group_id
            )
            own = self._edges[job.id]
            own[:] = [edge._replace(takes_result=False) for edge in own]
        self._jobs[job.id] = changed
        self._take_in(again.jobs, again.edges)
        return changed

    def _take_in(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> None:
        for job in jobs:
            self._edges[job.id] = []
            self._jobs[job.id] = job
            self._open.add(job.id)
            self._order.append(job)
        for edge in edges:
            self._edges[edge.child_id].append(edge)

    def inputs(self, job: NewJob) -> list[bytes]:
        """Return what a call of *job* takes, as a dispatcher would send it."""
        if job.shape == Shape.ERROR:
            failed = self._jobs[job.parent_id or ""]
            end = self._ends[failed.id]
            error, trace = end.result or NONE, end.traceback or ""
            return [failed.id.encode(), error, trace.encode(), failed.task.encode(), failed.payload]
        edges = sorted(self._edges[job.id], key=lambda edge: edge.position)
        return [self._bytes_of(edge.parent_id) for edge in edges if edge.takes_result]

    def _bytes_of(self, job_id: str) -> bytes:
        end = self._ends.get(job_id)
        if end is None:
            return dumps(self._result_of(job_id))
        return dumps(self.kept[job_id]) if end.result is None else end.result

    def submit(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """Write what a call submits; what is added to a chord that runs here runs here, too."""
        own = {job.id for job in jobs}
        if any(edge.child_id not in own for edge in edges):
            self._take_in(jobs, edges)
            return time.time()
        return self._submit(jobs, edges)


class _Here:
    """What a call has of the world that runs where it was made."""

    is_eager = True

    def __init__(self, run: LocalRun, job: NewJob) -> None:
        self._job = job
        self._run = run

    def spawn(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        return self._run.submit(jobs, edges)

    def update(self, state: str, meta: bytes, preview: str) -> None:
        """Nobody is there to be told."""

    def is_aborted(self) -> bool:
        return False

    def emit(self, value: Any) -> None:
        """Nobody is there to be told."""

    def pull(self, start: int, stop: int | None) -> Sequence[bytes]:
        return self._run.inputs(self._job)[start:stop]

    def take(self, job_id: str, key: str) -> Any:
        return self._run.kept[job_id]

    def keep(self, value: Any, data: bytes | None) -> str:
        self._run.kept[self._job.id] = value
        return self._job.id
