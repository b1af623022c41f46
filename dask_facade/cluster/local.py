"""The embedded cluster: a scheduler and worker processes that end with their dispatcher.

Each part is a child process with a pipe from its parent as standard input: when the pipe ends, for
whatever reason, so does the child. They are out of the parent's process group, so Ctrl-C reaches
the parent alone, which ends them in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from distributed import Nanny, Scheduler

from dask_facade.exceptions import ClusterUnavailable

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
WORKER_TTL = "30 s"


class LocalCluster:
    """A scheduler on loopback and *workers* worker processes of one thread each, under nannies."""

    def __init__(self, workers: int) -> None:
        self.address = ""
        self._children: list[asyncio.subprocess.Process] = []
        self._workers = workers

    async def start(self) -> None:
        """Start it; raise ClusterUnavailable if it does not come up."""
        try:
            self.address = await self._spawn("scheduler")
            await self._spawn("workers", self.address, str(self._workers))
        except (OSError, TimeoutError) as error:
            await self.close()
            raise ClusterUnavailable("local", str(error)) from error

    async def close(self) -> None:
        """End all of it: the workers first."""
        for child in reversed(self._children):
            assert child.stdin is not None
            child.stdin.close()
            try:
                await asyncio.wait_for(child.wait(), STOP_TIMEOUT)
            except TimeoutError:
                logger.warning("process %s of the local cluster did not end: killed", child.pid)
                child.kill()
                await child.wait()
        self._children.clear()

    async def _spawn(self, *arguments: str) -> str:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "dask_facade.cluster.local",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={
                **os.environ,
                "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": WORKER_TTL,
                "DASK_LOGGING__DISTRIBUTED": "warning",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            },
        )
        self._children.append(child)
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), START_TIMEOUT)
        if not line:
            raise OSError(f"the {arguments[0]} ended as it started; its errors stand above")
        return line.decode().strip()


async def _serve_scheduler() -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        _tell_parent(scheduler.address)
        await _parent_gone()


async def _serve_workers(address: str, count: int) -> None:
    nannies = [
        Nanny(address, nthreads=1, name=f"local-{number}", dashboard=False, host="127.0.0.1")
        for number in range(count)
    ]
    orphaned: asyncio.Future[Any] = asyncio.ensure_future(_parent_gone())
    started: asyncio.Future[Any] = asyncio.gather(*nannies)
    try:
        await asyncio.wait([orphaned, started], return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            await started
            _tell_parent(f"{len(nannies)} workers")
        await orphaned
    finally:
        started.cancel()
        await asyncio.gather(*(nanny.close(timeout=2) for nanny in nannies))


def _tell_parent(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def _parent_gone() -> None:
    """Return when standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


def main(arguments: Sequence[str]) -> None:
    """Run one part of an embedded cluster until standard input ends."""
    match arguments:
        case ["scheduler"]:
            asyncio.run(_serve_scheduler())
        case ["workers", address, count]:
            asyncio.run(_serve_workers(address, int(count)))
        case _:
            raise SystemExit(f"unknown part of a cluster: {arguments!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
