"""Tasks whose futures other Dask clients take."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import dask

from dask_facade import current_app, shared_task


def absolute(number: int) -> int:
    return abs(number)


@shared_task
def double(x: Any) -> Any:
    return 2 * x


@shared_task
def fail(message: str) -> None:
    raise ValueError(message)


@shared_task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task
def wait_for_file(path: str) -> str:
    """Return once there is such a file."""
    deadline = time.monotonic() + 30
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return "seen"


@shared_task
def text_of(size: int) -> str:
    return "x" * size


@shared_task(bind=True)
def count(self: Any, to: int) -> int:
    for number in range(to):
        self.emit(number)
    return to


@shared_task
def begin_graph(number: int) -> str:
    return str(current_app.compute(dask.delayed(absolute)(number)).id)


@shared_task
def begin_graph_through_another(number: int) -> str:
    return str(begin_graph(number))
