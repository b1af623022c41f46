"""What dies, and what becomes of the jobs then."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connections

from dask_facade import DaskFacade, group
from dask_facade.exceptions import TimeoutError, WorkerLostError
from dask_facade.result import AsyncResult
from dask_facade.states import FAILURE, SUCCESS
from tests.cluster import tasks
from tests.cluster.processes import DispatcherProcess, assert_gone, runs, wait_for


@pytest.fixture
def dispatchers(app: DaskFacade, environment: dict[str, str]) -> Iterator[list[DispatcherProcess]]:
    """Those that a test starts; ended after it."""
    started: list[DispatcherProcess] = []
    yield started
    for dispatcher in started:
        dispatcher.stop()


@pytest.fixture
def dispatcher(
    dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> DispatcherProcess:
    """A dispatcher of the test's own."""
    return start(dispatchers, environment)


def start(dispatchers: list[DispatcherProcess], environment: dict[str, str]) -> DispatcherProcess:
    dispatcher = DispatcherProcess(["--workers", "2"], **environment)
    dispatchers.append(dispatcher)
    dispatcher.wait_until_ready()
    return dispatcher


def test_without_a_dispatcher_jobs_wait_and_get_says_so(
    app: DaskFacade, dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    result = tasks.add.delay(1, 2)

    with pytest.raises(TimeoutError, match="no dispatcher is running: start one with"):
        result.get(timeout=0.2)

    start(dispatchers, environment)
    assert result.get(timeout=20) == 3


def test_a_call_whose_worker_dies_fails_and_never_runs_again(
    dispatcher: DispatcherProcess, tmp_path: Path
) -> None:
    result = tasks.die.delay(str(tmp_path))

    with pytest.raises(WorkerLostError, match=f"job {result.id}"):
        result.get(timeout=20)

    assert tasks.add.delay(1, 2).get(timeout=20) == 3  # the cluster goes on
    assert runs(tmp_path, "died") == 1


def test_an_acks_late_call_whose_worker_dies_runs_again(
    dispatcher: DispatcherProcess, tmp_path: Path
) -> None:
    result = tasks.die_once.delay(str(tmp_path))

    assert result.get(timeout=30) == "survived"
    assert runs(tmp_path, "died") == 2


def test_a_call_that_kills_every_worker_ends_after_three(
    dispatcher: DispatcherProcess, tmp_path: Path
) -> None:
    result = tasks.die_late.delay(str(tmp_path))

    with pytest.raises(WorkerLostError, match="3 times"):
        result.get(timeout=60)

    assert runs(tmp_path, "died") == 3


def test_what_a_killed_worker_had_not_begun_runs_elsewhere_and_nothing_runs_twice(
    dispatcher: DispatcherProcess, tmp_path: Path
) -> None:
    group(tasks.note.s(str(tmp_path), f"first-{n}") for n in range(50)).delay().get(timeout=20)
    results = [tasks.note.delay(str(tmp_path), str(n), 0.003) for n in range(600)]
    wait_for(lambda: runs(tmp_path, "60"), "some of the work")

    for worker in dispatcher.workers()[:1]:
        worker.kill()

    for result in results:
        result.get(timeout=60, propagate=False)
    states = Counter(result.state for result in results)
    assert states[SUCCESS] + states[FAILURE] == 600
    assert states[FAILURE] <= 20  # in doubt: its window, where its line was reset as it died
    assert all(isinstance(r.result, WorkerLostError) for r in results if r.failed())
    ran = [runs(tmp_path, str(n)) for n in range(600)]
    assert max(ran) == 1
    assert sum(ran) >= states[SUCCESS]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_dispatcher_ends_in_order(
    app: DaskFacade, dispatcher: DispatcherProcess, number: signal.Signals, tmp_path: Path
) -> None:
    running = [tasks.note.delay(str(tmp_path), f"running-{n}", 1.0) for n in range(2)]
    wait_for(lambda: runs(tmp_path, "running-0") and runs(tmp_path, "running-1"), "two calls")
    waiting = [tasks.note.delay(str(tmp_path), f"waiting-{n}") for n in range(5)]
    family = dispatcher.family()

    dispatcher.signal(number)

    assert dispatcher.wait() == 0
    assert_gone(family)
    assert [result.state for result in running] == [SUCCESS, SUCCESS]
    jobs = app.store.fetch([result.id for result in waiting]).values()
    assert {job.state for job in jobs} <= {"PENDING"}
    lease = app.store.lease()
    assert lease is not None
    assert lease.holder == ""


def test_when_a_dispatcher_is_killed_its_cluster_ends_and_the_next_one_goes_on(
    app: DaskFacade,
    dispatchers: list[DispatcherProcess],
    environment: dict[str, str],
    tmp_path: Path,
) -> None:
    first = DispatcherProcess(["--workers", "2"], **environment)
    first.wait_until_ready()
    begun = [tasks.note.delay(str(tmp_path), "begun", 30.0)]
    late = tasks.note.apply_async((str(tmp_path), "late", 2.0), acks_late=True)
    wait_for(lambda: runs(tmp_path, "begun") and runs(tmp_path, "late"), "two calls")
    # Of unknown length: none is in a window yet, where it would count as begun.
    waiting = [tasks.total.delay([n, n]) for n in range(20)]
    family = first.family()

    first.signal(signal.SIGKILL)
    first.wait()
    assert_gone(family)
    start(dispatchers, environment)

    assert [result.get(timeout=30) for result in waiting] == [2 * n for n in range(20)]
    assert late.get(timeout=30) == "late"
    with pytest.raises(WorkerLostError):
        begun[0].get(timeout=30)
    assert runs(tmp_path, "begun") == 1
    assert runs(tmp_path, "late") == 2


def test_a_second_dispatcher_stands_by_and_follows(
    app: DaskFacade, dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    first = start(dispatchers, environment)
    second = DispatcherProcess(["--workers", "1"], **environment)
    dispatchers.append(second)
    wait_for(lambda: "standing by" in second.output, "a standby")
    dispatchers.remove(first)

    first.stop()
    second.wait_until_ready()

    assert tasks.add.delay(1, 2).get(timeout=20) == 3


def test_a_thousand_results_survive_everything(
    app: DaskFacade, dispatchers: list[DispatcherProcess], environment: dict[str, str]
) -> None:
    first = start(dispatchers, environment)
    results = group(tasks.echo.s(n) for n in range(1000)).delay()
    results.get(timeout=30)
    dispatchers.remove(first)
    first.stop()

    again = [AsyncResult(result.id, app=app).get(timeout=1) for result in results]

    assert again == list(range(1000))


def test_a_runner_keeps_its_outcome_while_the_ledger_cannot_be_written(
    app: DaskFacade, alias: str, dispatcher: DispatcherProcess, tmp_path: Path
) -> None:
    if connections[alias].vendor != "sqlite":
        pytest.skip("one writer at a time is SQLite's rule")
    result = tasks.note.delay(str(tmp_path), "held", 0.5)
    wait_for(lambda: runs(tmp_path, "held"), "the call")

    with connections[alias].cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        time.sleep(1.5)
        cursor.execute("ROLLBACK")

    assert result.get(timeout=20) == "held"
    assert runs(tmp_path, "held") == 1


def test_a_database_that_drops_its_connections_costs_nothing(
    app: DaskFacade, alias: str, dispatcher: DispatcherProcess, tmp_path: Path
) -> None:
    if connections[alias].vendor != "postgresql":
        pytest.skip("SQLite has no connections to drop")
    results = group(tasks.note.s(str(tmp_path), str(n), 0.001) for n in range(3000)).delay()

    for drop in range(1, 6):
        wait_for(lambda drop=drop: runs(tmp_path, str(drop * 500)), "some of the work")
        with connections[alias].cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )

    assert results.get(timeout=60) == [str(n) for n in range(3000)]
    assert {runs(tmp_path, str(n)) for n in range(3000)} == {1}
    assert "the ledger is away" in dispatcher.output
