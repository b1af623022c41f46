"""Clusters of another kind than the local one: by dotted path, and adaptive."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client

from dask_facade import DaskFacade, group
from dask_facade.cluster.deployed import DeployedCluster, Deployment
from dask_facade.exceptions import ClusterUnavailable, ImproperlyConfigured
from dask_facade.states import SUCCESS
from tests.cluster import pool_tasks, tasks
from tests.cluster.processes import ROOT, DispatcherProcess, assert_gone, command, wait_for
from tests.cluster.ssh_server import KEY


@pytest.fixture
def adaptive(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(settings="tests.cluster.adaptive_settings", **environment) as dispatcher:
        yield dispatcher


@pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")
def test_a_cluster_grows_with_the_work_and_shrinks_after_it_without_loss(
    app: DaskFacade, adaptive: DispatcherProcess
) -> None:
    with Client(adaptive.scheduler, set_as_default=False) as client:

        def workers() -> int:
            return len(client.scheduler_info(n_workers=-1)["workers"])

        assert workers() == 0

        results = group(tasks.nap.s(0.3) for _ in range(20)).delay()
        wait_for(lambda: workers() == 2, "two workers", 60)
        assert results.get(timeout=60) == [0.3] * 20
        wait_for(lambda: workers() == 0, "the end of the workers", 60)
        assert tasks.echo.delay("again").get(timeout=60) == "again"

        ids = [each.id for each in results]
        assert {job.state for job in app.store.fetch(ids).values()} == {SUCCESS}
        assert {job.attempt for job in app.store.fetch(ids).values()} == {1}
        wait_for(lambda: not client.run_on_scheduler(_demand), "the end of what showed demand")
    assert any("dask_facade.cluster.deployed" in command(each) for each in adaptive.family())


# A batch system in two programs. As the real one does, it copies the script, passes on the
# environment, and lets the job live in a session of its own.
SBATCH = """#!/bin/sh
cp "$1" {folder}/script-$$
setsid sh {folder}/script-$$ > {folder}/log-$$ 2>&1 < /dev/null &
echo $! >> {folder}/submitted
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
echo $1 >> {folder}/cancelled
kill -TERM -- "-$1"
"""


@pytest.fixture
def batch(
    app: DaskFacade, environment: dict[str, str], tmp_path: Path
) -> Iterator[DispatcherProcess]:
    """A dispatcher whose workers are jobs of that system; what it submits is seen in *tmp_path*."""
    pool_tasks.program(tmp_path, "sbatch", SBATCH.format(folder=tmp_path))
    pool_tasks.program(tmp_path, "scancel", SCANCEL.format(folder=tmp_path))
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    dispatcher = DispatcherProcess(
        settings="tests.cluster.batch_settings", PATH=path, **environment
    )
    try:
        dispatcher.wait_until_ready()
        yield dispatcher
    finally:
        if not dispatcher.is_killed:
            dispatcher.stop()


@pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")
def test_workers_are_jobs_of_a_batch_system_for_as_long_as_there_is_work(
    batch: DispatcherProcess, tmp_path: Path
) -> None:
    def told(name: str) -> list[str]:
        path = tmp_path / name
        return path.read_text().split() if path.exists() else []

    assert told("submitted") == []
    assert tasks.echo.delay("first").get(timeout=60) == "first"
    wait_for(lambda: told("cancelled"), "the end of the first worker", 60)
    assert told("cancelled") == told("submitted")
    assert tasks.echo.delay("second").get(timeout=60) == "second"
    first, second = map(int, told("submitted"))

    batch.signal(signal.SIGKILL)
    batch.wait()

    wait_for(lambda: told("cancelled") == [str(first), str(second)], "the end of the second", 60)
    assert_gone([psutil.Process(each) for each in (first, second) if psutil.pid_exists(each)])


@pytest.fixture
def reached(
    app: DaskFacade, environment: dict[str, str], tmp_path: Path
) -> Iterator[DispatcherProcess]:
    """A dispatcher that starts its cluster by SSH."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.ssh_server", str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout is not None
        dispatcher = DispatcherProcess(
            settings="tests.cluster.ssh_settings",
            SSH_KEY=str(tmp_path / KEY),
            SSH_PORT=server.stdout.readline().strip(),
            **environment,
        )
        try:
            dispatcher.wait_until_ready()
            yield dispatcher
        finally:
            dispatcher.stop()
            far = psutil.Process(server.pid).children(recursive=True)
            assert_gone(far)
            server.communicate(timeout=20)


@pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")
def test_scheduler_and_workers_are_started_by_ssh(reached: DispatcherProcess) -> None:
    process = psutil.Process(tasks.process_id.delay().get(timeout=60))

    by_ssh = [each for each in process.parents() if "tests.cluster.ssh_server" in command(each)]
    assert len(by_ssh) == 1


def started(kind: str, **kwargs: Any) -> str:
    """Return the address of a cluster that is then ended."""

    async def main() -> str:
        cluster = DeployedCluster(Deployment(kind, kwargs))
        try:
            await cluster.start()
            return cluster.address
        finally:
            await cluster.close()

    return asyncio.run(main())


def test_a_cluster_that_does_not_start_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ClusterUnavailable, match=r"at distributed\.LocalCluster .* stand above"):
        started("distributed.LocalCluster", nonsense=True)
    assert "nonsense" in capfd.readouterr().err


def test_a_cluster_on_a_network_must_be_allowed() -> None:
    with pytest.raises(ImproperlyConfigured, match="ALLOW_INSECURE_CLUSTER"):
        started("tests.cluster.test_other_clusters.Elsewhere")


class Elsewhere:
    """A cluster whose scheduler is on another machine."""

    scheduler_address = "tcp://192.0.2.1:8786"

    def __init__(self, asynchronous: bool) -> None:
        assert asynchronous

    def __await__(self) -> Iterator[None]:
        return iter(())

    async def close(self) -> None:
        """There is nothing to be ended."""


def _demand(dask_scheduler: object) -> list[str]:
    known = map(str, dask_scheduler.tasks)  # type: ignore[attr-defined]
    return [each for each in known if "dask-facade-demand" in each]
