"""A schedule that dispatchers run, and their ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from distributed import LocalCluster

from dask_facade import DaskFacade
from dask_facade.beat import Scheduler, Service
from dask_facade.models import Job
from dask_facade.states import SUCCESS
from tests.cluster.processes import DispatcherProcess, runs, wait_for

Start = Callable[..., DispatcherProcess]
OFTEN = 0.5  # seconds

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


@pytest.fixture
def start(
    app: DaskFacade, alias: str, environment: dict[str, str], tmp_path: Path
) -> Iterator[Start]:
    """Start a dispatcher of a site with a schedule; those that still run then are ended."""
    started: list[DispatcherProcess] = []

    def start(*arguments: str) -> DispatcherProcess:
        dispatcher = DispatcherProcess(
            arguments,
            settings="tests.cluster.schedule_settings",
            SCHEDULE_FOLDER=str(tmp_path),
            **environment,
        )
        started.append(dispatcher)
        return dispatcher

    yield start
    for dispatcher in started:
        if not dispatcher.is_killed:
            dispatcher.stop()
    Job.objects.using(alias).all().delete()
    app.store.drop_schedules(app.store.schedules())


def due_times(alias: str, name: str) -> list[int]:
    """When the jobs of an entry were due, in milliseconds: their ids tell."""
    ids = Job.objects.using(alias).filter(arguments__contains=name).values_list("id", flat=True)
    return sorted(int(id.replace("-", "")[:12], 16) for id in ids)


def assert_each_time_once(times: list[int]) -> None:
    """Fail where a time of the entry's own grid came twice, or another one at all."""
    assert len(set(times)) == len(times)
    off = [(time - times[0]) % int(OFTEN * 1000) for time in times]
    assert all(rest in (0, 1, 499) for rest in off), times  # milliseconds are cut off


def test_the_schedule_of_the_settings_runs_without_drifting(
    start: Start, app: DaskFacade, alias: str, tmp_path: Path
) -> None:
    start("--workers", "1").wait_until_ready()

    wait_for(lambda: runs(tmp_path, "often") >= 6, "six runs")
    wait_for(lambda: runs(tmp_path, "added") >= 2, "runs of an entry that was added")

    times = due_times(alias, "often")
    assert_each_time_once(times)
    assert times[5] - times[0] in (2499, 2500, 2501)  # none was left out
    assert runs(tmp_path, "rarely") == 0
    kept = app.store.schedules()
    assert kept.keys() == {"often", "added", "rarely"}
    assert kept["often"].runs >= 6
    assert kept["rarely"].runs == 0
    states = Job.objects.using(alias).order_by("created").values_list("state", flat=True)
    assert set(states[:5]) == {SUCCESS}


def test_a_dispatcher_may_leave_the_schedule_alone(start: Start, tmp_path: Path) -> None:
    dispatcher = start("--workers", "1", "--no-beat")
    dispatcher.wait_until_ready()
    time.sleep(2 * OFTEN)

    dispatcher.stop()

    assert runs(tmp_path, "often") == 0


def test_a_service_elsewhere_answers_a_ping_until_its_scheduler_hangs(
    start: Start, app: DaskFacade
) -> None:
    start("--workers", "1", "--no-beat").wait_until_ready()
    app.conf.beat_remote_control_max_tick_age = 1.0
    hung = threading.Event()
    service = Service(app, 0.1, scheduler_cls=Scheduler, remote_control=True, hostname="beat@here")
    service.scheduler.tick = lambda: hung.wait(20) and 0.1 if service.max_interval > 1 else 0.1
    thread = threading.Thread(target=service.start)
    thread.start()
    try:
        wait_for(lambda: app.control.ping(destination=["beat@here"]), "an answer")
        assert app.control.ping(destination=["beat@here"]) == [{"beat@here": {"ok": "pong"}}]
        wait_for(lambda: len(app.control.ping()) == 2, "an answer of the worker, too")

        service.max_interval = 2

        wait_for(lambda: app.control.ping(destination=["beat@here"]) == [], "silence")
    finally:
        hung.set()
        service.stop()
        thread.join(20)
        app.conf.beat_remote_control_max_tick_age = None
    assert not thread.is_alive()


def test_no_time_runs_twice_and_missed_ones_run_once_after_a_kill(
    start: Start, app: DaskFacade, alias: str, cluster: LocalCluster, tmp_path: Path
) -> None:
    first = start("--scheduler", cluster.scheduler_address)
    first.wait_until_ready()
    second = start("--scheduler", cluster.scheduler_address)
    wait_for(lambda: "standing by" in second.output, "a standby")
    wait_for(lambda: runs(tmp_path, "often") >= 4, "four runs")
    assert "the schedule has" not in second.output  # one of the two runs it

    first.kill()
    before = len(due_times(alias, "often"))
    wait_for(lambda: "dispatcher leads" in second.output, "another leader", 40)
    wait_for(lambda: len(due_times(alias, "often")) >= before + 4, "runs by the other")
    second.kill()
    before = len(due_times(alias, "often"))
    start("--scheduler", cluster.scheduler_address)
    wait_for(lambda: len(due_times(alias, "often")) >= before + 3, "runs after a restart", 60)

    times = due_times(alias, "often")
    assert_each_time_once(times)
    assert any(after - time > 2_000 for time, after in pairwise(times))
