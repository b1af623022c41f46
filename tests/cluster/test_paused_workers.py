"""A worker that Dask pauses, since it lacks memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client, LocalCluster, Worker
from distributed.core import Status

from dask_facade import DaskFacade
from tests.cluster import tasks, worker_tasks
from tests.cluster.processes import DispatcherProcess, runs, wait_for


@pytest.fixture
def two_workers() -> Iterator[LocalCluster]:
    """Workers that pause only when they are told to."""
    with (
        dask.config.set({"distributed.worker.memory.pause": False}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
    ):
        yield cluster


@pytest.fixture
def dispatcher(
    app: DaskFacade, two_workers: LocalCluster, environment: dict[str, str]
) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(
        ["--scheduler", two_workers.scheduler_address], **environment
    ) as dispatcher:
        yield dispatcher


def pause(dask_worker: Worker) -> int:
    dask_worker.status = Status.paused
    return os.getpid()


def go_on(dask_worker: Worker) -> None:
    dask_worker.status = Status.running


def places() -> set[int]:
    return {result.get(timeout=20) for result in [worker_tasks.process.delay() for _ in range(8)]}


@pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")
def test_a_paused_worker_ends_its_call_and_begins_none_until_it_goes_on(
    dispatcher: DispatcherProcess, two_workers: LocalCluster, tmp_path: Path
) -> None:
    wait_for(lambda: len(places()) == 2, "two workers")
    running = [tasks.note.delay(str(tmp_path), str(number), 3.0) for number in range(2)]
    wait_for(lambda: runs(tmp_path, "0") and runs(tmp_path, "1"), "a call on each")

    with Client(two_workers.scheduler_address, set_as_default=False) as client:
        first = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
        paused = client.run(pause, workers=[first])[first]

        assert [each.get(timeout=20) for each in running] == ["0", "1"]
        assert paused not in places()
        client.run(go_on, workers=[first])
        wait_for(lambda: paused in places(), "a call on the worker that goes on")
