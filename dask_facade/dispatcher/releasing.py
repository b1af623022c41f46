"""What Dask keeps of jobs whose rows are gone is let go."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping

from distributed import Client
from distributed.client import ClosedClientError

from dask_facade.cluster.futures import forget
from dask_facade.cluster.neighbours import Neighbours

logger = logging.getLogger(__name__)

AGAIN = 1.0  # seconds between two attempts
PATIENCE = 10.0  # seconds for a neighbour to be there; what one that ends keeps, ends with it


class Releasing:
    """Lets schedulers forget jobs, in the background."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[tuple[Collection[str], Mapping[str, str]]] = asyncio.Queue()

    def add(self, ids: Collection[str], kept: Mapping[str, str]) -> None:
        """Let jobs be forgotten; *kept* says by which scheduler a future of some is known."""
        if ids:
            self._queue.put_nowait((ids, kept))

    async def keep(self, neighbours: Neighbours) -> None:
        """Work for ever."""
        async with asyncio.TaskGroup() as group:
            while True:
                ids, kept = await self._queue.get()
                others: dict[str, list[str]] = {}
                for id, scheduler in kept.items():
                    if scheduler:
                        others.setdefault(scheduler, []).append(id)
                for scheduler, those in others.items():
                    group.create_task(_release_at(neighbours, scheduler, those))
                own = [id for id in ids if not kept.get(id)]
                while not await _is_forgotten(neighbours.client(""), own, kept.keys() & set(own)):
                    await asyncio.sleep(AGAIN)


async def _release_at(neighbours: Neighbours, scheduler: str, ids: Collection[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not await _is_forgotten(neighbours.client(scheduler), ids, ids):
        if time.monotonic() > deadline:
            logger.warning(
                "%d jobs are not forgotten by the scheduler at %s: it is away", len(ids), scheduler
            )
            return
        await asyncio.sleep(AGAIN)


async def _is_forgotten(client: Client | None, ids: Collection[str], kept: Collection[str]) -> bool:
    """Let a scheduler forget jobs; tell whether it could be reached."""
    if client is None:
        return False
    try:
        await forget(client, ids, kept)
    except (OSError, ClosedClientError) as error:
        logger.warning("%d jobs are not forgotten by the cluster yet: %s", len(ids), error)
        return False
    return True
