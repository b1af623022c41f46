"""Dask graphs as jobs: computed, given as futures, taken as arguments."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import dask.bag
import pytest
from distributed import Client, Variable
from django.db import transaction

from dask_facade import AsyncResult, DaskFacade
from dask_facade.exceptions import DuplicateTaskId, ResultLost, TaskRevokedError
from dask_facade.states import FAILURE, PENDING, REVOKED, SUCCESS
from tests.cluster import future_tasks as tasks
from tests.cluster.bare import bare, left_of
from tests.cluster.processes import python, wait_for
from tests.cluster.tasks import sizes

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("address"),
]


def double(x: Any) -> Any:
    return 2 * x


def fail(message: str) -> None:
    raise ValueError(message)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def step(_: object) -> None:
    time.sleep(0.2)


def test_a_delayed_object_becomes_a_job(app: DaskFacade, address: str, tmp_path: Path) -> None:
    result = app.compute(dask.delayed(double)(21), name="twice")

    assert result.get(timeout=20) == 42
    job = app.store.fetch([result.id])[result.id]
    assert (job.graph, job.task, job.state, job.result_preview) == (True, "twice", SUCCESS, "42")
    read = f"print(Variable('job:{result.id}').get(timeout=10).result(timeout=20))"
    assert bare(address, read, tmp_path) == "42"
    assert result.future().result(timeout=20) == 42


def test_a_collection_becomes_a_job_that_is_named_after_it(app: DaskFacade) -> None:
    result = app.compute(dask.bag.from_sequence(range(10), npartitions=3).map(double).sum())

    assert result.get(timeout=20) == 90
    assert app.store.fetch([result.id])[result.id].task.startswith("sum")


def test_a_name_that_is_too_long_for_the_ledger_is_shortened(app: DaskFacade) -> None:
    result = app.compute(dask.delayed(double)(21), name="n" * 1024)

    assert result.get(timeout=20) == 42
    assert app.store.fetch([result.id])[result.id].task == "n" * 254 + "…"


def test_a_list_of_delayed_objects_is_one_job(app: DaskFacade) -> None:
    result = app.compute([dask.delayed(double)(1), 7, dask.delayed(double)(2)])

    assert result.get(timeout=20) == [2, 7, 4]


def test_a_future_that_runs_becomes_a_job(app: DaskFacade, client: Client) -> None:
    future = client.submit(nap, 0.5, pure=False)

    result = app.compute(future)
    future.release()

    assert result.get(timeout=20) == 0.5


def test_a_graph_that_fails_raises_its_exception(app: DaskFacade) -> None:
    result = app.compute(dask.delayed(fail)("no good"))

    with pytest.raises(ValueError, match="no good"):
        result.get(timeout=20)
    assert result.state == FAILURE
    assert "raise ValueError(message)" in result.traceback


def test_a_large_result_of_a_graph_is_read_everywhere(
    app: DaskFacade, address: str, tmp_path: Path
) -> None:
    small, large = (app.compute(dask.delayed(double)("x" * size)) for size in (2**20, 9 * 2**20))

    assert len(small.get(timeout=20)) == 2 * 2**20
    assert len(large.get(timeout=20)) == 18 * 2**20
    read = f"print(len(Variable('job:{large.id}').get(timeout=10).result(timeout=20)))"
    assert bare(address, read, tmp_path) == str(18 * 2**20)


def test_a_process_that_exits_at_once_loses_no_graph(
    app: DaskFacade, environment: dict[str, str]
) -> None:
    script = python(
        "import dask, os, sys, time\n"
        "from dask_facade import current\n"
        "print(current.app().compute(dask.delayed(time.sleep)(0.5)).id)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)",
        **environment,
    )

    assert AsyncResult(script.stdout.strip(), app=app).get(timeout=20) is None
    assert AsyncResult(script.stdout.strip(), app=app).state == SUCCESS


def test_a_graph_is_part_of_its_submitters_transaction(
    app: DaskFacade, alias: str, client: Client
) -> None:
    with transaction.atomic(using=alias):
        kept = app.compute(dask.delayed(double)(1))
    with transaction.atomic(using=alias):
        dropped = app.compute(dask.delayed(double)(2))
        transaction.set_rollback(True, using=alias)

    assert kept.get(timeout=20) == 2
    assert dropped.state == PENDING
    assert left_of(client, [dropped.id]) == []


@pytest.mark.parametrize("task", [tasks.begin_graph, tasks.begin_graph_through_another])
def test_a_graph_that_a_task_begins_is_a_child_of_its_job(app: DaskFacade, task: Any) -> None:
    job = task.delay(-42)

    graph = AsyncResult(job.get(timeout=20), app=app)

    assert graph.get(timeout=20) == 42
    row = app.store.fetch([graph.id])[graph.id]
    assert (row.parent_id, row.root_id) == (job.id, job.id)


def test_an_id_that_is_taken_is_refused(app: DaskFacade) -> None:
    app.compute(dask.delayed(double)(1), task_id="graph 1").get(timeout=20)

    with pytest.raises(DuplicateTaskId):
        app.compute(dask.delayed(double)(2), task_id="graph 1")


def test_a_terminated_graph_is_revoked_and_runs_no_further(app: DaskFacade, client: Client) -> None:
    chain = dask.delayed(step)(None)
    for _ in range(200):
        chain = dask.delayed(step)(chain)
    result = app.compute(chain)
    wait_for(lambda: app.store.fetch([result.id])[result.id].worker, "its adoption")

    result.revoke(terminate=True)

    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=20)
    assert result.state == REVOKED

    def steps(dask_scheduler: Any) -> int:
        return sum(key.startswith("step-") for key in map(str, dask_scheduler.tasks))

    wait_for(lambda: client.run_on_scheduler(steps) == 0, "the end of its tasks", 10)


@pytest.mark.parametrize(
    "argument",
    [
        lambda app, client: dask.delayed(double)(4),
        lambda app, client: client.submit(double, 4),
        lambda app, client: app.compute(dask.delayed(double)(4)),
        lambda app, client: tasks.double.delay(4),
    ],
    ids=["delayed", "future", "graph", "call"],
)
def test_calls_take_what_is_still_to_come_as_arguments(
    app: DaskFacade, client: Client, argument: Any
) -> None:
    assert tasks.double.delay(argument(app, client)).get(timeout=20) == 16


@pytest.mark.parametrize("size", [100_000, 17 * 2**20], ids=["in the ledger, too", "kept alone"])
def test_a_call_takes_the_large_result_of_a_graph_that_has_ended(
    app: DaskFacade, size: int
) -> None:
    graph = app.compute(dask.delayed(bytes)(size))
    assert len(graph.get(timeout=20)) == size

    assert sizes.delay([graph]).get(timeout=20) == [size]


def test_calls_wait_for_nothing_that_they_take(app: DaskFacade, client: Client) -> None:
    start = time.monotonic()
    result = tasks.double.delay(client.submit(nap, 2.0, pure=False))

    assert time.monotonic() - start < 1.5
    assert result.get(timeout=20) == 4.0


def test_a_lost_future_is_refused_as_an_argument(client: Client) -> None:
    future = client.submit(nap, 0.1, pure=False)
    client.cancel([future])

    with pytest.raises(ResultLost, match="nothing is left to follow"):
        tasks.double.delay(future)


def test_a_call_whose_graph_fails_fails_with_it(app: DaskFacade) -> None:
    result = tasks.double.delay(dask.delayed(fail)("in the graph"))

    with pytest.raises(ValueError, match="in the graph"):
        result.get(timeout=20)


@pytest.fixture
def without_collector(client: Client) -> Iterator[None]:
    """Workers on which Python leaves cycles as they are."""
    client.run(gc.disable)
    yield
    client.run(gc.enable)


@pytest.mark.usefixtures("without_collector")
def test_a_forgotten_graph_leaves_nothing_on_the_scheduler(app: DaskFacade, client: Client) -> None:
    results = [app.compute(dask.delayed(double)(number)) for number in range(3)]
    results.append(app.compute(dask.delayed(fail)("gone")))
    for result in results:
        result.get(timeout=20, propagate=False)

    for result in results:
        result.forget()

    ids = [result.id for result in results]
    wait_for(lambda: left_of(client, ids) == [], "the end of what was theirs")
    with pytest.raises(TimeoutError):
        Variable(f"job:{ids[0]}", client=client).get(timeout=0.2)
