"""The embedded cluster: a scheduler and worker processes that end with their dispatcher."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from distributed import Nanny, Scheduler

from dask_facade.cluster.own import OwnCluster, parent_gone, take_output, tell_parent
from dask_facade.worker.preload import set_up_django

START_TIMEOUT = 60.0


class LocalCluster(OwnCluster):
    """A scheduler on loopback and *workers* worker processes of one thread each, under nannies.

    Started again, its scheduler has the address that it had.
    """

    def __init__(self, workers: int, environment: Mapping[str, str] | None = None) -> None:
        super().__init__(environment)
        self._workers = workers

    async def _spawn_parts(self) -> None:
        port = self.address.rpartition(":")[2] or "0"
        self.address = await self._spawn(_MODULE, "scheduler", port, timeout=START_TIMEOUT)
        await self._spawn(
            _MODULE, "workers", self.address, str(self._workers), timeout=START_TIMEOUT
        )


async def _serve_scheduler(pipe: int, port: int) -> None:
    async with Scheduler(
        host="127.0.0.1", port=port, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler:
        # It unpickles graphs, whose modules may have models. That takes no longer than workers do.
        asyncio.get_running_loop().run_in_executor(None, set_up_django)
        tell_parent(pipe, scheduler.address)
        await parent_gone()


async def _serve_workers(pipe: int, address: str, count: int) -> None:
    nannies = [
        Nanny(address, nthreads=1, name=f"local-{number}", dashboard=False, host="127.0.0.1")
        for number in range(count)
    ]
    orphaned: asyncio.Future[Any] = asyncio.ensure_future(parent_gone())
    started: asyncio.Future[Any] = asyncio.gather(*nannies)
    try:
        await asyncio.wait([orphaned, started], return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            await started
            tell_parent(pipe, f"{len(nannies)} workers")
        await orphaned
    finally:
        started.cancel()
        # One that is just starting refuses to be closed; it ends with this process.
        closing = (nanny.close(timeout=2) for nanny in nannies)
        await asyncio.gather(*closing, return_exceptions=True)


def main(arguments: Sequence[str]) -> None:
    """Run one part of an embedded cluster until standard input ends."""
    pipe = take_output()
    match arguments:
        case ["scheduler", port]:
            asyncio.run(_serve_scheduler(pipe, int(port)))
        case ["workers", address, count]:
            asyncio.run(_serve_workers(pipe, address, int(count)))
        case _:
            raise SystemExit(f"unknown part of a cluster: {arguments!r}")


_MODULE = "dask_facade.cluster.local"

if __name__ == "__main__":
    main(sys.argv[1:])
