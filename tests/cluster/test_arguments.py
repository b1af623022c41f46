"""Results and Dask graphs as arguments; what waits for them runs when they are there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dask
import pytest

from dask_facade import DaskFacade, chain, group
from dask_facade.cluster.connection import close_all
from dask_facade.states import FAILURE
from tests.cluster import semantics as tasks
from tests.cluster.processes import DispatcherProcess

SOON = 20  # seconds


@pytest.fixture(scope="module", autouse=True)
def cluster(dispatcher: DispatcherProcess) -> Iterator[None]:
    yield
    close_all()


def test_a_result_may_be_an_argument_at_any_depth() -> None:
    one, two = tasks.add.delay(1, 1), tasks.add.delay(2, 2)

    assert tasks.add.delay(one, two).get(timeout=SOON) == 6
    assert tasks.add.delay([one, [two]], [one]).get(timeout=SOON) == [2, [4], 2]
    assert chain(tasks.add.s(1, 1), tasks.add.s(two)).delay().get(timeout=SOON) == 6


def test_a_result_that_failed_fails_who_takes_it() -> None:
    result = tasks.add.delay(tasks.fail.delay("no"), 1)

    assert isinstance(result.get(timeout=SOON, propagate=False), tasks.MyErr)
    assert result.state == FAILURE


def test_a_dask_graph_may_be_an_argument() -> None:
    graph = dask.delayed(sum)([1, 2])  # type: ignore[attr-defined]  # it exports nothing

    assert tasks.add.delay(graph, 3).get(timeout=SOON) == 6


def test_a_graph_is_a_job_and_may_be_an_argument_itself(app: DaskFacade) -> None:
    graph = dask.delayed(sum)([1, 2])  # type: ignore[attr-defined]  # it exports nothing

    result = app.compute(graph, name="total", user=7)

    assert tasks.add.delay(result, 3).get(timeout=SOON) == 6
    assert result.get(timeout=SOON) == 3
    job = app.store.fetch([result.id])[result.id]
    assert (job.task, job.owner) == ("total", "7")


def test_a_countdown_of_a_later_step_begins_when_the_step_before_has_ended() -> None:
    begun = time.monotonic()
    result = chain(tasks.add.s(1, 1), tasks.add.s(1).set(countdown=1)).delay()

    assert result.get(timeout=SOON) == 3
    assert time.monotonic() - begun >= 1


def test_celerys_own_tasks_run_on_workers() -> None:
    made = group(tasks.add.chunks([(1, 1), (2, 2), (3, 3)], 2), tasks.add.starmap([(4, 4)]))

    assert made.delay().get(timeout=SOON) == [[[2, 4], [6]], [8]]
