"""What is coordinated by names, where there is no cluster yet."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import distributed
import pytest

from dask_facade import DaskFacade, current
from dask_facade.coordination import Event, Lock, Queue, Semaphore, Variable
from dask_facade.exceptions import ClusterUnavailable
from dask_facade.ledger.memory import MemoryStore
from dask_facade.pubsub import Pub, Sub


@pytest.fixture(autouse=True)
def _app() -> Iterator[None]:
    """An app of which no dispatcher runs."""
    before = current.app()
    app = DaskFacade("tests", store=MemoryStore())
    current.set_app(app)
    yield
    current.set_app(before)


@pytest.mark.parametrize(
    "use",
    [
        lambda: Queue("name").put(1),
        lambda: Variable("name").get(timeout=1),
        lambda: Lock("name").acquire(timeout=1),
        lambda: Event("name").is_set(),
        lambda: Semaphore(2, "name").acquire(timeout=1),
        lambda: Pub("name").put(1),
        lambda: Sub("name"),
    ],
    ids=["queue", "variable", "lock", "event", "semaphore", "pub", "sub"],
)
def test_who_uses_them_without_a_cluster_is_told_what_to_start(use: Callable[[], Any]) -> None:
    with pytest.raises(ClusterUnavailable, match=r"manage\.py dask_dispatcher"):
        use()


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (lambda: Variable("name"), distributed.Variable),
        (lambda: Lock("name"), distributed.Lock),
        (lambda: Event("name"), distributed.Event),
        (lambda: Semaphore(2, "name"), distributed.Semaphore),
        (lambda: Queue("name", maxsize=3), distributed.Queue),
    ],
    ids=["variable", "lock", "event", "semaphore", "queue"],
)
def test_they_are_made_without_a_cluster_and_travel_as_dasks_own(
    made: Callable[[], Any], kind: type
) -> None:
    assert isinstance(made(), kind)

    travelled = pickle.loads(pickle.dumps(made()))

    assert type(travelled) is kind
    assert travelled.name == "name"
    if kind is distributed.Semaphore:
        assert travelled.max_leases == 2
    if kind is distributed.Queue:
        assert travelled.maxsize == 3
