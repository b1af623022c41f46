"""A process that knows Dask and the names of jobs, and nothing else."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

from distributed import Client

_FRAME = """
import sys, time
sys.modules["dask_facade"] = None  # nothing may import it
from distributed import Client, Queue, Variable
with Client({address!r}, timeout=10) as client:
{code}
"""


def bare(address: str, code: str, folder: Path) -> str:
    """Run *code* with a `client` of the scheduler at *address*; return what it prints."""
    script = _FRAME.format(
        address=address, code="".join(f"    {line}\n" for line in code.strip().splitlines())
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def left_of(client: Client, ids: list[str]) -> list[str]:
    """Return what the scheduler has that names one of *ids*: variables, queues, keys, clients."""

    def known(dask_scheduler: Any) -> list[str]:
        names = [
            *dask_scheduler.extensions["variables"].variables,
            *dask_scheduler.extensions["queues"].queues,
            *map(str, dask_scheduler.tasks),
            *dask_scheduler.clients,
        ]
        return [name for name in names if any(id in name for id in ids)]

    gc.collect()  # a future in a cycle of Python's is held until then
    left: list[str] = client.run_on_scheduler(known)
    return left
