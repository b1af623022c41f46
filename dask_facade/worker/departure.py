"""How a worker goes: what its runners run ends first.

Dask waits for no task that has seceded, and runners have: without this, a worker that is told to
close would be gone in the middle of their calls.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from distributed import Worker, WorkerPlugin

logger = logging.getLogger(__name__)

NAME = "dask-facade-departure"
PATIENCE = 7.0  # seconds; a nanny that was sent a signal kills its worker after 8
LOOK_EVERY = 0.05
CLOSE_TIMEOUT = 2.0  # seconds for what Dask closes afterwards


class Departing(Protocol):
    """A runner, as far as its worker's end waits for it."""

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody is there to take what comes of its calls."""

    def retire(self) -> None:
        """Begin nothing more, and end."""


class Departure(WorkerPlugin):
    """Lets a worker close once its runners have ended, or the patience with them has."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._deadline: float | None = None  # monotonic, once it has begun
        self._here = os.getpid()
        self._runners: set[Departing] = set()

    @contextmanager
    def awaits(self, runner: Departing) -> Iterator[None]:
        """Let the worker's end wait for *runner* until the block ends."""
        with self._changed:
            self._runners.add(runner)
        try:
            yield
        finally:
            with self._changed:
                self._runners.discard(runner)
                self._changed.notify_all()

    async def teardown(self, worker: Worker) -> None:
        """As `WorkerPlugin` has it: the worker closes when this returns."""
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """Let the runners end; return when they have, or the time is up."""
        if os.getpid() != self._here:
            return  # a process that a task has forked
        with self._changed:
            if self._deadline is None:
                self._deadline = time.monotonic() + PATIENCE
            runners = list(self._runners)
        for runner in runners:
            runner.retire()
        with self._changed:
            while self._is_awaited() and time.monotonic() < self._deadline:
                self._changed.wait(LOOK_EVERY)

    def _is_awaited(self) -> bool:
        return any(not runner.is_abandoned for runner in self._runners)


_departures: weakref.WeakKeyDictionary[Worker, Departure] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def departure_of(worker: Worker) -> Departure:
    """Return that of a worker of this process, which closes by it from now on."""
    with _lock:
        departure = _departures.get(worker)
        if departure is None:
            departure = _departures[worker] = Departure()
            worker.loop.add_callback(worker.plugin_add, departure, NAME)
            worker.loop.add_callback(_heed_signal, worker)
        return departure


def _heed_signal(worker: Worker) -> None:
    """Let SIGTERM close a worker that has its process for itself, which a nanny starts anew.

    Else it would be gone at once. The second time, it is.
    """
    if not worker.nanny or threading.current_thread() is not threading.main_thread():
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return  # somebody else's
    loop = asyncio.get_running_loop()
    asked = functools.partial(
        worker.loop.add_callback,
        worker.close,
        timeout=CLOSE_TIMEOUT,
        executor_wait=False,
        nanny=False,
        reason="SIGTERM",
    )

    def close(number: int, frame: object) -> None:
        restore()
        loop.call_soon_threadsafe(asked)

    def restore() -> None:
        if signal.getsignal(signal.SIGTERM) is close:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    signal.signal(signal.SIGTERM, close)
    os.register_at_fork(after_in_child=restore)
