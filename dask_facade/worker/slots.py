"""The slot of Dask's that a runner's thread has not: what its calls give back and take again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from distributed.threadpoolexecutor import thread_state


@contextmanager
def without_slot() -> Iterator[None]:
    """Let what runs in this thread, which has seceded, secede and rejoin as tasks of Dask do.

    It holds no slot, so nothing comes of that. The thread ends with its task.
    """
    pool = thread_state.executor
    take_no_slot()
    try:
        yield
    finally:
        thread_state.executor = pool
        thread_state.proceed = False


def take_no_slot() -> None:
    """Let what runs in this thread, which is in no pool, secede and rejoin likewise."""
    thread_state.executor = _NoPool()


class _NoPool:
    """Stands for a pool of threads to one that is in none."""

    def __init__(self) -> None:
        self._rejoin_list: list[tuple[threading.Thread, threading.Event]] = []
        self._rejoin_lock = threading.Lock()
        self._threads = _NoThreads()

    def _adjust_thread_count(self) -> None:
        """Nobody is missing."""

    def submit(self, function: Callable[[], Any]) -> None:
        """Let who wants to rejoin go on."""
        with self._rejoin_lock:
            while self._rejoin_list:
                self._rejoin_list.pop()[1].set()


class _NoThreads:
    def remove(self, thread: threading.Thread) -> None:
        """It is not there."""
