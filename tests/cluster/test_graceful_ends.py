"""Workers that are told to go: what runs there ends first, within the patience of who tells."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from distributed import Client, LocalCluster

from dask_facade import AsyncResult, DaskFacade
from dask_facade.exceptions import WorkerLostError
from dask_facade.worker.departure import PATIENCE
from tests.cluster import tasks
from tests.cluster.processes import ROOT, DispatcherProcess, assert_gone, wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    # The scheduler runs in this process; it warns of keys that died with their worker.
    pytest.mark.filterwarnings("ignore:Client .* desires key:UserWarning"),
]

LONG = 3.0  # seconds; a nanny waits 4 for its worker, or 8 where it was sent a signal
TOO_LONG = 60.0
QUICK = 20  # calls
SOON = 30.0


class Site:
    """A scheduler in this process, a dispatcher that joined it, and workers as a test has them."""

    def __init__(self, cluster: LocalCluster, client: Client, folder: Path) -> None:
        self.client = client
        self.cluster = cluster
        self._folder = folder
        self._nodes: list[subprocess.Popen[bytes]] = []

    def start_worker(self, *options: str) -> psutil.Process:
        """Start one of one thread by ``dask worker``, and return what was started."""
        before = self._addresses()
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "dask", "worker", self.cluster.scheduler_address),
                *("--nthreads", "1", "--host", "127.0.0.1", "--no-dashboard", *options),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._nodes.append(process)
        wait_for(lambda: self._addresses() - before, "a worker", SOON)
        return psutil.Process(process.pid)

    def begin(self, seconds: float) -> tuple[AsyncResult, psutil.Process]:
        """Begin a call on the only worker, with others behind it; return also its process."""
        for _ in range(3):  # it is known as quick: others may stand in one window with it
            tasks.note.delay(str(self._folder), "known").get(timeout=SOON)
        long = tasks.note.delay(str(self._folder), "long", seconds)
        behind = [tasks.note.delay(str(self._folder), "behind") for _ in range(QUICK)]
        assert len(behind) == QUICK
        wait_for(lambda: self.processes("long"), "its begin")
        return long, psutil.Process(self.processes("long")[0])

    def processes(self, name: str) -> list[int]:
        """Return in which processes the calls of this name have begun."""
        path = self._folder / name
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def worker(self) -> str:
        """Return the address of the only worker."""
        (address,) = self._addresses()
        return address

    def close(self) -> None:
        """End what was started."""
        self.cluster.scale(0)
        for process in self._nodes:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill()
            process.wait(10)
            assert_gone(family)

    def _addresses(self) -> set[str]:
        return set(self.client.scheduler_info(n_workers=-1)["workers"])


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=0, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def dispatcher(
    app: DaskFacade, environment: dict[str, str], cluster: LocalCluster
) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(["--scheduler", cluster.scheduler_address], **environment) as dispatcher:
        yield dispatcher


@pytest.fixture
def site(dispatcher: DispatcherProcess, cluster: LocalCluster, tmp_path: Path) -> Iterator[Site]:
    with Client(cluster, set_as_default=False) as client:
        site = Site(cluster, client, tmp_path)
        yield site
        site.close()
        wait_for(lambda: not client.scheduler_info(n_workers=-1)["workers"], "the workers' ends")


def assert_all_ended_well(site: Site, long: AsyncResult, process: psutil.Process) -> None:
    """The call's outcome arrived, and what stood behind it ran elsewhere, all of it once."""
    assert long.get(timeout=SOON) == "long"
    wait_for(lambda: len(site.processes("behind")) == QUICK, "the calls behind it", SOON)
    assert site.processes("long") == [process.pid]
    assert process.pid not in site.processes("behind")
    assert_gone([process])


def end_both(site: Site, process: psutil.Process) -> None:
    """As those do who end a group of processes: a service manager, a batch system."""
    for each in (process.parent(), process):
        each.terminate()


def retire(site: Site, process: psutil.Process) -> None:
    site.client.retire_workers([site.worker()])


@pytest.mark.parametrize(
    ("end", "options"),
    [
        (lambda site, process: process.parent().terminate(), ()),
        (end_both, ()),
        (lambda site, process: process.terminate(), ("--no-nanny",)),
        (retire, ()),
        (retire, ("--no-nanny",)),
    ],
    ids=[
        "SIGTERM of a nanny",
        "SIGTERM of a nanny and its worker",
        "SIGTERM without nanny",
        "retired",
        "retired without nanny",
    ],
)
def test_a_worker_that_goes_ends_its_call_first(
    site: Site, end: Callable[[Site, psutil.Process], None], options: tuple[str, ...]
) -> None:
    site.start_worker(*options)
    long, process = site.begin(LONG)

    end(site, process)

    site.start_worker()
    assert_all_ended_well(site, long, process)


def test_a_cluster_that_shrinks_ends_its_calls_first(site: Site) -> None:
    """So does an adaptive one, which scales down by the same method."""
    site.cluster.scale(1)
    site.client.wait_for_workers(1, timeout=SOON)
    long, process = site.begin(LONG)

    site.cluster.scale(0)

    site.start_worker()
    assert_all_ended_well(site, long, process)


@pytest.mark.parametrize(
    "restart",
    [
        lambda site, process: process.terminate(),
        lambda site, process: site.client.restart_workers([site.worker()]),
        lambda site, process: site.client.restart(),
    ],
    ids=["SIGTERM of its process", "restart of a worker", "restart of all"],
)
def test_a_worker_that_starts_anew_ends_its_call_first(
    site: Site, restart: Callable[[Site, psutil.Process], None]
) -> None:
    site.start_worker()
    long, process = site.begin(LONG)

    restart(site, process)

    assert_all_ended_well(site, long, process)


def test_a_call_that_takes_longer_than_a_nanny_waits_is_lost_with_its_worker(site: Site) -> None:
    node = site.start_worker()
    long, process = site.begin(TOO_LONG)

    node.terminate()

    site.start_worker()
    with pytest.raises(WorkerLostError):
        long.get(timeout=SOON)
    wait_for(lambda: len(site.processes("behind")) == QUICK, "the calls behind it", SOON)
    assert process.pid not in site.processes("behind")


def test_an_idle_worker_goes_at_once(site: Site) -> None:
    node = site.start_worker()
    long, process = site.begin(0.0)
    wait_for(lambda: len(site.processes("behind")) == QUICK, "the calls behind it", SOON)
    assert long.get(timeout=SOON) == "long"

    began = time.monotonic()
    node.send_signal(signal.SIGTERM)

    assert_gone([node, process])
    assert time.monotonic() - began < PATIENCE
