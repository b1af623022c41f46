"""Celery's signals, as workers send them to receivers among a site's tasks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dask_facade import DaskFacade
from dask_facade.result import AsyncResult
from dask_facade.states import STARTED
from tests.cluster.processes import ROOT, DispatcherProcess, wait_for

SETTINGS = """
from tests.settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "watched"]
"""
TASKS = """
import os, time
from dask_facade import shared_task, signals

SEEN = ("process_init", "init", "ready", "shutting_down", "process_shutdown", "shutdown")
WATCHED = [getattr(signals, f"worker_{name}") for name in SEEN]
WATCHED += [getattr(signals, f"task_{name}") for name in (
    "received", "prerun", "postrun", "success", "failure", "retry", "revoked", "unknown"
)]

def note(signal, sender, **named):
    if signal.name == "worker_ready":
        assert sender.hostname and sender.app.conf
    with open(os.environ["WATCHED"], "a") as lines:
        lines.write(f"{os.getpid()} {signal.name} {getattr(sender, 'name', '')}\\n")

for signal in WATCHED:
    signal.connect(note)

@shared_task(name="watched.succeed")
def succeed():
    return os.getpid()

@shared_task(name="watched.fail")
def fail():
    raise ValueError

@shared_task(name="watched.again", bind=True)
def again(self):
    if not self.request.retries:
        self.retry(countdown=0)

@shared_task(name="watched.last", time_limit=60, track_started=True)
def last():
    time.sleep(60)
"""
Seen = Callable[[], list[tuple[int, str, str]]]


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    """Return (process, signal, name of the task) of what was seen so far."""
    lines = tmp_path / "seen"
    lines.touch()

    def seen() -> list[tuple[int, str, str]]:
        parts = [line.split(" ") for line in lines.read_text().splitlines()]
        return [(int(pid), name, task) for pid, name, task in parts]

    return seen


@pytest.fixture
def dispatcher(
    app: DaskFacade, environment: dict[str, str], seen: Seen, tmp_path: Path
) -> Iterator[DispatcherProcess]:
    (tmp_path / "watched").mkdir()
    (tmp_path / "watched" / "__init__.py").touch()
    (tmp_path / "watched" / "tasks.py").write_text(TASKS)
    (tmp_path / "watched_settings.py").write_text(SETTINGS)
    with DispatcherProcess(
        ["--workers", "2"],
        settings="watched_settings",
        PYTHONPATH=os.pathsep.join([str(tmp_path), str(ROOT)]),
        WATCHED=str(tmp_path / "seen"),
        **environment,
    ) as dispatcher:
        yield dispatcher


def test_workers_send_signals_to_receivers_among_the_tasks(
    app: DaskFacade, dispatcher: DispatcherProcess, seen: Seen
) -> None:
    def told(task: str, state: str | None = None) -> list[str]:
        """Return the signals of a task once it has ended."""
        result: AsyncResult = app.send_task(task)
        if state is not None:
            wait_for(lambda: result.state == state, "its start")
            result.revoke(terminate=True)
        result.get(timeout=30, propagate=False)
        return [name.removeprefix("task_") for _, name, of in seen() if of == task]

    assert told("watched.succeed") == ["prerun", "success", "postrun"]
    assert told("watched.fail") == ["prerun", "failure", "postrun"]
    assert told("watched.again") == ["prerun", "retry", "postrun", "prerun", "success", "postrun"]
    assert told("watched.last", STARTED) == ["prerun", "revoked"]
    told("watched.unknown")
    names = Counter(name for _, name, _ in seen())
    assert (names["task_unknown"], names["task_received"]) == (1, 5)

    dispatcher.stop()

    workers = {pid for pid, name, _ in seen() if name == "worker_ready"}
    assert len(workers) == 2
    for pid in workers:
        own = [name for process, name, _ in seen() if process == pid and "worker" in name]
        assert own == [
            *("worker_process_init", "worker_init", "worker_ready"),
            *("worker_shutting_down", "worker_process_shutdown", "worker_shutdown"),
        ]
    (child,) = {pid for pid, name, _ in seen() if name == "worker_process_init"} - workers
    assert next(name for pid, name, _ in seen() if pid == child) == "worker_process_init"
