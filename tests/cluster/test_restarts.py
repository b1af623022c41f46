"""What becomes of futures when the scheduler that knew them is gone."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import dask
import pytest

from dask_facade import AsyncResult, DaskFacade
from dask_facade.exceptions import ClusterUnavailable, ResultLost
from tests.cluster import future_tasks as tasks
from tests.cluster.bare import bare
from tests.cluster.deployment import Deployment
from tests.cluster.processes import DispatcherProcess, wait_for

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


@pytest.fixture
def joined(
    app: DaskFacade, environment: dict[str, str], deployment: Deployment
) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(["--scheduler", deployment.address], **environment) as dispatcher:
        yield dispatcher


def test_jobs_are_futures_again_after_a_restart_of_the_scheduler(
    app: DaskFacade, joined: DispatcherProcess, deployment: Deployment, tmp_path: Path
) -> None:
    small, kept = tasks.double.delay(21), tasks.text_of.delay(20 * 2**20)
    waiting = tasks.double.apply_async((4,), countdown=15)
    wait_for(lambda: small.ready() and kept.ready(), "their ends", 30)
    small.future()
    waiting.future()
    running = app.compute(dask.delayed(time.sleep)(60))
    wait_for(lambda: app.store.fetch([running.id])[running.id].worker != "", "its adoption")

    deployment.kill()

    with pytest.raises(ClusterUnavailable):
        small.future()
    deployment.start()
    assert small.future().result(timeout=20) == 42
    read = f"print(Variable('job:{small.id}').get(timeout=10).result(timeout=20))"
    assert bare(deployment.address, read, tmp_path) == "42"
    with pytest.raises(ResultLost):
        AsyncResult(kept.id, app=app).get(timeout=30)
    with pytest.raises(ResultLost):
        running.get(timeout=60)
    assert waiting.future().result(timeout=60) == 8


def test_futures_and_graphs_outlast_their_dispatcher(
    app: DaskFacade, environment: dict[str, str], deployment: Deployment
) -> None:
    first = DispatcherProcess(["--scheduler", deployment.address], **environment)
    first.wait_until_ready()
    waiting = tasks.double.apply_async((4,), countdown=8)
    future = waiting.future()
    graph = app.compute(dask.delayed(time.sleep)(5))
    wait_for(lambda: app.store.fetch([graph.id])[graph.id].worker != "", "its adoption")

    first.signal(signal.SIGKILL)
    first.wait()
    second = DispatcherProcess(["--scheduler", deployment.address], **environment)
    try:
        second.wait_until_ready()
        assert graph.get(timeout=40) is None
        assert future.result(timeout=40) == 8
    finally:
        second.stop()
