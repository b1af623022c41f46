"""Worker processes that join a Dask cluster which runs, each under a nanny."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from distributed import Nanny

from dask_facade.cluster.connection import connect
from dask_facade.exceptions import ClusterUnavailable

logger = logging.getLogger(__name__)

JOIN_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 10.0
LOOK_EVERY = 0.5
_OVER = frozenset({"closed", "failed"})


async def serve_workers(
    scheduler: str,
    environments: Sequence[Mapping[str, str]],
    ready: Callable[[], None],
    stop: asyncio.Event,
    *,
    host: str | None = None,
) -> None:
    """Run a worker of one thread for each of *environments* until *stop*, or until all have ended.

    *ready* is called once they have joined. Raises ClusterUnavailable.
    """
    client = await connect(scheduler, JOIN_TIMEOUT / 4)
    await client.close()
    path = os.pathsep.join(each for each in sys.path if each)
    nannies = [
        Nanny(
            scheduler,
            nthreads=1,
            dashboard=False,
            host=host,
            name=environment.get("DASK_FACADE_NODE"),
            env={"PYTHONPATH": path, **environment},
        )
        for environment in environments
    ]
    try:
        try:
            await asyncio.wait_for(asyncio.gather(*nannies), JOIN_TIMEOUT)
        except (OSError, RuntimeError) as error:  # what a nanny raises that cannot start
            raise ClusterUnavailable(scheduler, str(error)) from error
        ready()
        while not stop.is_set() and not all(each.status.name in _OVER for each in nannies):
            try:
                await asyncio.wait_for(stop.wait(), LOOK_EVERY)
            except TimeoutError:
                continue
    finally:
        closing = (each.close(timeout=STOP_TIMEOUT) for each in nannies)
        for end in await asyncio.gather(*closing, return_exceptions=True):
            if isinstance(end, BaseException):
                logger.warning("a worker did not end in order: %s", end)
