"""The one Dask client of a process: found again, made anew, never in anybody's way."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from distributed import Client, LocalCluster, default_client

from dask_facade.cluster import connection
from dask_facade.cluster.connection import client_of, close_all, connect
from dask_facade.exceptions import ClusterUnavailable
from tests.cluster.processes import ROOT, wait_for


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address
        close_all()


def test_a_process_has_one_client_of_a_scheduler_and_no_default(address: str) -> None:
    client = client_of(address)

    assert client_of(address) is client
    assert client.submit(int, "4").result(timeout=10) == 4
    with pytest.raises(ValueError, match="No clients found"):
        default_client()


def test_a_client_that_dask_has_closed_is_made_anew(address: str) -> None:
    client_of(address).close()

    assert client_of(address).submit(int, "5").result(timeout=10) == 5


def test_a_dead_scheduler_is_told_soon() -> None:
    start = time.monotonic()

    with pytest.raises(ClusterUnavailable, match=r"answers at tcp://127\.0\.0\.1:1"):
        client_of("tcp://127.0.0.1:1")

    assert time.monotonic() - start < 6


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of what takes connections and says nothing, as a frozen scheduler does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"


def test_a_scheduler_that_says_nothing_is_told_in_time(silent: str) -> None:
    for _ in range(2):  # the second one finds the attempt of the first
        with pytest.raises(ClusterUnavailable, match=r"not within 0\.2 s"):
            client_of(silent, timeout=0.2)
    with pytest.raises(ClusterUnavailable, match=r"not within 0\.2 s"):
        asyncio.run(connect(silent, timeout=0.2))


def test_a_scheduler_that_says_nothing_keeps_nobody_from_another_one(
    address: str, silent: str
) -> None:
    close_all()
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(client_of, silent, timeout=2)
        wait_for(lambda: silent in connection._attempts, "the attempt")

        assert client_of(address).submit(int, "9").result(timeout=10) == 9

        assert not asking.done()
        with pytest.raises(ClusterUnavailable):
            asking.result(20)


def test_threads_that_ask_at_once_share_a_client(address: str) -> None:
    close_all()
    ready = threading.Barrier(4)

    def ask() -> Client:
        ready.wait(10)
        return client_of(address)

    with ThreadPoolExecutor(4) as threads:
        clients = [asked.result(20) for asked in [threads.submit(ask) for _ in range(4)]]

    assert len(set(map(id, clients))) == 1


def test_a_forked_process_makes_its_own_and_ends(address: str) -> None:
    client_of(address).submit(int, "6").result(timeout=10)
    script = (
        "import os, sys\n"
        "from dask_facade.cluster.connection import client_of\n"
        f"kept = client_of({address!r}).submit(int, '7')\n"
        "assert kept.result(timeout=10) == 7\n"
        "child = os.fork()\n"
        f"print(client_of({address!r}).submit(int, str(8 + bool(child))).result(timeout=10))\n"
        "sys.stdout.flush()\n"
        "if child:\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, sorted(done.stdout.split())) == (0, ["8", "9"]), done.stderr
