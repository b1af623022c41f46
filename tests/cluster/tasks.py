"""Tasks that run on the workers of the tests' clusters."""

from __future__ import annotations

import contextvars
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.db import transaction

from dask_facade import AsyncResult, shared_task


class Unbuildable(Exception):
    """Cannot be built again from its arguments, as many real exceptions cannot."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


@shared_task
def add(x: Any, y: Any) -> Any:
    return x + y


@shared_task
def echo(value: Any = None) -> Any:
    return value


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task
def sizes(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@shared_task
def text_of(size: int) -> str:
    return "x" * size


@shared_task
def fail(message: str = "bad") -> None:
    raise ValueError(message)


@shared_task
def fail_oddly() -> None:
    raise Unbuildable(1, 2)


@shared_task
def leave(status: int = 0) -> None:
    raise SystemExit(status)


@shared_task
def unstorable() -> Any:
    return threading.Lock()


@shared_task
def huge() -> bytes:
    return b"x" * (17 * 2**20)


@shared_task(bind=True, name="tests.cluster.tasks.describe")
def describe(self: Any, *_: Any) -> dict[str, Any]:
    request = self.request
    return {
        "id": request.id,
        "task": self.name,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "group": request.group,
        "retries": request.retries,
        "args": request.args,
        "queue": request.delivery_info["routing_key"],
        "direct": request.called_directly,
    }


@shared_task
def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task
def note(folder: str, name: str, seconds: float = 0.0) -> str:
    """Leave a line for each time that it runs."""
    with Path(folder, name).open("a") as runs:
        runs.write(f"{os.getpid()}\n")
    time.sleep(seconds)
    return name


@shared_task
def die(folder: str) -> None:
    note(folder, "died")
    os._exit(1)


@shared_task(acks_late=True)
def die_late(folder: str) -> None:
    note(folder, "died")
    os._exit(1)


@shared_task(acks_late=True)
def die_once(folder: str) -> str:
    runs = Path(folder, "died")
    first = not runs.exists()
    note(folder, "died")
    if first:
        os._exit(1)
    return "survived"


@shared_task
def process_id() -> int:
    return os.getpid()


@shared_task
def get_within() -> Any:
    return AsyncResult("some-id").get(timeout=1)


@shared_task(track_started=True)
def text_when(path: str, size: int) -> str:
    """Return a text once there is a file."""
    while not Path(path).exists():
        time.sleep(0.01)
    return "x" * size


@shared_task
def spawn_in_transactions() -> list[str]:
    """Submit a job in a transaction that is committed, and one in another that is not."""
    with transaction.atomic():
        kept = add.delay(1, 1)
    with suppress(ZeroDivisionError), transaction.atomic():
        lost = add.delay(2, 2)
        raise ZeroDivisionError
    return [kept.id, lost.id]


@shared_task
def spawn_in_a_thread() -> str:
    """Submit a job in a thread that knows of its job."""
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1) as pool:
        job_id: str = pool.submit(context.run, add.delay, 3, 3).result().id
    return job_id
