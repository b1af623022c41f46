"""The schedulers that graphs are on: the one that runners are placed by, and others."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from distributed import Client

from dask_facade.cluster.connection import connect, leave, require_loopback
from dask_facade.exceptions import ClusterUnavailable

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 5.0  # seconds
LOOK_EVERY = 0.5  # seconds
IDLE = 60.0  # seconds that a client is kept after its last use
GONE = 60.0  # seconds without an answer after which a scheduler is taken for dead


@dataclass(slots=True, eq=False)
class _Neighbour:
    client: Client | None = None
    away: float | None = field(default_factory=time.monotonic)  # since when; None: it is there
    used: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None


class Neighbours:
    """A client for each scheduler that is asked for, as long as it is; *own* returns that of "".

    Others must be on this machine, unless *insecure*. For the loop on which it is asked; `close`
    ends them.
    """

    def __init__(
        self, own: Callable[[], Client | None], *, insecure: bool = False, gone: float = GONE
    ) -> None:
        self._gone = gone
        self._insecure = insecure
        self._own = own
        self._known: dict[str, _Neighbour] = {}

    def admit(self, address: str) -> None:
        """Raise ImproperlyConfigured for a scheduler that must not be connected to."""
        if address and not self._insecure:
            require_loopback(address, "the scheduler")

    def client(self, address: str) -> Client | None:
        """Return the client of a scheduler; None while it is not there, or not yet."""
        if not address:
            return self._own()
        known = self._known.get(address)
        if known is None:
            known = self._known[address] = _Neighbour()
            known.task = asyncio.get_running_loop().create_task(self._keep(address, known))
        known.used = time.monotonic()
        return known.client

    def is_gone(self, address: str) -> bool:
        """Tell whether another scheduler than *own* was asked for, and not there, for long."""
        known = self._known.get(address)
        return (
            known is not None
            and known.away is not None
            and time.monotonic() - known.away > self._gone
        )

    async def close(self) -> None:
        """Let go of all schedulers."""
        tasks = [each.task for each in self._known.values() if each.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, address: str, known: _Neighbour) -> None:
        try:
            while time.monotonic() - known.used < IDLE:
                if known.client is not None and known.client.status != "running":
                    logger.warning("the scheduler at %s is away", address)
                    known.away = time.monotonic()
                    await self._leave(known)
                if known.client is None:
                    await self._reach(address, known)
                await asyncio.sleep(LOOK_EVERY)
        finally:
            if self._known.get(address) is known:
                del self._known[address]
            await self._leave(known)

    async def _reach(self, address: str, known: _Neighbour) -> None:
        try:
            known.client = await connect(address, CONNECT_TIMEOUT)
            known.away = None
        except ClusterUnavailable as error:
            logger.debug("%s", error)

    async def _leave(self, known: _Neighbour) -> None:
        client, known.client = known.client, None
        if client is not None:
            await leave(client)
