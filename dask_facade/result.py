"""Results: what became of jobs, for any process that knows their ids."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from dask_facade import current
from dask_facade.exceptions import TaskRevokedError, TimeoutError
from dask_facade.jobs import Job
from dask_facade.messages import Outcome
from dask_facade.serialization import load_exception, loads
from dask_facade.states import (
    EXCEPTION_STATES,
    FAILURE,
    PENDING,
    PROPAGATE_STATES,
    RECEIVED,
    REVOKED,
    SUCCESS,
)

FRESH = 0.005  # seconds in which a job is not expected to have ended
POLL_CONNECTED = 5.0  # seconds between looks at the ledger while the dispatcher tells of ends
POLL_FIRST = 0.05  # seconds until the first look without a dispatcher; then twice that, and so on
POLL_MOST = 1.0


class AsyncResult:
    """What becomes of one job. Every state comes from the ledger."""

    def __init__(
        self,
        id: str,
        parent: AsyncResult | GroupResult | None = None,
        *,
        app: Any = None,
        ignored: bool = False,
    ) -> None:
        self.id = id
        self.ignored = ignored
        self.parent = parent
        self._app = app
        self._final: Job | None = None
        self._made = time.monotonic()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AsyncResult) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __str__(self) -> str:
        return self.id

    @property
    def app(self) -> Any:
        """The app it reads through."""
        return self._app or current.app()

    @property
    def task_id(self) -> str:
        """The id, under its other name."""
        return self.id

    @property
    def state(self) -> str:
        """The state; PENDING also for an id that nobody knows, and for a job not yet begun."""
        state = self._job().state
        return PENDING if state == RECEIVED else state

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception that it raised; None before its end."""
        job = self._job()
        return _exception(job) if job.state in EXCEPTION_STATES else _value(job)

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a task that raised."""
        return self._job().traceback

    @property
    def date_done(self) -> datetime | None:
        """When the job ended, in UTC; None before."""
        return self._job().finished

    @property
    def name(self) -> str:
        """The task's name."""
        return self._job().task

    def ready(self) -> bool:
        """Tell whether the job has ended."""
        return self._job().ready

    def successful(self) -> bool:
        """Tell whether it ended well."""
        return self._job().state == SUCCESS

    def failed(self) -> bool:
        """Tell whether it failed."""
        return self._job().state == FAILURE

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        disable_sync_subtasks: bool = True,
        **_celery_options: Any,
    ) -> Any:
        """Wait for the job and return what its task returned.

        Waits up to *timeout* seconds (None: for ever). Raises the task's own exception if it failed
        (without *propagate*: returns it), that of the job before it which made it fail,
        TaskRevokedError if it was revoked, and TimeoutError if it is unfinished when the time is
        up. Celery's options for polling are accepted and mean nothing here.
        """
        if self.ignored:
            return None
        if disable_sync_subtasks:
            _refuse_in_task()
        job = self._final
        if job is None and time.monotonic() - self._made > FRESH:
            job = self._job()  # it may have ended by now: that costs less than to ask for its end
        if job is None or not job.ready:
            (job,) = _ended(self.app, [self.id], timeout)
            self._final = job
        return self._outcome(job, propagate)

    wait = get

    def _outcome(self, job: Job, propagate: bool) -> Any:
        if job.state not in PROPAGATE_STATES:
            return _value(job)
        if propagate:
            raise self._first_error() or _exception(job)
        return _exception(job)

    def _first_error(self) -> BaseException | None:
        """Return the exception of the job furthest back that failed, if one did."""
        before: list[AsyncResult | GroupResult] = []
        parent = self.parent
        while parent is not None:
            before.append(parent)
            parent = parent.parent
        ids = [id for each in reversed(before) for id in _leaves(each)]
        jobs = self.app.store.fetch(ids) if ids else {}
        for id in ids:
            job = jobs.get(id)
            if job is not None and job.state in PROPAGATE_STATES:
                return _exception(job)
        return None

    def _job(self) -> Job:
        if self._final is not None:
            return self._final
        job: Job = self.app.store.fetch([self.id]).get(self.id) or Job(self.id)
        if job.ready:
            self._final = job
        return job


class GroupResult:
    """The results of a group, in the order of its members."""

    def __init__(
        self,
        id: str,
        results: Sequence[AsyncResult | GroupResult] = (),
        parent: AsyncResult | GroupResult | None = None,
        *,
        app: Any = None,
    ) -> None:
        self.id = id
        self.parent = parent
        self.results = list(results)
        self._app = app

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, GroupResult) and other.id == self.id and other.results == self.results
        )

    def __hash__(self) -> int:
        return hash(self.id)

    def __iter__(self) -> Iterator[AsyncResult | GroupResult]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: int) -> AsyncResult | GroupResult:
        return self.results[index]

    def __repr__(self) -> str:
        return f"<GroupResult: {self.id} [{len(self.results)}]>"

    @property
    def app(self) -> Any:
        """The app it reads through."""
        return self._app or current.app()

    @property
    def children(self) -> list[AsyncResult | GroupResult]:
        """The members' results."""
        return self.results

    def completed_count(self) -> int:
        """Return how many members ended well."""
        if all(isinstance(each, AsyncResult) for each in self.results):
            return int(self.app.store.count_states(self.id).get(SUCCESS, 0))
        return sum(each.successful() for each in self.results)

    def ready(self) -> bool:
        """Tell whether all members have ended."""
        jobs = self._jobs()
        return all(id in jobs and jobs[id].ready for id in _leaves(self))

    def successful(self) -> bool:
        """Tell whether all members ended well."""
        jobs = self._jobs()
        return all(id in jobs and jobs[id].state == SUCCESS for id in _leaves(self))

    def failed(self) -> bool:
        """Tell whether a member failed."""
        return any(job.state == FAILURE for job in self._jobs().values())

    def waiting(self) -> bool:
        """Tell whether a member has not ended."""
        return not self.ready()

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        disable_sync_subtasks: bool = True,
        **_celery_options: Any,
    ) -> list[Any]:
        """Wait for all members and return what their tasks returned, in their order.

        With *propagate*, the first failure that is heard of is raised at once; without, exceptions
        stand among the results. *timeout* is in seconds, for all of them together.
        """
        if disable_sync_subtasks:
            _refuse_in_task()
        jobs: dict[str, Job] = {}
        for job in _ended(self.app, list(_leaves(self)), timeout):
            if propagate and job.state in PROPAGATE_STATES:
                raise self._first_error() or _exception(job)
            jobs[job.id] = job
        return self._values(jobs)

    join = join_native = get

    def _values(self, jobs: dict[str, Job]) -> list[Any]:
        return [
            each._values(jobs)
            if isinstance(each, GroupResult)
            else each._outcome(jobs[each.id], propagate=False)
            for each in self.results
        ]

    def _first_error(self) -> BaseException | None:
        return None if self.parent is None else AsyncResult("", self.parent)._first_error()

    def _jobs(self) -> dict[str, Job]:
        jobs: dict[str, Job] = self.app.store.fetch(list(_leaves(self)))
        return jobs


def _leaves(result: AsyncResult | GroupResult) -> Iterator[str]:
    if isinstance(result, AsyncResult):
        yield result.id
    else:
        for each in result.results:
            yield from _leaves(each)


def _ended(app: Any, ids: Collection[str], timeout: float | None) -> Iterator[Job]:
    """Yield the jobs as they end; raise TimeoutError after *timeout* seconds.

    The dispatcher tells of ends that it has committed. What it does not hold, and everything while
    it is away, is looked up in the ledger.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    left = set(ids)
    pause = POLL_FIRST
    watch = app.client.watch(left)
    try:
        while left:
            wait = POLL_CONNECTED if app.client.connected else pause
            if deadline is not None:
                wait = max(0.0, min(wait, deadline - time.monotonic()))
            outcomes, unsure = watch.take(wait)
            ended = [_job_of(outcome) for outcome in outcomes]
            if not outcomes:
                unsure = unsure or left
                pause = min(2 * pause, POLL_MOST)
            if unsure:
                ended += [job for job in app.store.fetch(unsure).values() if job.ready]
            for job in ended:
                if job.id in left:
                    left.discard(job.id)
                    yield job
            if left and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(_why_unfinished(app, left, timeout))
    finally:
        app.client.unwatch(watch)


def _why_unfinished(app: Any, left: Collection[str], timeout: float | None) -> str:
    which = f"job {next(iter(left))!r} is" if len(left) == 1 else f"{len(left)} jobs are"
    lease = app.store.lease()
    if lease is None or not lease.holder:
        hint = "; no dispatcher is running: start one with `manage.py dask_dispatcher`"
    elif not app.client.connected:
        hint = f"; the dispatcher at {', '.join(lease.addresses)} does not answer"
    else:
        hint = ""
    return f"{which} unfinished after {timeout} s{hint}"


def _job_of(outcome: Outcome) -> Job:
    return Job(
        id=outcome.id,
        state=outcome.state,
        attempt=outcome.attempt,
        result=outcome.result,
        result_preview=outcome.preview,
        traceback=outcome.traceback,
        started=None if outcome.started is None else datetime.fromtimestamp(outcome.started, UTC),
        finished=datetime.fromtimestamp(outcome.finished, UTC),
    )


def _value(job: Job) -> Any:
    return None if job.result is None or job.state != SUCCESS else loads(job.result)


def _exception(job: Job) -> BaseException:
    if job.state == REVOKED or job.result is None:
        return TaskRevokedError(job.result_preview or "revoked")
    error = load_exception(job.result)
    if job.traceback:
        error.add_note(f"\nOn the worker:\n{job.traceback}")
    return error


def _refuse_in_task() -> None:
    if current.request().id is not None:
        raise RuntimeError(
            "Never call result.get() within a task! It would block a worker; use a chain or a "
            "chord instead, or pass disable_sync_subtasks=False if you know that it cannot"
        )
