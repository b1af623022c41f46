"""Joining a Dask cluster that is there, and being refused."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from distributed import Client, LocalCluster

from dask_facade import DaskFacade, group
from dask_facade.cluster import local
from dask_facade.cluster.connection import connect
from dask_facade.exceptions import ClusterUnavailable
from tests.cluster import tasks
from tests.cluster.processes import ROOT, DispatcherProcess, command, wait_for

# What is told of clusters here no database has a part in.
ON_ONE_DATABASE = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A Dask cluster of somebody else, one worker with two threads."""
    with LocalCluster(
        n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def joined(
    app: DaskFacade, environment: dict[str, str], cluster: LocalCluster
) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(["--scheduler", cluster.scheduler_address], **environment) as dispatcher:
        yield dispatcher


@ON_ONE_DATABASE
def test_jobs_run_on_the_cluster_that_was_joined(
    joined: DispatcherProcess, cluster: LocalCluster
) -> None:
    with Client(cluster) as client:
        (worker,) = client.run(os.getpid).values()

    assert set(group(tasks.process_id.s() for _ in range(20)).delay().get(timeout=30)) == {worker}


@ON_ONE_DATABASE
def test_plain_dask_work_is_not_starved_by_runners(
    joined: DispatcherProcess, cluster: LocalCluster
) -> None:
    tasks.echo.delay(1).get(timeout=20)

    with Client(cluster) as client:
        start = time.monotonic()
        futures = client.map(lambda x: x + 1, range(100))

        assert client.gather(futures) == list(range(1, 101))
        assert time.monotonic() - start < 5


@ON_ONE_DATABASE
def test_nothing_of_ours_is_left_on_the_cluster(
    app: DaskFacade, environment: dict[str, str], cluster: LocalCluster
) -> None:
    dispatcher = DispatcherProcess(["--scheduler", cluster.scheduler_address], **environment)
    dispatcher.wait_until_ready()
    tasks.echo.delay(1).get(timeout=20)

    dispatcher.stop()

    with Client(cluster) as client:
        left = client.run_on_scheduler(
            lambda dask_scheduler: [str(key) for key in dask_scheduler.tasks]
        )
        assert [key for key in left if "dask-facade" in key] == []


def refused(*arguments: str, **environment: str) -> str:
    """Run ``dask_dispatcher``, which must fail soon; return what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "django", "dask_dispatcher", *arguments],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    return ended.stderr


@ON_ONE_DATABASE
def test_a_scheduler_that_does_not_answer_is_named(
    app: DaskFacade, environment: dict[str, str]
) -> None:
    said = refused("--scheduler", "tcp://127.0.0.1:1", **environment)

    assert "no Dask scheduler answers at tcp://127.0.0.1:1" in said
    assert "leave out --scheduler for a local cluster" in said


@ON_ONE_DATABASE
def test_a_scheduler_on_another_machine_must_be_allowed(environment: dict[str, str]) -> None:
    said = refused("--scheduler", "tcp://192.0.2.1:8786", **environment)

    assert "DASK_FACADE['ALLOW_INSECURE_CLUSTER'] = True" in said


@ON_ONE_DATABASE
def test_a_database_without_the_tables_is_told_what_to_do(environment: dict[str, str]) -> None:
    said = refused(**{**environment, "DASK_FACADE_TEST_NAME": "empty"})

    assert "manage.py migrate" in said


@ON_ONE_DATABASE
def test_a_cluster_without_workers_is_refused(environment: dict[str, str]) -> None:
    assert "--workers must be 1 or more" in refused("--workers", "0", **environment)


@contextmanager
def bound(port: int) -> Iterator[None]:
    """Hold a port that may still be another process's."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_for(lambda: is_bound(held, port), f"port {port} to be free")
        held.listen()
        yield


def is_bound(held: socket.socket, port: int) -> bool:
    try:
        held.bind(("127.0.0.1", port))
    except OSError:
        return False
    return True


def test_an_embedded_cluster_that_cannot_start_again_yet_is_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dask_facade.cluster.own.RESTART_PAUSE", 0.1)

    async def main() -> None:
        cluster = local.LocalCluster(1)
        await cluster.start()
        ended: list[bool] = []
        keeping = asyncio.ensure_future(cluster.keep(lambda: ended.append(True)))
        try:
            port = int(cluster.address.rpartition(":")[2])
            (scheduler,) = [
                each for each in psutil.Process().children() if "scheduler" in command(each)
            ]
            scheduler.kill()
            with bound(port):
                while "the scheduler ended as it started" not in caplog.text:
                    assert not keeping.done()
                    await asyncio.sleep(0.05)
            client = await connect(cluster.address, 30)
            await client.close()
            assert not keeping.done()
            assert ended == [True]
        finally:
            await cluster.close()
            await asyncio.wait_for(keeping, 10)

    asyncio.run(main())


def test_an_embedded_cluster_that_is_closed_while_it_starts_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spawn = asyncio.create_subprocess_exec

    async def main() -> None:
        spawned, closing = asyncio.Event(), asyncio.Event()

        async def spawn_slowly(*arguments: Any, **options: Any) -> asyncio.subprocess.Process:
            child = await spawn(*arguments, **options)
            spawned.set()
            await closing.wait()
            return child

        monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn_slowly)
        cluster = local.LocalCluster(1)
        starting = asyncio.ensure_future(cluster.start())
        await spawned.wait()
        close = asyncio.ensure_future(cluster.close())
        await asyncio.sleep(0)
        closing.set()

        await asyncio.wait_for(close, 30)

        assert [each for each in psutil.Process().children() if "scheduler" in command(each)] == []
        with pytest.raises(ClusterUnavailable, match="the cluster was closed"):
            await starting

    asyncio.run(main())
