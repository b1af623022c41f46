"""Dispatchers and schedulers that are killed, on a Dask cluster that somebody else runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from distributed import LocalCluster

from dask_facade import DaskFacade, group
from dask_facade.states import SUCCESS
from tests.cluster import tasks
from tests.cluster.deployment import Deployment
from tests.cluster.processes import DispatcherProcess, runs, wait_for

Join = Callable[[str], DispatcherProcess]


@pytest.fixture
def join(app: DaskFacade, environment: dict[str, str]) -> Iterator[Join]:
    """Start a dispatcher on the cluster of a scheduler; those that still run then are ended."""
    joined: list[DispatcherProcess] = []

    def join(scheduler: str) -> DispatcherProcess:
        joined.append(DispatcherProcess(["--scheduler", scheduler], **environment))
        return joined[-1]

    yield join
    for dispatcher in joined:
        if not dispatcher.is_killed:
            dispatcher.stop()


def test_a_call_outlives_its_dispatcher_and_its_runner_tells_the_next_one(
    join: Join, cluster: LocalCluster, tmp_path: Path
) -> None:
    first = join(cluster.scheduler_address)
    first.wait_until_ready()
    second = join(cluster.scheduler_address)
    wait_for(lambda: "standing by" in second.output, "a standby")
    running = tasks.note.delay(str(tmp_path), "running", 4.0)
    waiting = [tasks.note.delay(str(tmp_path), f"waiting-{n}") for n in range(5)]
    wait_for(lambda: runs(tmp_path, "running"), "the call")

    first.kill()

    assert running.get(timeout=40) == "running"
    assert [each.get(timeout=20) for each in waiting] == [f"waiting-{n}" for n in range(5)]
    assert {runs(tmp_path, name) for name in ("running", "waiting-0", "waiting-4")} == {1}
    assert "dispatcher leads" in second.output
    begun = time.monotonic()
    group(tasks.nap.s(0.2) for _ in range(10)).delay().get(timeout=20)
    assert time.monotonic() - begun > 1.9  # one after another: the old runner took leave


def test_calls_that_were_submitted_without_a_scheduler_run_on_the_next_one(
    join: Join, deployment: Deployment, tmp_path: Path
) -> None:
    dispatcher = join(deployment.address)
    dispatcher.wait_until_ready()
    assert tasks.note.delay(str(tmp_path), "before").get(timeout=20) == "before"

    deployment.kill_scheduler()
    results = [tasks.note.delay(str(tmp_path), str(n)) for n in range(20)]
    deployment.start()
    later = tasks.note.delay(str(tmp_path), "later")

    assert [each.get(timeout=40) for each in results] == [str(n) for n in range(20)]
    assert later.get(timeout=20) == "later"
    assert {each.state for each in results} == {SUCCESS}
    assert {runs(tmp_path, str(n)) for n in range(20)} == {1}
