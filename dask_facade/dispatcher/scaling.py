"""Scaling: an adaptive cluster is shown what waits, and runners that nobody needs make room.

Dask adapts to tasks that it cannot place and never closes a worker with a long task, as a runner
is one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from typing import Any

from distributed import Client, Future
from distributed.client import ClosedClientError

from dask_facade.cluster.placement import Placement
from dask_facade.dispatcher.switchboard import Switchboard
from dask_facade.events import Retire
from dask_facade.ids import new_id

logger = logging.getLogger(__name__)

EVERY = 0.5  # seconds between two looks
DEMAND = "dask-facade-demand"  # tasks that stand for threads that are wanted
PER_THREAD = 10  # of them: Dask expects each to take half a second, and plans for five
MOST = 32  # threads that are asked for at once, beside those that there are


class Scaling:
    """Watches over a cluster that grows and shrinks; *linger*: seconds that a runner may idle."""

    def __init__(self, switchboard: Switchboard, queues: Collection[str], linger: float) -> None:
        self.wanted = False  # runners, on the workers that there are
        self._demand: list[Future[Any]] = []
        self._idle: dict[str, tuple[int, float]] = {}
        self._linger = linger
        self._queues = queues
        self._shown_to: Client | None = None
        self._switchboard = switchboard

    async def keep(self, placement: Placement) -> None:
        """Look for ever."""
        while True:
            waiting = self._switchboard.waiting(self._queues)
            if waiting and not self.wanted:
                placement.look()
            self.wanted = waiting > 0
            over = self.pop_over(self._switchboard.idle(), time.monotonic())
            if over:
                self._switchboard.step(Retire(over))
            try:
                await self._show(placement.client, min(waiting, MOST))
            except (OSError, ClosedClientError) as error:
                logger.debug("the scheduler is not told of demand: %s", error)
            await asyncio.sleep(EVERY)

    def pop_over(self, idle: Mapping[str, int], now: float) -> list[str]:
        """Return the runners that have been idle for too long.

        *idle* are those that idle now, with the number of calls that each has ever taken.
        """
        self._idle = {
            runner: since
            if (since := self._idle.get(runner)) is not None and since[0] == taken
            else (taken, now)
            for runner, taken in idle.items()
        }
        over = [id for id, (_, since) in self._idle.items() if now - since >= self._linger]
        for id in over:
            del self._idle[id]
        return over

    async def _show(self, client: Client | None, threads: int) -> None:
        """Let as many tasks wait for ever as stand for *threads*."""
        if client is not self._shown_to:
            self._demand, self._shown_to = [], client
        if client is None:
            return
        more = threads * PER_THREAD - len(self._demand)
        if more > 0:
            self._demand += client.map(
                _never,
                range(more),
                key=[(DEMAND, new_id()) for _ in range(more)],
                resources={DEMAND: 1},
                pure=False,
            )
        elif more < 0:
            kept = len(self._demand) + more
            self._demand, surplus = self._demand[:kept], self._demand[kept:]
            await client.cancel(surplus, force=True)


def _never(_: int) -> None:
    raise AssertionError("no worker has what this task needs")
