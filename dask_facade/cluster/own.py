"""Clusters of a dispatcher's own: processes that end with it.

Each part is a child process with a pipe from its parent as standard input: when the pipe ends, for
whatever reason, so does the child. They are out of the parent's process group, so Ctrl-C reaches
the parent alone, which ends them in order.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping

from dask_facade.exceptions import ClusterUnavailable

logger = logging.getLogger(__name__)

STOP_TIMEOUT = 10.0
RESTART_PAUSE = 2.0
WORKER_TTL = "30 s"
LOG_LEVEL = "DASK_LOGGING__DISTRIBUTED"
"""The environment variable that says from which level on Dask logs."""


class OwnCluster(ABC):
    """A Dask cluster in processes below this one.

    *environment* is what they find beside the environment of this process.
    """

    name = "local"  # in messages
    stop_timeout = STOP_TIMEOUT

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.address = ""
        self._children: list[asyncio.subprocess.Process] = []
        self._closed = False
        self._ending = asyncio.Lock()
        self._environment = environment or {}
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start it; raise ClusterUnavailable if it does not come up, or is closed meanwhile."""
        async with self._starting:
            try:
                await self._spawn_parts()
            except (OSError, TimeoutError) as error:
                await self._end()
                raise ClusterUnavailable(self.name, str(error)) from error

    @abstractmethod
    async def _spawn_parts(self) -> None:
        """Start the processes, and learn the scheduler's address; raise OSError, TimeoutError."""

    async def keep(
        self, ending: Callable[[], None], anew: Callable[[str], Awaitable[None]] | None = None
    ) -> None:
        """Start it again whenever one of its processes ends, until `close`.

        *ending* is called before the others are ended: nothing should begin there any more. *anew*
        gets its scheduler's address, which may be another one, once it is there.
        """
        while True:
            await self._first_end()
            if self._closed:
                return
            logger.error("a process of the cluster ended: the cluster is started anew")
            ending()
            await self._end()
            while not self._closed and not self._children:
                try:
                    await self.start()
                except ClusterUnavailable as error:
                    logger.error("%s", error)
                    await asyncio.sleep(RESTART_PAUSE)
            if anew is not None and not self._closed:
                await anew(self.address)

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
        """End all of it: the workers first. What is just being started ends, too."""
        self._closed = True
        await self._end()
        async with self._starting:  # it sees that, and what it started ends with it
            await self._end()

    async def _end(self) -> None:
        async with self._ending:
            while self._children:
                child = self._children[-1]
                assert child.stdin is not None
                child.stdin.close()
                try:
                    await asyncio.wait_for(child.wait(), self.stop_timeout)
                except TimeoutError:
                    logger.warning("process %s of the cluster did not end: killed", child.pid)
                    child.kill()
                    await child.wait()
                self._children.remove(child)

    async def _spawn(self, module: str, *arguments: str, timeout: float, said: bytes = b"") -> str:
        """Start a part, tell it what is *said*, and return the line that it answers."""
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={
                **os.environ,
                "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": WORKER_TTL,
                LOG_LEVEL: "warning",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                **self._environment,
            },
        )
        self._children.append(child)
        if self._closed:
            raise OSError("the cluster was closed")
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(said)
        line = await asyncio.wait_for(child.stdout.readline(), timeout)
        if not line:
            what = " ".join(arguments[:1]) or "cluster"
            raise OSError(f"the {what} ended as it started; its errors stand above")
        return line.decode().strip()


# In the processes


def take_output() -> int:
    """Return the pipe to the parent; what is printed here and in workers goes to standard error.

    Nobody reads the pipe after its first line: who printed into it would hang once it is full.
    """
    pipe = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return pipe


def tell_parent(pipe: int, line: str) -> None:
    """Answer the parent that waits for this part."""
    os.write(pipe, f"{line}\n".encode())


async def parent_gone() -> None:
    """Return when standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()
