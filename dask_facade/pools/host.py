"""The child process that a pool's scheduler and workers are in, also in a container."""

from __future__ import annotations

import asyncio
import codecs
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from shutil import which

from dask_facade.pools import slots
from dask_facade.pools.exceptions import ContainerError, PoolError, VersionMismatch
from dask_facade.pools.inside import MARK, Told

logger = logging.getLogger(__name__)

START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 8.0
READ_TIMEOUT = 1.0  # for what it still prints; others may hold its pipe
TAIL = 20  # lines of what a process said before it failed

_MAIN = "import sys; from dask_facade.pools.inside import main; main(sys.argv[1:])"
_PROBE = (
    "import json, sys, dask, distributed, dask_facade; "
    "found = [each.__version__ for each in (dask, distributed, dask_facade)]; "
    f"print({MARK!r} + json.dumps([*found, '%d.%d' % sys.version_info[:2]]))"
)
_PROBED = ("dask", "distributed", "dask_facade")


class Host:
    """The process, which *prefix* starts in a container. What it prints is printed here."""

    def __init__(self, prefix: Sequence[str]) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._prefix = tuple(prefix)
        self._reader: asyncio.Task[None] | None = None

    def check(self) -> None:
        """Raise ContainerError where there is no program that would start it."""
        if self._prefix and which(self._prefix[0]) is None:
            name = self._prefix[0]
            raise ContainerError(f"there is no program {name!r} on PATH to start Dask with")

    async def probe(self) -> None:
        """Raise VersionMismatch unless what the container has is what is here."""
        child = self._child = await self._started("-c", _PROBE)
        inside = json.loads(await self._line_of(child))
        outside = (*map(version, _PROBED), f"{sys.version_info[0]}.{sys.version_info[1]}")
        unlike = [
            f"{what} is {there} in the container and {here} outside"
            for what, there, here in zip((*_PROBED, "Python"), inside, outside, strict=True)
            if there != here
        ]
        if unlike:
            raise VersionMismatch(f"{'; '.join(unlike)}: use an image that has the same")
        await self.close()

    async def start(self, told: Told) -> str:
        """Start the scheduler and the workers; return the scheduler's address."""
        child = self._child = await self._started("-c", _MAIN, told.as_json())
        address = await self._line_of(child)
        self._reader = asyncio.ensure_future(_pass_on(child))
        return address

    async def wait(self) -> None:
        """Return when the process has ended."""
        if self._child is not None:
            await self._child.wait()

    async def close(self) -> None:
        """End it, the workers first."""
        child, self._child = self._child, None
        if child is None:
            return
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), STOP_TIMEOUT)
        except TimeoutError:
            logger.warning("process %s of a pool's cluster did not end: killed", child.pid)
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
        if self._reader is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._reader, READ_TIMEOUT)

    async def _started(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._prefix,
            sys.executable,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={
                **{name: each for name, each in os.environ.items() if name != slots.FOLDER},
                "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "30 s",
                "DASK_LOGGING__DISTRIBUTED": "warning",
                "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                "PYTHONUNBUFFERED": "1",
            },
        )

    async def _line_of(self, child: asyncio.subprocess.Process) -> str:
        """Return what follows MARK; raise PoolError, or ContainerError, if nothing does."""
        assert child.stdout is not None
        said: list[str] = []
        with suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                while line := (await child.stdout.readline()).decode(errors="replace"):
                    if line.startswith(MARK):
                        return line.removeprefix(MARK).strip()
                    said.append(line)
                    _print(line)
        words = "".join(said[-TAIL:]).strip() or "its errors stand above"
        if self._prefix:
            command = " ".join(self._prefix)
            what = "Python, with Dask and dask_facade, does not start"
            raise ContainerError(f"{what} with {command!r}: {words}")
        raise PoolError(f"the pool's scheduler and workers do not start: {words}")


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


async def _pass_on(child: asyncio.subprocess.Process) -> None:
    """Print what *child* and its own print, until it ends."""
    assert child.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while said := await child.stdout.read(2**16):
        _print(decoder.decode(said))
