"""Tasks that run in child processes."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from dask_facade import shared_task
from dask_facade.exceptions import DuplicateTaskId, Ignore, SoftTimeLimitExceeded
from dask_facade.messages import Edge
from dask_facade.task import Task
from tests.unit.stage import new_job

NEW = new_job("child", queue="q", parent_id="a")
EDGE = Edge("child", "other", 0, True)


@shared_task
def echo(value: Any = None) -> Any:
    return value


@shared_task
def process() -> tuple[int, int, bool]:
    main = threading.current_thread() is threading.main_thread()
    return os.getpid(), os.getpgid(0), main


@shared_task(bind=True)
def limits(self: Task) -> tuple[Any, Any, Any]:
    return self.request.timelimit, self.request.hostname, self.request.id


@shared_task
def exit_hard(status: int) -> None:
    os._exit(status)


@shared_task
def exit_softly(status: int) -> None:
    sys.exit(status)


@shared_task
def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def crash() -> None:
    ctypes.string_at(0)


@shared_task
def sleep_softly(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "tidied"
    return "slept"


@shared_task
async def await_softly(seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        return "tidied"
    return "slept"


@shared_task
def sleep(seconds: float) -> str:
    time.sleep(seconds)
    return "slept"


@shared_task
def sleep_stubbornly() -> None:
    while True:
        try:
            time.sleep(30)
        except BaseException:
            time.sleep(0.01)


@shared_task
def sleep_with_a_child(path: str) -> None:
    """Start a process that would outlive this one."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(path).write_text(f"{os.getpid()} {process.pid}")
    time.sleep(60)


@shared_task
def sleep_beside_a_session(path: str) -> None:
    """Start a process with a session of its own, which starts another."""
    script = (
        "import os, subprocess, sys, time\n"
        "each = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        f"open({path!r}, 'w').write(f'{{os.getppid()}} {{os.getpid()}} {{each.pid}}')\n"
        "time.sleep(60)\n"
    )
    subprocess.Popen([sys.executable, "-c", script], start_new_session=True)
    time.sleep(60)


@shared_task
def leave_a_fork(path: str) -> None:
    """End, while a fork that has a session of its own lives on for a while."""
    if os.fork() == 0:
        os.setsid()
        Path(path).write_text(str(os.getpid()))
        time.sleep(60)
        os._exit(0)
    while not Path(path).exists():
        time.sleep(0.01)
    os._exit(3)


@shared_task(bind=True)
def spawn(self: Task) -> Any:
    assert self.request.channel is not None
    try:
        return self.request.channel.spawn([NEW], [EDGE])
    except DuplicateTaskId as error:
        return error.job_id


@shared_task(bind=True)
def spawn_slowly(self: Task) -> Any:
    """The answer comes after the soft limit, which must not be lost, nor tear the answer apart."""
    assert self.request.channel is not None
    try:
        self.request.channel.spawn([NEW], [EDGE])
    except SoftTimeLimitExceeded:
        return self.request.channel.spawn([NEW], [EDGE])
    return "never"


class Rung(Exception):
    """Raised by a task's own alarm."""


def _ring(number: int, frame: Any) -> None:
    raise Rung


@shared_task
def handle_the_alarm() -> None:
    signal.signal(signal.SIGALRM, _ring)


@shared_task(bind=True)
def interrupt_a_question(self: Task) -> Any:
    """Stop waiting for an answer, and ask something else."""
    channel: Any = self.request.channel
    signal.signal(signal.SIGUSR1, _ring)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
    try:
        channel.spawn([NEW], [EDGE])
    except Rung:
        return channel.pull(0, 1)
    return "never"


@shared_task(bind=True)
def ask_from_a_fork(self: Task, path: str) -> str:
    channel: Any = self.request.channel
    if os.fork() == 0:
        try:
            channel.spawn([NEW], [EDGE])
        except BaseException as error:
            Path(path).write_text(type(error).__name__)
        os._exit(0)
    os.wait()
    return Path(path).read_text()


@shared_task
def close_the_standard_streams() -> None:
    for number in (0, 1, 2):
        os.close(number)


@shared_task(bind=True)
def say(self: Task) -> None:
    channel: Any = self.request.channel
    channel.update("PROGRESS", b"j1", "1")
    channel.emit({"line": 1})


@shared_task(bind=True)
def update_often(self: Task, count: int, path: str) -> float:
    """Say *count* states, and the last but one until somebody has heard of it; tell how long."""
    began = time.perf_counter()
    for number in range(count - 1):
        self.update_state(state="PROGRESS", meta=number)
    took = time.perf_counter() - began
    while not Path(path).exists():
        time.sleep(0.01)
    self.update_state(state="PROGRESS", meta=count - 1)
    return took


@shared_task
def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stderr.write(text + "\n")


@shared_task(bind=True)
def say_later(self: Task) -> None:
    """Leave a thread that says something when the call is over."""
    channel: Any = self.request.channel

    def later() -> None:
        time.sleep(0.2)
        channel.update("LATE", b"j1", "")

    threading.Thread(target=later).start()


@shared_task
def ignore() -> None:
    raise Ignore
