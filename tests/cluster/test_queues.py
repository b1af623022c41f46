"""Workers that take the calls of some queues, and what all workers say of themselves."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.core.management import CommandError, call_command

from dask_facade import DaskFacade
from dask_facade.cluster import joining
from dask_facade.states import PENDING, SUCCESS
from tests.cluster import semantics as tasks
from tests.cluster.processes import ROOT, DispatcherProcess, assert_gone, wait_for

SOON = 20  # seconds


class WorkerProcess:
    """``manage.py dask_worker``, as a site runs it."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "django", "dask_worker", *arguments],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines += [line.rstrip() for line in iter(self.process.stdout.readline, "")]

    def stop(self) -> None:
        family = []
        if self.process.poll() is None:
            parent = psutil.Process(self.process.pid)
            family = [parent, *parent.children(recursive=True)]
            self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0, self.lines
        self._reader.join(30)
        assert self.process.stdout is not None
        self.process.stdout.close()
        assert_gone(family)


@pytest.fixture(scope="module")
def dispatcher(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    """A dispatcher whose own worker takes one queue."""
    with DispatcherProcess(["--workers", "1", "-Q", "celery"], **environment) as dispatcher:
        yield dispatcher


@pytest.fixture
def worker(
    dispatcher: DispatcherProcess, environment: dict[str, str]
) -> Iterator[Callable[..., WorkerProcess]]:
    """Start workers, which end with the test."""
    made: list[WorkerProcess] = []

    def worker(*arguments: str) -> WorkerProcess:
        made.append(WorkerProcess(*arguments, **environment))
        return made[-1]

    yield worker
    for each in made:
        each.stop()


def queues_of(app: DaskFacade) -> dict[str, list[str]]:
    """Return what each worker takes, by its name without the host."""
    told = app.control.inspect(timeout=5).active_queues() or {}
    return {
        name.removesuffix(f"@{socket.gethostname()}"): [queue["name"] for queue in queues]
        for name, queues in told.items()
    }


def test_calls_go_to_workers_that_take_their_queue(
    app: DaskFacade, worker: Callable[..., WorkerProcess]
) -> None:
    waiting = tasks.add.apply_async((1, 2), queue="mail")
    wait_for(lambda: queues_of(app) == {"local-0": ["celery"]}, "the dispatcher's own worker")
    assert waiting.state == PENDING

    worker("-Q", "mail, gpu", "-n", "mail@%h", "-c", "2")

    assert waiting.get(timeout=60) == 3
    wait_for(lambda: len(queues_of(app)) == 3, "both workers")
    assert queues_of(app) == {
        "local-0": ["celery"],
        "mail-1": ["gpu", "mail"],
        "mail-2": ["gpu", "mail"],
    }
    names = {tasks.whoami.apply_async(queue="mail").get(timeout=SOON) for _ in range(4)}
    assert all(name.startswith("mail-") for name in names)
    assert tasks.whoami.delay().get(timeout=SOON).startswith("local-0@")


def test_a_worker_ends_when_it_is_told_to(
    app: DaskFacade, worker: Callable[..., WorkerProcess]
) -> None:
    one = worker("-Q", "gpu", "-n", "gpu")
    wait_for(lambda: "gpu" in queues_of(app), "the worker", 60)
    name = f"gpu@{socket.gethostname()}"
    result = tasks.nap.apply_async((0.5,), queue="gpu")

    (reply,) = app.control.shutdown(destination=[name], reply=True, timeout=5)

    assert "ok" in reply[name]
    assert one.process.wait(60) == 0
    assert result.state in (PENDING, SUCCESS)
    wait_for(lambda: "gpu" not in queues_of(app), "its end")


def test_a_worker_says_that_no_scheduler_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "JOIN_TIMEOUT", 4.0)

    with pytest.raises(CommandError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        call_command("dask_worker", scheduler="tcp://127.0.0.1:9")


def test_what_runs_is_told(app: DaskFacade, dispatcher: DispatcherProcess, tmp_path: Path) -> None:
    path = tmp_path / "seen"
    inspect = app.control.inspect(timeout=5)
    result = tasks.wait_for_file.delay(str(path))

    def active() -> list[dict[str, Any]]:
        return [each for calls in (inspect.active() or {}).values() for each in calls]

    wait_for(active, "a call that runs")
    (told,) = active()

    assert told["id"] == result.id
    assert (told["name"], told["args"]) == (tasks.wait_for_file.name, [str(path)])
    assert told["worker_pid"] in [each.pid for each in dispatcher.family()]
    path.touch()
    assert result.get(timeout=SOON) == "seen"
    wait_for(lambda: not active(), "its end")
