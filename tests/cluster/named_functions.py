"""What the named jobs of the tests compute, on workers too."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from distributed import get_worker

from demo_site.tutorial.job_functions import (
    add,
    convert_to_dollar_sign,
    delayed_job,
    distributed_job,
    double,
    inc,
    multiple_leaf_job,
    sum_up,
)

__all__ = [
    "add",
    "convert_to_dollar_sign",
    "delayed_job",
    "distributed_job",
    "double",
    "inc",
    "multiple_leaf_job",
    "sum_up",
]


def fail(x: Any) -> Any:
    raise ValueError(f"no good: {x}")


def nap(seconds: float, *_: Any) -> float:
    time.sleep(seconds)
    return seconds


def late(x: Any) -> Any:
    time.sleep(1.0)
    return x


def lock(x: Any) -> Any:
    return threading.Lock()


def note(path: str) -> str:
    """Append a line to a file, so that runs can be counted."""
    with Path(path).open("a") as runs:
        runs.write("ran\n")
    return path


def fail_once(path: str) -> str:
    """Fail where it has not run before."""
    ran = Path(path).exists()
    note(path)
    if not ran:
        raise ValueError("the first time")
    return "the second time"


def nothing(result: Any) -> None:
    return None


def naps(dask_scheduler: Any) -> int:
    """Count the tasks of `nap` that a scheduler has."""
    return sum(key.startswith("nap-") for key in map(str, dask_scheduler.tasks))


def wait_for_file(path: str) -> str:
    """Wait until a file is there."""
    while not Path(path).exists():
        time.sleep(0.02)
    return "went"


def where(_: object = None) -> str:
    """Return the address of the scheduler that this runs under."""
    return str(get_worker().scheduler.address)
