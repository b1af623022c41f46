"""Tasks for the tests of runners on real Dask workers, without Django."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from distributed import Lock, MultiLock, Semaphore, get_client, get_worker
from distributed import print as print_to_clients

from dask_facade import shared_task
from dask_facade.task import Task
from tests.cluster import seed_programs

PROGRESS = "PROGRESS"  # a state of its own
logger = logging.getLogger(__name__)


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


@shared_task
def run_program(name: str, *args: Any) -> Any:
    """Run what users of Dask write."""
    return getattr(seed_programs, name)(*args)


@shared_task(isolate=True)
def run_isolated(name: str, *args: Any) -> Any:
    return getattr(seed_programs, name)(*args)


@shared_task(time_limit=60)
def take_all() -> bool:
    """Take what at most one may have, and say so as tasks of Dask's do."""
    with Semaphore(max_leases=1, name="a seat"), MultiLock(["knife", "fork"]), Lock("a plate"):
        print_to_clients("seated")
        return bool(Lock("a plate").locked())


@shared_task(time_limit=60)
def look_at_worker() -> list[Any]:
    """Return what a call in a process of its own has of its worker."""
    worker = get_worker()
    try:
        found = worker.data
    except AttributeError as error:
        found = str(error)
    return [worker.client is get_client(), found]


@shared_task(bind=True)
def flood(self: Task, how: str, count: int) -> float:
    """Say *count* things and return how many seconds that took."""
    say: dict[str, Callable[[int], object]] = {
        "emit": self.emit,
        "log": lambda number: logger.warning("logged %d", number),
        "print": lambda number: sys.stdout.write(f"printed {number}\n"),
        "update": lambda number: self.update_state(state=PROGRESS, meta={"number": number}),
    }
    began = time.perf_counter()
    for number in range(count):
        say[how](number)
    return time.perf_counter() - began
