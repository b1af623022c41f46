"""The process with the scheduler and the workers of a pool's own cluster.

It starts in the pool's container, if there is one, prints a line once it is up, and ends when its
standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from distributed import Nanny, Scheduler

from dask_facade.pools import slots
from dask_facade.worker.node import node_name, node_of

MARK = "dask-facade: "
"""What the line begins with, among what a container prints."""

CLOSE_TIMEOUT = 3.0  # seconds
LOOK_EVERY = 0.01
RESOURCE = "nproc"


@dataclass(frozen=True, slots=True)
class Told:
    """What the process is told of its workers."""

    name: str
    threads: int
    processors: int
    shares: bool
    environments: Sequence[Mapping[str, str]]  # of each, beside that of the process

    def as_json(self) -> str:
        """Return it as an argument of the command line."""
        return json.dumps(asdict(self))


async def _serve(told: Told) -> None:
    orphaned: asyncio.Future[Any] = asyncio.ensure_future(_orphaned())
    with tempfile.TemporaryDirectory(prefix="dask-facade-pool-") as folder:
        async with Scheduler(
            host="127.0.0.1", port=0, dashboard=False, dashboard_address="127.0.0.1:0"
        ) as scheduler:
            nannies = [
                _nanny(told, number, scheduler.address, Path(folder, str(number)))
                for number, _ in enumerate(told.environments)
            ]
            started: asyncio.Future[Any] = asyncio.gather(*nannies)
            try:
                await asyncio.wait([orphaned, started], return_when=asyncio.FIRST_COMPLETED)
                if started.done():
                    await started
                    _tell(scheduler.address)
                await orphaned
            finally:
                started.cancel()
                # One that is just starting refuses to be closed; it ends with this process.
                closing = (nanny.close(timeout=CLOSE_TIMEOUT) for nanny in nannies)
                await asyncio.gather(*closing, return_exceptions=True)


def _nanny(told: Told, number: int, scheduler: str, folder: Path) -> Nanny:
    environment = dict(told.environments[number])
    if told.shares:
        slots.make(folder, told.processors)
        environment[slots.FOLDER] = str(folder)
    return Nanny(
        scheduler,
        nthreads=told.threads,
        name=f"{told.name}-{number}",
        resources={RESOURCE: told.processors},
        env=environment,
        host="127.0.0.1",
        dashboard=False,
    )


def _tell(line: str) -> None:
    sys.stdout.write(f"{MARK}{line}\n")
    sys.stdout.flush()


async def let_runners_go(timeout: float, dask_worker: Any) -> None:
    """Let the runners of a worker end when they have nothing in hand; run there by a client."""
    node = node_of(node_name(dask_worker.name))
    for runner in list(node.runners):
        runner.retire()
    deadline = time.monotonic() + timeout
    while node.runners and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_EVERY)


async def _orphaned() -> None:
    """Return when standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    await reader.read()


def main(arguments: Sequence[str]) -> None:
    """Serve what the first argument says, until standard input ends."""
    asyncio.run(_serve(Told(**json.loads(arguments[0]))))
