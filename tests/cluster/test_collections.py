"""Tasks that return futures, actors and collections: these stay on the cluster, and are not lost.

They do not come as values, but as what leads to them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array
import dask.bag
import numpy
import pandas
import pytest
from distributed import Actor, Client, Future, Variable, futures_of

from dask_facade import AsyncResult, DaskFacade
from dask_facade.cluster import futures, remote
from dask_facade.exceptions import ResultLost
from dask_facade.states import FAILURE, SUCCESS
from tests.cluster import remote_tasks as tasks
from tests.cluster.bare import left_of
from tests.cluster.processes import wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("address"),
]
SOON = 30.0
in_a_child_or_not = pytest.mark.parametrize(
    "options", [{}, {"time_limit": 60}], ids=["thread", "child"]
)


@in_a_child_or_not
def test_a_job_may_return_a_future(app: DaskFacade, options: dict[str, Any]) -> None:
    result = tasks.future.apply_async(**options)

    returned = result.get(timeout=SOON)

    assert isinstance(returned, Future)
    assert returned.result(timeout=SOON) == 2
    assert app.store.fetch([result.id])[result.id].result is None
    assert result.future().result(timeout=SOON) == 2


@in_a_child_or_not
def test_a_job_may_return_futures_among_other_things(options: dict[str, Any]) -> None:
    result = tasks.futures.apply_async(**options)

    returned = result.get(timeout=SOON)

    assert [each.result(timeout=SOON) for each in returned["list"]] == [1, 2, 3]
    assert returned["text"] == "abc"


@in_a_child_or_not
def test_a_job_may_return_an_actor(app: DaskFacade, options: dict[str, Any]) -> None:
    result = tasks.actor.apply_async(**options)

    counter = result.get(timeout=SOON)

    assert isinstance(counter, Actor)
    assert counter.increment().result() == 1
    assert AsyncResult(result.id, app=app).get(timeout=SOON).increment().result() == 2
    assert counter.n == 2


@in_a_child_or_not
def test_a_call_takes_what_another_one_returned_where_it_is(options: dict[str, Any]) -> None:
    def after(first: Any, second: Any) -> Any:
        return (first | second.s().set(**options)).delay().get(timeout=SOON)

    assert after(tasks.future.s(), tasks.result_of) == 2
    assert after(tasks.actor.s(), tasks.increment) == 1
    assert after(tasks.collection.s("array"), tasks.kind_and_sum) == ["Array", 45]


def test_actors_in_a_list_come_as_their_futures() -> None:
    returned = tasks.actors.delay().get(timeout=SOON)

    assert [each.result(timeout=SOON).increment().result() for each in returned] == [1, 1]


def test_an_actor_of_plain_dask_becomes_a_job(app: DaskFacade, client: Client) -> None:
    future = client.submit(tasks.Counter, actor=True, pure=False)
    result = app.compute(future, name="counter")

    assert result.get(timeout=SOON).increment().result() == 1


@pytest.mark.parametrize(
    ("kind", "sums", "equals"),
    [
        ("array", 45, lambda value: (value == numpy.arange(10)).all()),
        ("bag", 45, lambda value: value == list(range(10))),
        ("dataframe", 45, lambda value: value.equals(pandas.DataFrame({"a": range(10)}))),
        ("delayed", None, lambda value: value == 45),
    ],
)
def test_a_job_may_return_a_collection(
    app: DaskFacade, kind: str, sums: int | None, equals: Callable[[Any], bool]
) -> None:
    result = tasks.collection.delay(kind)

    lazy = result.dask(timeout=SOON)

    assert dask.is_dask_collection(lazy)
    kept = futures_of(lazy)
    wait_for(lambda: all(each.status == "finished" for each in kept), "word of what is kept")
    assert equals(lazy.compute())
    assert equals(result.get(timeout=SOON))
    assert equals(result.future().result(timeout=SOON))
    assert equals(result.future().result(timeout=SOON))  # by its name
    assert app.store.fetch([result.id])[result.id].state == SUCCESS
    if sums is not None:
        assert numpy.sum(lazy.sum().compute()) == sums


def test_collections_may_stand_in_a_list() -> None:
    result = tasks.collection.delay("list")

    one, seven, [ones] = result.get(timeout=SOON)

    assert (one, seven, ones.tolist()) == (2, 7, [1.0, 1.0, 1.0])
    assert result.dask()[2][0].sum().compute() == 3


def test_a_collection_that_cannot_be_computed_fails_its_job() -> None:
    result = tasks.broken_collection.delay()

    with pytest.raises(ValueError, match="in the bag"):
        result.get(timeout=SOON)
    with pytest.raises(ValueError, match="in the bag"):
        result.dask()
    assert result.state == FAILURE


def test_any_result_is_a_collection_to_who_asks(app: DaskFacade) -> None:
    result = tasks.value_of.delay(dask.array.ones(4, chunks=2))

    assert result.dask(timeout=SOON)[1].compute() == 4.0


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        (lambda: dask.array.ones(4, chunks=2), ["ndarray", 4.0]),
        (lambda: dask.bag.range(4, npartitions=2), ["list", 6.0]),
        (lambda: tasks.frame()["a"], ["Series", 45.0]),
        (lambda: dask.delayed(numpy.ones)(3), ["ndarray", 3.0]),
        (lambda: dask.array.ones(4, chunks=2).sum(), ["float64", 4.0]),
    ],
    ids=["array", "bag", "dataframe", "delayed", "scalar"],
)
def test_calls_take_collections_as_what_they_come_to(
    given: Callable[[], Any], taken: list[Any]
) -> None:
    assert tasks.value_of.delay(given()).get(timeout=SOON) == taken


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (lambda: dask.array.ones((3, 3), chunks=2).sum(axis=0), [3.0, 3.0, 3.0]),
        (lambda: tasks.frame()["a"] * 2, list(range(0, 20, 2))),
        (lambda: dask.bag.range(3, npartitions=2).map(tasks.inc), [1, 2, 3]),
    ],
    ids=["array", "dataframe", "bag"],
)
def test_a_collection_becomes_a_job_with_its_value(
    app: DaskFacade, given: Callable[[], Any], value: list[Any]
) -> None:
    result = app.compute(given(), name="computed", user=7)

    assert list(result.get(timeout=SOON)) == value
    job = app.store.fetch([result.id])[result.id]
    assert (job.task, job.owner, job.graph) == ("computed", "7", True)


def test_what_a_job_returned_may_be_lost(app: DaskFacade, client: Client) -> None:
    array, future = tasks.collection.delay("array"), tasks.future.delay()
    array.get(timeout=SOON)
    future.get(timeout=SOON)

    client.unpublish_dataset(f"job:{array.id}")
    name = Variable(f"job:{future.id}", client=client)
    client.cancel([name.get(timeout=10)], force=True)
    wait_for(lambda: name.get(timeout=10).status == "lost", "the loss")

    with pytest.raises(ResultLost):
        array.dask()
    with pytest.raises(ResultLost):
        array.get(timeout=SOON)
    with pytest.raises(ResultLost):
        AsyncResult(future.id, app=app).get(timeout=SOON)
    assert (array.state, future.state) == (SUCCESS, SUCCESS)


def test_what_an_earlier_hand_keeps_late_takes_nothing_from_a_later_one(client: Client) -> None:
    def kept(hand: int, *numbers: int) -> None:
        remote.keep(client, "handed twice", hand, [dask.delayed(sum)(numbers)])

    def sums() -> list[int]:
        (found,) = client.get_dataset("job:handed twice")
        total: int = found.compute(scheduler=client)
        return [total]

    kept(1, 1)
    kept(3, 1, 2)
    assert sums() == [3]
    kept(2, 4)
    kept(1, 5)
    assert sums() == [3]
    kept(10, 6)
    assert sums() == [6]

    client.sync(futures.forget, client, (), ["handed twice"])
    assert [each for each in client.list_datasets() if "handed twice" in each] == []


def test_what_is_forgotten_is_kept_no_longer(client: Client) -> None:
    results = [
        tasks.future.delay(),
        tasks.futures.delay(),
        tasks.actor.delay(),
        tasks.collection.delay("bag"),
    ]
    for result in results:
        result.get(timeout=SOON)
    assert len([each for each in client.list_datasets() if results[3].id in each]) == 1

    for result in results:
        result.forget()

    ids = [result.id for result in results]

    def left() -> list[str]:
        named = [each for each in client.list_datasets() if any(id in each for id in ids)]
        return named + left_of(client, ids)

    wait_for(lambda: left() == [], f"the end of {left()}")
