from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from dask_facade import DaskFacade, current
from dask_facade.ledger.memory import MemoryStore
from tests.unit.house import House
from tests.unit.listening import DEADLINE, Listener


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    """Fail a test that leaves one of our threads behind."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE)
        assert not thread.is_alive(), f"{thread.name} is left behind"


@pytest.fixture
def listen(no_thread_stays: None) -> Iterator[Callable[..., Listener]]:
    """Make listening ends, which end with the test."""
    made: list[Listener] = []

    def listen(*args: str, **options: float) -> Listener:
        made.append(Listener(*args, **options))  # type: ignore[arg-type]
        return made[-1]

    yield listen
    for listener in made:
        listener.close()


@pytest.fixture
def listener(listen: Callable[..., Listener]) -> Listener:
    return listen()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def app(no_thread_stays: None, store: MemoryStore) -> Iterator[DaskFacade]:
    """An app on a ledger in memory, which is the current one for the time of the test."""
    before = current.app() if current.has_app() else None
    app = DaskFacade("tests", store=store)
    yield app
    app.client.close()
    if before is not None:
        current.set_app(before)


@pytest.fixture
def lead(no_thread_stays: None, store: MemoryStore) -> Iterator[Callable[..., House]]:
    """Let one more leader lead; the one before it ends."""
    houses: list[House] = []

    def lead(**options: Any) -> House:
        if houses:
            houses[-1].close()
        houses.append(House(store, **options))
        return houses[-1]

    yield lead
    for house in houses:
        house.close()


@pytest.fixture
def house(lead: Callable[..., House]) -> House:
    return lead()
