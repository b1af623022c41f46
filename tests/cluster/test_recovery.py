"""Processes that are killed, and calls that end all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dask_facade import AsyncResult, DaskFacade
from dask_facade.exceptions import WorkerLostError
from dask_facade.states import SUCCESS
from tests.cluster import tasks
from tests.cluster.processes import ROOT, DispatcherProcess, command, python, runs, wait_for

SOON = 30  # seconds


@pytest.fixture
def dispatchers(app: DaskFacade) -> Iterator[list[DispatcherProcess]]:
    """Those that a test starts; ended after it."""
    started: list[DispatcherProcess] = []
    yield started
    for dispatcher in started:
        dispatcher.stop()


def start(dispatchers: list[DispatcherProcess], environment: dict[str, str]) -> DispatcherProcess:
    dispatcher = DispatcherProcess(["--workers", "2"], **environment)
    dispatchers.append(dispatcher)
    dispatcher.wait_until_ready()
    return dispatcher


def schedulers(dispatcher: DispatcherProcess) -> list[psutil.Process]:
    """The scheduler of its local cluster; none, while that is started anew."""
    scheduler = ["-m", "dask_facade.cluster.local", "scheduler"]
    return [each for each in dispatcher.family() if command(each)[1:4] == scheduler]


CALL = "from tests.cluster import tasks; result = tasks.add.delay(20, 22); "


def read_elsewhere(job_id: str, environment: dict[str, str]) -> str:
    read = f"from dask_facade import AsyncResult; print(AsyncResult({job_id!r}).get(timeout=30))"
    reader = python(read, **environment)
    assert reader.returncode == 0, reader.stderr
    return reader.stdout.strip()


@pytest.mark.parametrize(
    "end", ["print(result.id)", "print(result.id, flush=True); os._exit(0)"], ids=["exit", "_exit"]
)
def test_a_script_may_call_and_exit_at_once(
    end: str, dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    start(dispatchers, environment)

    called = python("import os\n" + CALL + end, **environment)

    assert called.returncode == 0, called.stderr
    assert read_elsewhere(called.stdout.strip(), environment) == "42"


def test_a_web_process_may_be_killed_right_after_its_call(
    dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    start(dispatchers, environment)

    killed = python(
        "import os\n" + CALL + "print(result.id, flush=True); os.kill(os.getpid(), 9)",
        **environment,
    )

    assert killed.returncode == -signal.SIGKILL
    assert read_elsewhere(killed.stdout.strip(), environment) == "42"


def test_the_scheduler_may_be_killed_before_a_call_is_handed_out(
    dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    dispatcher = start(dispatchers, environment)
    assert tasks.add.delay(1, 1).get(timeout=SOON) == 2

    (killed,) = schedulers(dispatcher)
    killed.kill()
    killed.wait()
    result = tasks.add.apply_async((20, 22), countdown=0.5)

    assert read_elsewhere(result.id, environment) == "42"
    wait_for(lambda: schedulers(dispatcher), "the next scheduler")
    assert tasks.add.delay(1, 1).get(timeout=SOON) == 2


def test_the_scheduler_may_be_killed_while_calls_run(
    dispatchers: list[DispatcherProcess], environment: dict[str, str], tmp_path: Path
) -> None:
    dispatcher = start(dispatchers, environment)
    default = tasks.note.delay(str(tmp_path), "default", 1.0)
    late = tasks.note.apply_async((str(tmp_path), "late", 1.0), acks_late=True)
    wait_for(lambda: runs(tmp_path, "default") and runs(tmp_path, "late"), "two calls")

    (killed,) = schedulers(dispatcher)
    killed.kill()

    assert late.get(timeout=60) == "late"
    ended = default.get(timeout=60, propagate=False)
    assert ended == "default" or isinstance(ended, WorkerLostError)
    assert runs(tmp_path, "default") == 1
    assert tasks.add.delay(1, 1).get(timeout=SOON) == 2


def test_a_dispatcher_ends_in_order_while_its_cluster_is_started_anew(
    dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    dispatcher = start(dispatchers, environment)
    (killed,) = schedulers(dispatcher)

    killed.kill()
    wait_for(lambda: "is started anew" in dispatcher.output, "the restart")
    dispatchers.remove(dispatcher)

    dispatcher.stop()


def test_the_dispatcher_may_be_killed_before_a_call_is_handed_out(
    app: DaskFacade, dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    first = DispatcherProcess(["--workers", "1"], **environment)
    first.wait_until_ready()
    waiting = tasks.add.apply_async((20, 22), countdown=1.0)

    first.signal(signal.SIGKILL)
    first.wait()
    start(dispatchers, environment)

    assert read_elsewhere(waiting.id, environment) == "42"
    assert AsyncResult(waiting.id).state == SUCCESS


def test_a_dispatcher_that_ends_in_order_reports_no_error(environment: dict[str, str]) -> None:
    dispatcher = DispatcherProcess(["--workers", "1"], **environment)
    dispatcher.wait_until_ready()

    dispatcher.stop()

    assert "Traceback" not in dispatcher.output


def test_a_result_of_a_mebibyte_is_read_after_the_whole_cluster_restarted(
    dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    first = start(dispatchers, environment)
    result = tasks.text_of.delay(2**20)
    assert len(result.get(timeout=SOON)) == 2**20

    dispatchers.remove(first)
    first.stop()
    assert len(AsyncResult(result.id).get(timeout=5)) == 2**20

    start(dispatchers, environment)
    assert tasks.sizes.delay([AsyncResult(result.id)]).get(timeout=SOON) == [2**20]


def test_a_forked_web_process_calls_and_waits(
    dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    start(dispatchers, environment)

    forked = python(
        "import os\n"
        "from django.db import connections\n"
        "from tests.cluster import tasks\n"
        "assert tasks.add.delay(1, 1).get(timeout=20) == 2\n"
        "connections.close_all()\n"
        "children = []\n"
        "for number in range(3):\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        right = tasks.add.delay(number, 1).get(timeout=20) == number + 1\n"
        "        os._exit(0 if right else 1)\n"
        "    children.append(child)\n"
        "ends = [os.waitpid(child, 0)[1] for child in children]\n"
        "print(ends, tasks.add.delay(2, 2).get(timeout=20))",
        **environment,
    )

    assert forked.stdout.strip() == "[0, 0, 0] 4", forked.stderr


def test_one_release_refuses_the_messages_of_another_by_name(
    app: DaskFacade, dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    start(dispatchers, environment)

    older = subprocess.run(
        [
            sys.executable,
            "-c",
            "import logging, django; logging.basicConfig(); django.setup()\n"
            "from dask_facade.dispatcher import dialling\n"
            "dialling.VERSION -= 1\n"
            "from tests.cluster import tasks\n"
            "print(tasks.add.delay(20, 22).get(timeout=20))",
        ],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert older.stdout.strip() == "42"  # through the table
    assert "install the same release of dask_facade on both ends" in older.stderr
