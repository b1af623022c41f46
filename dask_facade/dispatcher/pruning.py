"""The end of rows: jobs that ended long ago are deleted, a few at a time."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any

from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.exceptions import ImproperlyConfigured, LedgerRefused
from dask_facade.jobs import Asked

logger = logging.getLogger(__name__)

EVERY = 60.0  # seconds between two looks when nothing was left
ROWS = 500  # that are deleted in one transaction
PAUSE = 0.05  # seconds between two transactions


def seconds_of(expires: Any) -> float:
    """Return what ``result_expires`` says, in seconds; 0 where results never expire.

    Raises ImproperlyConfigured.
    """
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires or 0.0
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        raise ImproperlyConfigured(
            f"result_expires is {expires!r}: it must be a timedelta or seconds, or None for never"
        )
    return float(seconds)


class Pruning:
    """Deletes jobs that ended long ago, in the background.

    That is more than *expires* seconds (0: never), or as long as somebody asks for. Those that a
    job which has not ended came from, or waits for, stay with it. *forgotten* gets the ids of jobs
    whose rows are gone, and which scheduler knows a future of some of them.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        forgotten: Callable[[Collection[str], Mapping[str, str]], None],
        expires: float,
    ) -> None:
        self._asked: dict[int, float] = {}  # by the number of the request
        self._expires = expires
        self._forgotten = forgotten
        self._wanted = asyncio.Event()
        self._writer = writer

    @property
    def numbers(self) -> Collection[int]:
        """The numbers of the requests that are not done yet; they are dropped when they are."""
        return self._asked.keys()

    def add(self, requests: Sequence[Asked]) -> None:
        """Do what is asked for, one after the other: delete what ended `older` seconds ago."""
        self._asked.update((each.number, _older_of(each)) for each in requests)
        self._wanted.set()

    async def keep(self) -> None:
        """Work for ever."""
        while True:
            self._wanted.clear()
            for number, older in list(self._asked.items()):
                await self.prune(older)
                drop = partial(self._writer.desk.drop_requests, self._writer.epoch, [number])
                await self._writer.run(drop)
                del self._asked[number]
            if self._expires:
                await self.prune(self._expires)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), EVERY)

    async def prune(self, older: float) -> int:
        """Delete jobs that ended more than *older* seconds ago, a few at a time; return how many.

        In between others write.
        """
        writer, count = self._writer, 0
        prune = partial(writer.desk.prune, writer.epoch, older, ROWS)
        while pruned := await writer.run(prune):
            kept = {id: at for id, at in pruned.items() if at is not None}
            self._forgotten(pruned.keys(), kept)
            count += len(pruned)
            await asyncio.sleep(PAUSE)
        if count:
            logger.info("%d jobs that ended more than %g s ago are deleted", count, older)
        return count


def _older_of(request: Asked) -> float:
    older = request.arguments.get("older")
    if isinstance(older, bool) or not isinstance(older, int | float) or not 0 <= older < math.inf:
        raise LedgerRefused(f"{older!r} is no number of seconds")
    return float(older)
