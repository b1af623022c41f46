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
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distributed import Nanny, Scheduler

from dask_facade.exceptions import ClusterUnavailable

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0
STOP_TIMEOUT = 10.0
RESTART_PAUSE = 2.0
WORKER_TTL = "30 s"


class LocalCluster:
    """A scheduler on loopback and *workers* worker processes of one thread each, under nannies.

    *environment* is what they find beside the environment of this process.
    """

    def __init__(self, workers: int, environment: Mapping[str, str] | None = None) -> None:
        self.address = ""
        self._children: list[asyncio.subprocess.Process] = []
        self._closed = False
        self._environment = environment or {}
        self._workers = workers

    async def start(self) -> None:
        """Start it; raise ClusterUnavailable if it does not come up.

        Started again, its scheduler has the address that it had.
        """
        port = self.address.rpartition(":")[2] or "0"
        try:
            self.address = await self._spawn("scheduler", port)
            await self._spawn("workers", self.address, str(self._workers))
        except (OSError, TimeoutError) as error:
            await self._end()
            raise ClusterUnavailable("local", str(error)) from error

    async def keep(self, ending: Callable[[], None]) -> None:
        """Start it again whenever one of its processes ends, until `close`.

        *ending* is called before the others are ended: nothing should begin there any more.
        """
        while True:
            await self._first_end()
            if self._closed:
                return
            logger.error("a process of the local cluster ended: the cluster is started anew")
            ending()
            await self._end()
            while not self._closed and not self._children:
                try:
                    await self.start()
                except ClusterUnavailable as error:
                    logger.error("%s", error)
                    await asyncio.sleep(RESTART_PAUSE)

    async def _first_end(self) -> None:
        """Wait until a process has ended."""
        ends = [asyncio.ensure_future(child.wait()) for child in self._children]
        try:
            if ends:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()

    async def close(self) -> None:
        """End all of it: the workers first."""
        self._closed = True
        await self._end()

    async def _end(self) -> None:
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
        if self._closed:
            raise OSError("the cluster was closed")
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
                **self._environment,
            },
        )
        self._children.append(child)
        assert child.stdout is not None
        line = await asyncio.wait_for(child.stdout.readline(), START_TIMEOUT)
        if not line:
            raise OSError(f"the {arguments[0]} ended as it started; its errors stand above")
        return line.decode().strip()


async def _serve_scheduler(pipe: int, port: int) -> None:
    async with Scheduler(
        host="127.0.0.1", port=port, dashboard=False, dashboard_address="127.0.0.1:0"
    ) as scheduler:
        _tell_parent(pipe, scheduler.address)
        await _parent_gone()


async def _serve_workers(pipe: int, address: str, count: int) -> None:
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
            _tell_parent(pipe, f"{len(nannies)} workers")
        await orphaned
    finally:
        started.cancel()
        # One that is just starting refuses to be closed; it ends with this process.
        closing = (nanny.close(timeout=2) for nanny in nannies)
        await asyncio.gather(*closing, return_exceptions=True)


def _take_output() -> int:
    """Return the pipe to the parent; what is printed here and in workers goes to standard error.

    Nobody reads the pipe after its first line: who printed into it would hang once it is full.
    """
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def _tell_parent(pipe: int, line: str) -> None:
    os.write(pipe, f"{line}\n".encode())


async def _parent_gone() -> None:
    """Return when standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


def main(arguments: Sequence[str]) -> None:
    """Run one part of an embedded cluster until standard input ends."""
    pipe = _take_output()
    match arguments:
        case ["scheduler", port]:
            asyncio.run(_serve_scheduler(pipe, int(port)))
        case ["workers", address, count]:
            asyncio.run(_serve_workers(pipe, address, int(count)))
        case _:
            raise SystemExit(f"unknown part of a cluster: {arguments!r}")


if __name__ == "__main__":
    main(sys.argv[1:])
