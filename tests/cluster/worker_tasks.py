"""Tasks for the tests of runners on real Dask workers, without Django."""

from __future__ import annotations

import os
import time
from typing import Any

from distributed import get_client

from dask_facade import shared_task
from dask_facade.task import Task


@shared_task
def echo(value: Any = None) -> Any:
    return value


@shared_task
def text_of(size: int) -> str:
    return "x" * size


@shared_task
def length(text: str) -> tuple[int, int]:
    return len(text), os.getpid()


@shared_task
def process() -> int:
    return os.getpid()


@shared_task
def sleep(seconds: float) -> None:
    time.sleep(seconds)


@shared_task(isolate=True)
def isolated_length(text: str) -> tuple[int, int]:
    return len(text), os.getpid()


@shared_task(bind=True)
def say(self: Task, count: int) -> None:
    channel: Any = self.request.channel
    for number in range(count):
        channel.emit({"line": number})


@shared_task
def submit_to_dask(x: int) -> int:
    return int(get_client().submit(lambda y: y + 1, x).result())


@shared_task
def fork() -> tuple[int, int]:
    """Leave a process that has all that was open in this one."""
    parent, child = os.getpid(), os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    return parent, child
