"""The end of rows: jobs that ended long ago are deleted, a few at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.exceptions import ImproperlyConfigured

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
    """Deletes jobs that ended more than *expires* seconds ago.

    Those that a job which has not ended came from, or waits for, stay with it. *forgotten* gets
    the ids of jobs whose rows are gone, and which scheduler knows a future of some of them.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        forgotten: Callable[[Collection[str], Mapping[str, str]], None],
        expires: float,
    ) -> None:
        self._forgotten = forgotten
        self._prune = partial(writer.desk.prune, writer.epoch, expires, ROWS)
        self._writer = writer

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            count = 0
            while pruned := await self.prune():
                count += pruned
                await asyncio.sleep(PAUSE)
            if count:
                logger.info("%d jobs have expired", count)
            await asyncio.sleep(EVERY)

    async def prune(self) -> int:
        """Delete some of those jobs; return how many."""
        pruned = await self._writer.run(self._prune)
        if pruned:
            kept = {id: at for id, at in pruned.items() if at is not None}
            self._forgotten(pruned.keys(), kept)
        return len(pruned)
