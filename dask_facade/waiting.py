"""Waiting for jobs to end: the dispatcher tells of it, the ledger knows it."""

from __future__ import annotations

import asyncio
import builtins
import logging
import time
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dask_facade import current, loops
from dask_facade.exceptions import TimeoutError, WouldNeverEnd
from dask_facade.jobs import Job
from dask_facade.messages import Outcome
from dask_facade.reading import job_of, message_of

logger = logging.getLogger(__name__)

POLL_CONNECTED = 5.0  # seconds between looks at the ledger while the dispatcher tells of ends
POLL_FIRST = 0.05  # seconds until the first look without a dispatcher; then twice that, and so on
POLL_MOST = 1.0
WARN_AFTER = 5.0  # seconds of waiting without a dispatcher, when nothing else ends it

_may_join: ContextVar[bool | None] = ContextVar("dask_facade_may_join", default=None)


@dataclass(frozen=True, slots=True)
class Patience:
    """How somebody waits."""

    timeout: float | None = None  # seconds; None: for ever
    interval: float | None = None  # seconds between two looks; None: as it costs least
    on_interval: Callable[[], object] | None = None  # called when nothing was heard for so long
    on_message: Callable[[dict[str, Any]], object] | None = None  # called with each news of a state
    past: Mapping[str, int] = field(default_factory=dict)  # attempts that no longer count, by id


def ended(app: Any, ids: Iterable[str], patience: Patience) -> Generator[Job]:
    """Yield the jobs as they end.

    The dispatcher tells of ends that it has committed. What it does not hold, and everything while
    it is away, is looked up in the ledger. Raises TimeoutError when the time is up, WouldNeverEnd
    where the caller's transaction keeps the jobs from ending.
    """
    store, client = app.store, app.client
    vigil = _Vigil(ids, patience)
    if not vigil.left:
        return
    if why := "" if loops.running() else store.why_never(vigil.left):
        yield from vigil.seen(store.fetch_committed(vigil.left))
        if vigil.left:
            raise WouldNeverEnd(why)
        return
    watch = client.watch(vigil.left)
    try:
        while vigil.left:
            outcomes, unsure = watch.take(vigil.pause(client.connected))
            yield from vigil.told(outcomes)
            if doubts := vigil.doubts(outcomes, unsure):
                yield from vigil.seen(look(store, partial(store.fetch_committed, doubts)))
            if vigil.gives_up():
                raise TimeoutError(look(store, lambda: _why(app, vigil)))
            if vigil.warns(client.connected):
                logger.warning("get() goes on waiting: %s", look(store, lambda: _why(app, vigil)))
    finally:
        client.unwatch(watch)


async def aended(app: Any, ids: Iterable[str], patience: Patience) -> AsyncGenerator[Job]:
    """Yield the jobs as they end, as `ended` does; the event loop goes on meanwhile."""
    store, client = app.store, app.client
    vigil = _Vigil(ids, patience)
    if not vigil.left:
        return
    news = asyncio.Event()
    watch = client.watch(vigil.left, partial(_wake, asyncio.get_running_loop(), news))
    try:
        while vigil.left:
            if not (watch.outcomes or watch.unsure):
                await _set_within(news, vigil.pause(client.connected))
            news.clear()
            outcomes, unsure = watch.take(0)
            for job in vigil.told(outcomes):
                yield job
            if doubts := vigil.doubts(outcomes, unsure):
                for job in vigil.seen(await fetch_together(store, doubts)):
                    yield job
            if vigil.gives_up():
                raise TimeoutError(await loops.away(lambda: _why(app, vigil), store.disconnect))
            if vigil.warns(client.connected):
                why = await loops.away(lambda: _why(app, vigil), store.disconnect)
                logger.warning("a wait goes on: %s", why)
    finally:
        client.unwatch(watch)


def _wake(loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
    try:
        loop.call_soon_threadsafe(news.set)
    except RuntimeError:
        logger.debug("the event loop that waited was closed")


async def _set_within(event: asyncio.Event, timeout: float) -> None:
    with suppress(builtins.TimeoutError):
        await asyncio.wait_for(event.wait(), timeout)


@dataclass(slots=True)
class _Batch:
    ids: set[str]
    jobs: asyncio.Task[dict[str, Job]]


_batches: dict[tuple[asyncio.AbstractEventLoop, int], _Batch] = {}


async def fetch_together(store: Any, ids: Collection[str]) -> dict[str, Job]:
    """Return the jobs that have these ids; who asks at the same time shares one query."""
    loop = asyncio.get_running_loop()
    key = (loop, id(store))
    batch = _batches.get(key)
    if batch is None:
        batch = _batches[key] = _Batch(set(), loop.create_task(_fetch_batch(store, key)))
    batch.ids.update(ids)
    jobs = await asyncio.shield(batch.jobs)
    return {id: jobs[id] for id in ids if id in jobs}


async def _fetch_batch(store: Any, key: tuple[asyncio.AbstractEventLoop, int]) -> dict[str, Job]:
    try:
        await asyncio.sleep(0)  # whoever runs before this goes on joins
    finally:
        ids = _batches.pop(key).ids
    jobs: dict[str, Job] = await loops.away(lambda: store.fetch_committed(ids), store.disconnect)
    return jobs


def look(store: Any, function: Callable[[], Any]) -> Any:
    """Return what *function* reads from the ledger, also where an event loop runs."""
    return loops.outside(function, store.disconnect)


class _Vigil:
    """Jobs that somebody waits for: which are left, and for how long to listen before looking."""

    def __init__(self, ids: Iterable[str], patience: Patience) -> None:
        self.left = set(ids)
        self.patience = patience
        self._began = time.monotonic()
        self._heard: dict[str, object] = {}  # with on_message: what was told of a job last
        self._pause = POLL_FIRST
        self._warned = False

    def pause(self, connected: bool) -> float:
        """Return for how many seconds to listen."""
        patience = self.patience
        seconds = POLL_CONNECTED if connected else self._pause
        if patience.interval is not None:
            asked = patience.on_interval is not None or patience.on_message is not None
            seconds = patience.interval if asked else min(seconds, patience.interval)
        if patience.timeout is not None:
            seconds = min(seconds, self._began + patience.timeout - time.monotonic())
        return max(0.0, seconds)

    def told(self, outcomes: Iterable[Outcome]) -> Iterator[Job]:
        """Yield the jobs that ended, of those that the dispatcher tells of."""
        return self._ends(job_of(each) for each in outcomes if not each.leaves_state)

    def seen(self, jobs: Mapping[str, Job]) -> Iterator[Job]:
        """Yield the jobs that ended, of those found in the ledger."""
        return self._ends(jobs.values())

    def _ends(self, jobs: Iterable[Job]) -> Iterator[Job]:
        for job in jobs:
            if job.id not in self.left or job.attempt <= self.patience.past.get(job.id, 0):
                continue
            self._say(job)
            if job.ready:
                self.left.discard(job.id)
                yield job

    def _say(self, job: Job) -> None:
        if self.patience.on_message is not None:
            news = (job.state, job.attempt, job.said, job.meta)
            if self._heard.get(job.id) != news:
                self._heard[job.id] = news
                self.patience.on_message(message_of(job))

    def doubts(self, outcomes: Collection[Outcome], unsure: set[str]) -> set[str]:
        """Return the jobs to look up, after what was heard in one pause."""
        if not outcomes and not unsure:
            self._pause = min(2 * self._pause, POLL_MOST)
            if self.patience.on_interval is not None:
                self.patience.on_interval()
        if self.patience.on_message is not None or not (outcomes or unsure):
            return set(self.left)
        unsaid = {each.id for each in outcomes if each.leaves_state}  # in what state
        return (unsure | unsaid) & self.left

    def gives_up(self) -> bool:
        """Tell whether the time is up."""
        timeout = self.patience.timeout
        return bool(self.left) and timeout is not None and self._waited() >= timeout

    def warns(self, connected: bool) -> bool:
        """Tell, once, that nothing but a dispatcher will end this, and that none is there."""
        if self._warned or connected or not self.left or self.patience.timeout is not None:
            return False
        self._warned = self._waited() > WARN_AFTER
        return self._warned

    def _waited(self) -> float:
        return time.monotonic() - self._began

    def words(self) -> str:
        """Return what is waited for, and for how long."""
        which = f"job {next(iter(self.left))!r} is"
        if len(self.left) != 1:
            which = f"{len(self.left)} jobs are"
        timeout = self.patience.timeout
        return f"{which} unfinished after {round(self._waited()) if timeout is None else timeout} s"


def _why(app: Any, vigil: _Vigil) -> str:
    """Return what is waited for, and what the ledger knows of why that takes so long."""
    return vigil.words() + (_about_dispatcher(app) or _about_job(app, vigil.left))


def _about_dispatcher(app: Any) -> str:
    lease = app.store.lease()
    if lease is None or not lease.holder:
        return "; no dispatcher is running: start one with `manage.py dask_dispatcher`"
    if not app.client.connected:
        return f"; the dispatcher at {', '.join(lease.addresses)} does not answer"
    return "" if lease.scheduler else "; the dispatcher has no Dask cluster"


def _about_job(app: Any, ids: Collection[str]) -> str:
    if len(ids) != 1:
        return ""
    job = app.store.fetch_committed(ids).get(next(iter(ids)))
    if job is None:
        return "; the ledger has no such job: it is not committed yet, or was never submitted"
    if job.worker and job.started is not None:
        return f"; it runs on {job.worker}"
    return f"; it is due at {job.eta:%Y-%m-%d %H:%M:%S %Z}" if job.eta else ""


# Whether a running task may wait for others


def task_join_will_block() -> bool:
    """Tell whether waiting here would keep a worker from the very jobs that are waited for."""
    allowed = _may_join.get()
    if allowed is not None:
        return not allowed
    request = current.request()
    return request.id is not None and not request.is_eager


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let ``get()`` wait, also within a task."""
    reset = _may_join.set(True)
    try:
        yield
    finally:
        _may_join.reset(reset)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Let ``get()`` refuse to wait."""
    reset = _may_join.set(False)
    try:
        yield
    finally:
        _may_join.reset(reset)


def assert_will_not_block() -> None:
    """Raise RuntimeError where waiting would keep a worker from other jobs."""
    if task_join_will_block():
        raise RuntimeError(
            "Never call result.get() within a task! It would block a worker; use a chain or a "
            "chord instead, or pass disable_sync_subtasks=False if you know that it cannot"
        )
