"""Tasks that run on the workers of the tests' clusters."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

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
