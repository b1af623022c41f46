"""What the pools of the tests run."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin, get_client

from dask_facade import group, shared_task
from dask_facade.pools import TaskPool
from dask_facade.result import allow_join_result

# It starts a child and a grandchild in a session of its own, and ends no sooner than they.
FAMILY = """#!/bin/sh
setsid sh -c 'echo $$ > grandchild; exec sleep 600' &
echo $$ > parent
wait
"""


def program(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def echo(value: Any = None) -> Any:
    return value


def fail(message: str) -> None:
    raise ValueError(message)


def lock() -> Any:
    """Return what nobody can store."""
    import threading

    return threading.Lock()


def zeros(count: int) -> bytes:
    return bytes(count)


def surroundings(name: str) -> tuple[str, str | None]:
    return os.getcwd(), os.environ.get(name)


def chatter() -> None:
    sys.stdout.write("said\n")
    subprocess.run(["/bin/sh", "-c", "echo shouted >&2"], check=True)


def linger() -> None:
    time.sleep(600)


def squared(number: int) -> int:
    return number**2


def with_dask(number: int) -> int:
    answer: int = get_client().submit(squared, number).result(timeout=20)
    return answer


def busy(folder: str, name: str, expected: int) -> None:
    """Note how many run beside it, itself counted; those that are *expected* are waited for."""

    def count(kind: str) -> int:
        return len(list(Path(folder).glob(f"*.{kind}")))

    deadline = time.monotonic() + 20
    mine = Path(folder, f"{name}.running")
    mine.touch()
    if expected == 1:
        time.sleep(0.3)  # in which others might begin
    while count("running") < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    Path(folder, f"{name}.beside").write_text(str(count("running")))
    while count("beside") < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    mine.unlink()


class Counter:
    """Has a method."""

    def __init__(self, start: int) -> None:
        self.start = start

    def plus(self, number: float) -> float:
        return self.start + number


class Notes(WorkerPlugin):
    """Notes when it is set up, and torn down."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def setup(self, worker: Any) -> None:
        self._note(worker, "setup")
        os.environ["SET_BY_PLUGIN"] = "yes"

    def teardown(self, worker: Any) -> None:
        self._note(worker, "teardown")

    def _note(self, worker: Any, what: str) -> None:
        with Path(self.folder, f"{worker.name}.{what}").open("a") as file:
            file.write(f"{what}\n")


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def pooled(numbers: list[int]) -> int:
    """Return the sum of squares, which a pool finds."""
    with TaskPool("of squares") as pool:
        for number in numbers:
            pool.add_task(str(number), 1, None, squared, number)
        pool.submit_tasks()
        return sum(pool.get_finished_tasks().values())


@shared_task
def total(numbers: list[int]) -> int:
    return sum(numbers)


def submitting(number: int) -> int:
    """Return the sum of what two jobs find that it submits."""
    with allow_join_result():
        return sum(group(add.s(number, each) for each in range(2)).delay().get(timeout=40))


def device(folder: str, name: str) -> tuple[str, str | None]:
    """Return the GPU of this worker, and a variable, once another worker has a GPU, too."""
    mine = os.environ["CUDA_VISIBLE_DEVICES"]
    Path(folder, f"gpu-{mine}").touch()
    deadline = time.monotonic() + 20
    while len(list(Path(folder).glob("gpu-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return mine, os.environ.get(name)


def volume(width: int, height: int) -> int:
    Path("size").write_text(f"{width} x {height}")
    return width * height
