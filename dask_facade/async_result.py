"""The result of one job: what became of it, for any process that knows its id."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime
from typing import Any, NoReturn

from dask_facade import job_futures, loops
from dask_facade.control import ask
from dask_facade.dependencies import DependencyGraph, Formatter, GraphFormatter
from dask_facade.descent import children_of, levels_below
from dask_facade.exceptions import TimeoutError, WouldNeverEnd
from dask_facade.jobs import REOPEN, Job
from dask_facade.reading import error_of, message_of, state_of, value_of
from dask_facade.result_base import ResultBase
from dask_facade.states import (
    EXCEPTION_STATES,
    FAILURE,
    PENDING,
    PROPAGATE_STATES,
    SUCCESS,
)
from dask_facade.waiting import (
    Patience,
    aended,
    assert_will_not_block,
    ended,
    fetch_together,
    look,
)

FRESH = 0.005  # seconds in which a job is not expected to have ended


class AsyncResult(ResultBase):
    """What becomes of one job. Every state comes from the ledger."""

    _own: frozenset[str] = frozenset()

    def __init_subclass__(cls, ours: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not ours:
            cls._own = cls._own | ({"forget", "get"} & vars(cls).keys())

    def __init__(
        self,
        id: str,
        parent: ResultBase | None = None,
        *,
        app: Any = None,
        backend: Any = None,
        task_name: str | None = None,
        ignored: bool = False,
    ) -> None:
        """*task_name* is accepted for Celery's sake: the ledger knows it."""
        if id is None:
            raise ValueError("AsyncResult needs the id of a job, not None")
        super().__init__(parent, app, backend)
        self.id = id
        self._ignored = ignored
        self._final: Job | None = None
        self._forgotten = False
        self._made = time.monotonic()
        self._past = 0  # the attempt that ended before it was asked to be tried again

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        return other == self.id if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __str__(self) -> str:
        return self.id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self.parent)

    # What the row says

    @property
    def task_id(self) -> str:
        """The id, under its other name."""
        return self.id

    @task_id.setter
    def task_id(self, id: str) -> None:
        self.id = id

    @property
    def ignored(self) -> bool:
        """Whether nobody keeps its result: `get` returns None at once."""
        return bool(self.__dict__.get("_ignored"))

    @ignored.setter
    def ignored(self, ignored: bool) -> None:
        self._ignored = ignored

    @property
    def state(self) -> str:
        """The state, also one of the task's own; PENDING for an id that nobody knows."""
        return state_of(self._job())

    status = state

    @property
    def result(self) -> Any:
        """What the task returned or said last, or the exception that it raised; else None."""
        job = self._job()
        return look(self.app.store, lambda: self._value(job))

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
    def name(self) -> str | None:
        """The task's name; None for an id that nobody knows, as for all that follows."""
        return self._row().task or None

    @property
    def args(self) -> str | None:
        """The arguments, positional ones and others, as a preview for people."""
        return self._row().arguments or None

    @property
    def kwargs(self) -> None:
        """Nothing: the preview in `args` has them."""

    @property
    def worker(self) -> str | None:
        """The worker that got the job last."""
        return self._row().worker or None

    @property
    def retries(self) -> int | None:
        """How often the job was tried again."""
        job = self._row()
        return job.attempt - 1 if job.task else None

    @property
    def queue(self) -> str | None:
        """The queue it is in."""
        return self._row().queue or None

    def ready(self) -> bool:
        """Tell whether the job has ended."""
        return self._job().ready

    def successful(self) -> bool:
        """Tell whether it ended well."""
        return self._job().state == SUCCESS

    def failed(self) -> bool:
        """Tell whether it failed."""
        return self._job().state == FAILURE

    @property
    def is_forgotten(self) -> bool:
        """Whether it was asked, by this object, that the job be forgotten."""
        return self._forgotten

    def exists(self) -> bool:
        """Tell whether the ledger has a job of this id: PENDING is shown where it has none."""
        return self._final is not None or self.id in self._fetch()

    # Waiting

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        interval: float | None = None,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None,
        disable_sync_subtasks: bool = True,
        EXCEPTION_STATES: Collection[str] = EXCEPTION_STATES,
        PROPAGATE_STATES: Collection[str] = PROPAGATE_STATES,
    ) -> Any:
        """Wait for the job and return what its task returned.

        Waits up to *timeout* seconds (None: for ever). Raises the task's own exception if it failed
        (without *propagate*: returns it), with *follow_parents* that of the job before it which
        made it fail, TaskRevokedError if it was revoked, TimeoutError if it is unfinished when the
        time is up, and WouldNeverEnd within the transaction that submitted it.

        *callback* gets the id and the value. *on_interval* is called every *interval* seconds in
        which nothing was heard; *on_message* with a dict for each news of the state, also those
        of the task's own, looked for as often.
        """
        if self.ignored:
            return None
        if disable_sync_subtasks:
            assert_will_not_block()
        patience = self._patience(timeout, interval, on_interval, on_message)
        job = self._final
        if job is None and time.monotonic() - self._made > FRESH:
            job = self._job()  # it may have ended by now: that costs less than to ask for its end
        if job is None or not job.ready:
            (found,) = ended(self.app, [self.id], patience)
            job = self._accept(found)
        states = PROPAGATE_STATES if propagate else ()
        return self._delivered(
            look(self.app.store, lambda: self._ending(job, states, follow_parents)), callback
        )

    wait = get

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        interval: float | None = None,
        follow_parents: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait as `get` does, while the event loop goes on."""
        if self.ignored:
            return None
        if disable_sync_subtasks:
            assert_will_not_block()
        patience = self._patience(timeout, interval)
        store = self.app.store
        job = self._final
        if job is None and time.monotonic() - self._made > FRESH:
            job = self._accept((await fetch_together(store, [self.id])).get(self.id))
        if job is None or not job.ready:
            job = Job(self.id)
            async with aclosing(aended(self.app, [self.id], patience)) as ends:
                async for found in ends:
                    job = self._accept(found)
        states = PROPAGATE_STATES if propagate else ()
        ending = self._ending
        if self._is_far(job):
            return self._delivered(
                await loops.away(lambda: ending(job, states, follow_parents), store.disconnect)
            )
        return self._delivered(ending(job, states, follow_parents))

    def _patience(
        self,
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> Patience:
        if self._forgotten:
            why = f"job {self.id!r} was forgotten: nothing will ever be heard of it"
            raise WouldNeverEnd(why) if timeout is None else TimeoutError(why)
        return Patience(timeout, interval, on_interval, on_message, {self.id: self._past})

    def _is_far(self, job: Job) -> bool:
        """Tell whether the ledger or the cluster must be asked once more for how it ended."""
        if job.state == SUCCESS:
            return job.result is None and bool(job.key)
        return self.parent is not None

    def _ending(
        self, job: Job, raised: Collection[str], follow_parents: bool
    ) -> tuple[Any, BaseException | None]:
        """Return the value to deliver, or the exception to raise."""
        if job.state not in raised:
            return self._value(job), None
        return None, (self._first_error() if follow_parents else None) or self._error(job)

    def _delivered(
        self,
        ending: tuple[Any, BaseException | None],
        callback: Callable[[str, Any], object] | None = None,
    ) -> Any:
        value, error = ending
        if error is not None:
            raise error
        if callback is not None:
            callback(self.id, value)
        return value

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None
    ) -> Any:
        """Raise what made the job fail, if it has; else return what `result` is. Never waits."""
        job = self._job()
        states = PROPAGATE_STATES if propagate else ()
        return self._delivered(
            look(self.app.store, lambda: self._ending(job, states, False)), callback
        )

    maybe_reraise = maybe_throw

    def throw(self, error: BaseException, *_traceback: Any) -> NoReturn:
        """Raise *error*."""
        raise error

    # What can be asked for

    def retry(self) -> None:
        """Ask that the job runs again, with all that failed because of it.

        Raises ValueError unless it failed or was revoked.
        """
        job = self._job()
        if job.state not in PROPAGATE_STATES:
            raise ValueError(
                f"job {self.id!r} is {state_of(job)}: only one that failed or was revoked can be "
                "tried again"
            )
        ask(self.app, REOPEN, [self.id])
        self._past, self._final = job.attempt, None

    def future(self, timeout: float | None = None) -> Any:
        """Return a Dask future of the job, whatever it is and whether it has ended.

        From then on ``Variable("job:<id>")`` names it, too. *timeout* is how long a graph or a kept
        result may take to be named. Raises JobNotFound, ResultLost, ClusterUnavailable.
        """
        store = self.app.store
        return look(store, lambda: job_futures.future_of(store, self.id, timeout))

    def dask(self, timeout: float | None = None) -> Any:
        """Wait for the job and return its result as a Dask collection, which is not computed.

        That is the collection that the task returned, over what the cluster keeps of it, or a
        Delayed of its value. Raises what `get` does, and ResultLost.
        """
        job = self._job()
        if not job.ready:
            (found,) = ended(self.app, [self.id], self._patience(timeout, None))
            job = self._accept(found)
        if job.state in PROPAGATE_STATES:
            raise self._error(job)
        store = self.app.store
        return look(store, lambda: job_futures.collection_of(store, job))

    def said(self, timeout: float | None = None) -> Iterator[Any]:
        """Yield what the task says with ``self.emit(...)`` until it ends, for *timeout* seconds."""
        return job_futures.said(self.app.store, self.id, timeout)

    # What follows from it

    @property
    def children(self) -> list[Any]:
        """The results of what the job submitted, and of what goes on with its result."""
        app = self.app
        found: list[Any] = look(app.store, lambda: children_of(app, self.id))
        return found

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[ResultBase | None, Any]]:
        """Yield (parent, result) for this and all that followed from it, level by level.

        Raises IncompleteStream at the first that has not ended, unless *intermediate*.
        """
        return levels_below(self, intermediate)

    def build_graph(
        self, intermediate: bool = False, formatter: Formatter | None = None
    ) -> DependencyGraph:
        """Return what followed from what, as a graph; options as of `iterdeps`."""
        graph = DependencyGraph(formatter=formatter or GraphFormatter(root=self.id))
        for parent, node in self.iterdeps(intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @property
    def graph(self) -> DependencyGraph:
        """What followed from what, as a graph; raises IncompleteStream before all has ended."""
        return self.build_graph()

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yield (result, value) of this and of all that followed from it; *options* are `get`'s."""
        for _, node in self.iterdeps(intermediate):
            yield node, node.get(**options)

    def get_leaf(self) -> Any:
        """Return the value of the last of all that followed from it."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def as_tuple(self) -> tuple[Any, Any]:
        """Return what `result_from_tuple` takes."""
        return (self.id, None if self.parent is None else self.parent.as_tuple()), None

    def as_list(self) -> list[str]:
        """Return its id and those of its parents."""
        return [self.id, *(leaf.id for each in self._parents() for leaf in each._leaves())]

    # For those who read many at once

    def _leaves(self) -> Iterator[AsyncResult]:
        yield self

    def _gathered(self) -> Any:
        return None if self._final is None else self._value(self._final)

    def _is_settled(self) -> bool:
        return self._final is not None or self.ignored or self._forgotten

    def _known_state(self) -> str:
        return PENDING if self._final is None else self._final.state

    def _message(self) -> dict[str, Any]:
        return {**message_of(self._job()), "result": self.result}

    def _failure(self) -> BaseException | None:
        """Return what it raises, where it is known to have failed."""
        job = self._final
        return self._error(job) if job is not None and job.state in PROPAGATE_STATES else None

    def _job(self) -> Job:
        return self._final or self._accept(self._fetch().get(self.id))

    def _row(self) -> Job:
        """Return the job with all that its row says, where an end that was told says less."""
        job = self._job()
        return job if job.task else self._fetch().get(self.id, job)

    def _fetch(self) -> dict[str, Job]:
        if self.ignored or self._forgotten:
            return {}
        store = self.app.store
        jobs: dict[str, Job] = look(store, lambda: store.fetch([self.id]))
        return jobs

    def _accept(self, job: Job | None) -> Job:
        """Return what *job* says to this result, and keep it if it is final."""
        if job is None:
            return Job(self.id)
        if job.ready and job.attempt <= self._past:  # asked to be tried again, and not yet done
            return replace(job, state=PENDING, result=None, traceback=None, finished=None)
        if job.ready:
            self._final = job
            if self._thens:
                self._call_back()
        return job

    def _let_go(self) -> None:
        """Forget the end, if it is known."""
        self._forgotten = self._forgotten or self._final is not None
        self._final = None

    def _value(self, job: Job) -> Any:
        if job.state == SUCCESS and job.result is None and job.key:
            return job_futures.result_of(self.app.store, job)
        return value_of(job)

    def _error(self, job: Job) -> BaseException:
        return error_of(job)
