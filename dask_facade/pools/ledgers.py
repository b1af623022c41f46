"""The ledger in which this process's pools are: the site's, or one in memory."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeVar

from dask_facade import current
from dask_facade.app import DaskFacade
from dask_facade.dispatcher.service import Dispatcher, Options
from dask_facade.exceptions import DaskFacadeError
from dask_facade.ledger.memory import MemoryStore

T = TypeVar("T")

STOP_TIMEOUT = 20.0  # seconds
DRAIN = 1.0  # seconds for calls that run: pools have ended theirs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ledger:
    """An app whose jobs some dispatcher runs, and whether only pools have workers there."""

    app: DaskFacade
    private: bool = False

    def do(self, function: Callable[[], T]) -> T:
        """Return what *function* returns, which reads or writes this ledger.

        A private one is none of the job that may run here.
        """
        return Context().run(function) if self.private else function()


class Home:
    """A ledger in memory with a dispatcher in a thread, for a script without Django.

    The dispatcher's own cluster has no workers: pools bring theirs.
    """

    def __init__(self) -> None:
        store = MemoryStore()
        self.app = DaskFacade("pools", store=store, set_as_current=False)
        self._dispatcher = Dispatcher(
            store,
            Options(workers=0, drain=DRAIN, paths=tuple(path for path in sys.path if path)),
        )
        self._failure: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="pools-dispatcher", daemon=True)

    def start(self) -> None:
        """Start its dispatcher; that it leads says the ledger."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended its dispatcher, if something did."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End it in order."""
        self.app.client.close()
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._dispatcher.stop)
        self._thread.join(STOP_TIMEOUT)

    def _run(self) -> None:
        try:
            asyncio.run(self._lead())
        except (DaskFacadeError, OSError) as error:
            self._failure = error

    async def _lead(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._dispatcher.run(lambda scheduler: logger.debug("pools are led here"))


_homes: dict[int, Home] = {}  # by the process's id: a forked one has its own
_lock = threading.Lock()


def ledger_here() -> Ledger:
    """Return the ledger of the current app, that of the Django site, or one in memory.

    The last is made at the first call.
    """
    if current.has_app() and current.app().has_store():
        return Ledger(current.app())
    if current.has_site():
        return Ledger(DaskFacade("pools", set_as_current=False))
    with _lock:
        home = _homes.get(os.getpid())
        if home is None:
            home = Home()
            home.start()
            _homes[os.getpid()] = home
    home.check()
    return Ledger(home.app, private=True)


def close() -> None:
    """End the dispatcher of the ledger in memory, if there is one."""
    with _lock:
        home = _homes.pop(os.getpid(), None)
    if home is not None:
        home.close()


def runs_in_a_job() -> bool:
    """Tell whether a job of the site runs here, whose worker may be the only one."""
    job: Any = current.job()
    return job.channel is not None
