"""Placing runners: one for each thread of each worker, pinned, replaced when it ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future, Variable
from distributed.client import ClosedClientError

from dask_facade.cluster.connection import connect, leave
from dask_facade.cluster.futures import DISPATCHER
from dask_facade.exceptions import ClusterUnavailable
from dask_facade.worker.runner import Slot, run

logger = logging.getLogger(__name__)

KEY_PREFIX = "dask-facade-runner"
LOOK_EVERY = 1.0  # seconds; events of the scheduler are heard at once
REPLACE_AFTER = 2.0  # seconds before a runner that ended is replaced
_OPEN = frozenset({"init", "running", "paused"})


@dataclass(slots=True)
class _Placed:
    runner: str
    future: Future[str]
    free_at: float | None = None  # when its place may be filled again, once it has ended


class Placement:
    """Keeps a runner on every thread of a cluster.

    *make_slot* is asked for what each new runner is told; *gone* is told of workers that Dask has
    removed, by address, *placed* which runners have the places of a worker, and *paused* of all
    workers that are, when these are others. The client is made anew when the scheduler was away or
    is another one, and *notice* is then left on the scheduler, where runners that lost their line
    find their dispatcher. While none are *wanted*, none are placed.
    """

    def __init__(
        self,
        address: str,
        make_slot: Callable[[], Slot],
        gone: Callable[[str], None],
        placed: Callable[[str, Sequence[str]], None],
        notice: Mapping[str, object],
        *,
        paused: Callable[[frozenset[str]], None] = lambda _: None,
        wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        self.address = address
        self.client: Client | None = None  # while the scheduler is there
        self.workers: frozenset[str] = frozenset()
        self._gone = gone
        self._look = asyncio.Event()
        self._make_slot = make_slot
        self._notice = notice
        self._paused: frozenset[str] = frozenset()
        self._placed: dict[str, list[_Placed]] = {}
        self._scheduler = ""  # its id, which a new one at the same address does not have
        self._stopped = False
        self._tell_paused = paused
        self._tell_placed = placed
        self._wanted = wanted

    async def start(self, timeout: float) -> None:
        """Connect and place the first runners; raise ClusterUnavailable."""
        await self._connect(timeout)
        await self._reconcile()

    async def keep(self) -> None:
        """Follow the cluster until `close`."""
        while not self._stopped:
            try:
                if self.client is None:
                    await self._connect(LOOK_EVERY * 5)
                await asyncio.wait_for(self._look.wait(), LOOK_EVERY)
            except TimeoutError:
                pass
            except ClusterUnavailable as error:
                logger.debug("%s", error)
                await asyncio.sleep(LOOK_EVERY)
                continue
            self._look.clear()
            try:
                await self._reconcile()
            except (OSError, ClosedClientError) as error:
                if not self._stopped:
                    logger.warning("the scheduler at %s is away: %s", self.address, error)
                    await self._disconnect()

    def look(self) -> None:
        """Look at the cluster at once."""
        self._look.set()

    def give_up(self) -> None:
        """Take all workers for gone: their cluster ends."""
        for address in self.workers:
            self._gone(address)

    async def close(self) -> None:
        """Let go of the runners and of the scheduler."""
        self._stopped = True
        self._look.set()
        client = self.client
        if client is not None:
            futures = [each.future for placed in self._placed.values() for each in placed]
            try:
                await asyncio.wait_for(client.cancel(futures, force=True), 2)
            except (OSError, ClosedClientError):
                logger.debug("the scheduler was gone first")
        await self._disconnect()

    async def _connect(self, timeout: float) -> None:
        client = await connect(self.address, timeout)
        try:
            client.subscribe_topic("all", self._on_event)
            variable = Variable(DISPATCHER, client=client)
            await asyncio.wait_for(variable.set(dict(self._notice)), timeout)
        except (OSError, ClosedClientError) as error:
            await _close(client)
            raise ClusterUnavailable(self.address, str(error)) from error
        self.client, self._scheduler = client, ""

    async def _disconnect(self) -> None:
        client, self.client = self.client, None
        self._placed.clear()
        if client is not None:
            await _close(client)

    async def _on_event(self, event: tuple[float, Any]) -> None:
        match event[1]:
            case {"action": "add-worker" | "remove-worker"}:
                self._look.set()

    async def _reconcile(self) -> None:
        client = self.client
        if client is None:
            return
        if client.scheduler is None:
            raise OSError("the client has closed")
        identity = await asyncio.wait_for(client.scheduler.identity(n_workers=-1), 10)
        if identity["id"] != (self._scheduler or identity["id"]):
            raise ConnectionError("it was started anew")  # and knows nothing of what it was told
        self._scheduler = identity["id"]
        workers = {
            address: each["nthreads"]
            for address, each in identity["workers"].items()
            if each["status"] in _OPEN
        }
        for address in self.workers - identity["workers"].keys():
            lost = self._placed.pop(address, [])
            await client.cancel([each.future for each in lost], force=True)
            logger.warning("worker %s is gone", address)
            self._gone(address)
        self.workers = frozenset(identity["workers"])
        paused = {a for a, each in identity["workers"].items() if each["status"] == "paused"}
        if paused != self._paused:
            self._paused = frozenset(paused)
            self._tell_paused(self._paused)
        now = time.monotonic()
        for address, threads in workers.items():
            placed = self._placed.setdefault(address, [])
            for each in placed:
                await self._look_at(each, address, now)
            placed[:] = [each for each in placed if each.free_at is None or each.free_at > now]
            if len(placed) < threads and self._wanted():
                placed += [self._place(client, address) for _ in range(threads - len(placed))]
                self._tell_placed(address, [each.runner for each in placed])

    async def _look_at(self, placed: _Placed, address: str, now: float) -> None:
        """Note that a runner has ended, and why."""
        if placed.free_at is not None or placed.future.status == "pending":
            return
        placed.free_at = now + REPLACE_AFTER
        if placed.future.status == "error":
            end = f"failed: {await _told(placed.future.exception())}"
        elif placed.future.status == "finished":
            end = f"ended: {await _told(placed.future.result())}"
        else:
            end = f"was {placed.future.status}"
        level = logging.WARNING if self._wanted() else logging.INFO
        logger.log(level, "a runner on %s %s", address, end)

    def _place(self, client: Client, address: str) -> _Placed:
        slot = self._make_slot()
        future = client.submit(
            run,
            slot,
            key=(KEY_PREFIX, slot.runner),
            workers=[address],
            allow_other_workers=False,
            pure=False,
            retries=0,
        )
        return _Placed(slot.runner, future)


async def _close(client: Client) -> None:
    try:
        # Or the scheduler tells it of its own end, finds it gone, and logs that as critical.
        client.unsubscribe_topic("all")
    except (ClosedClientError, ValueError):
        logger.debug("the client hears nothing any more")
    await leave(client)


async def _told(answer: Any) -> str:
    """Return what an asynchronous client tells of a future; its worker may have died with it."""
    try:
        return str(await asyncio.wait_for(answer, 2))
    except TimeoutError:
        return "why is lost"
    except Exception as error:  # a future's exception may be anything
        return repr(error)
