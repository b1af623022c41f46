"""Clusters of another kind than the local one: by dotted path, and adaptive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client

from dask_facade import DaskFacade, group
from dask_facade.cluster.deployed import DeployedCluster, Deployment
from dask_facade.exceptions import ClusterUnavailable, ImproperlyConfigured
from dask_facade.states import SUCCESS
from tests.cluster import tasks
from tests.cluster.processes import DispatcherProcess, command, wait_for


@pytest.fixture
def adaptive(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    dispatcher = DispatcherProcess(settings="tests.cluster.adaptive_settings", **environment)
    try:
        dispatcher.wait_until_ready()
        yield dispatcher
    finally:
        dispatcher.stop()


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
