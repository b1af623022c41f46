"""Looking for rows: those that no hint told of, those whose time comes, and what is asked for."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial

from dask_facade.dispatcher.requests import Requests
from dask_facade.dispatcher.switchboard import Switchboard
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import Wrote
from dask_facade.jobs import Batch

EVERY = 0.5  # seconds between two looks
AT_LEAST = 0.01  # seconds between two looks, whatever hurries
SHARE = 0.1  # of the time that looks may take
ROWS = 1_000


class Sweep:
    """Takes up waiting rows, as far as the broker has room, and does what is asked for.

    *hurry* is set when something was asked for, or comes due soon. *grace*: seconds that a hint may
    be on its way; *horizon*: seconds ahead of their time in which rows are taken up.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        switchboard: Switchboard,
        requests: Requests,
        hurry: asyncio.Event,
        *,
        grace: float,
        horizon: float,
    ) -> None:
        self._answers_lost = 0  # up to which all that was taken up is known
        self._hurry = hurry
        self._requests = requests
        self._switchboard = switchboard
        self._take_up = partial(writer.desk.take_up, writer.epoch, grace, horizon)
        self._writer = writer

    async def keep(self) -> None:
        """Look for ever."""
        while True:
            self._hurry.clear()
            await self._requests.look()
            begun = time.monotonic()
            if await self._take():
                await asyncio.sleep(0)
                continue
            # To pass over many rows of queues that are paused takes its time.
            pause = max(EVERY, (time.monotonic() - begun) / SHARE)
            await asyncio.sleep(AT_LEAST)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), pause - AT_LEAST)

    async def _take(self) -> bool:
        """Take up rows; tell whether there may be more."""
        writer, switchboard = self._writer, self._switchboard
        lost = writer.answers_lost
        if lost > self._answers_lost:
            # What was taken up, or became ready, in a transaction whose answer never came.
            await writer.run(partial(writer.desk.forget_taken, writer.epoch))
            self._answers_lost = lost
        limit = min(ROWS, switchboard.room)
        if limit <= 0:
            return False
        written = await writer.run(partial(self._take_up, limit, switchboard.unwanted))
        switchboard.step(Wrote(Batch(), written))
        return written.more
