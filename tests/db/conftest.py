from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from dask_facade import DaskFacade, current
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.orm import OrmStore
from dask_facade.ledger.store import JobStore
from tests import settings
from tests.databases import require_database
from tests.db.plans import Led


def on(alias: str) -> Any:
    """Name a database, emptied after the test: only our own tables, which is fast."""
    if alias not in settings.DATABASES:
        return pytest.param(alias)
    return pytest.param(
        alias,
        marks=pytest.mark.django_db(
            transaction=True, databases=[alias], available_apps=["dask_facade"]
        ),
    )


IN_SQLITE = settings.TEST_DB == "sqlite"
on_sqlite = pytest.mark.parametrize("alias", [on("default")] if IN_SQLITE else [], indirect=True)
on_postgres = pytest.mark.parametrize(
    "alias", [on("postgres" if IN_SQLITE else "default")], indirect=True
)


@pytest.fixture(params=["memory", on("default"), on("postgres")])
def store(request: pytest.FixtureRequest) -> JobStore:
    """The ledger in memory and in each database: all of them promise the same."""
    if request.param == "memory":
        return MemoryStore()
    require_database(request.param)
    return OrmStore(request.param)


@pytest.fixture
def ledger(store: JobStore) -> Iterator[Led]:
    """A ledger with a leader."""
    desk = store.open_desk()
    yield Led(store, desk)
    desk.close()


@pytest.fixture(params=[on("default"), on("postgres")])
def alias(request: pytest.FixtureRequest) -> str:
    """Each database."""
    name: str = request.param
    require_database(name)
    return name


@pytest.fixture
def orm_ledger(alias: str) -> Iterator[Led]:
    """A ledger with a leader, in each database."""
    store = OrmStore(alias)
    desk = store.open_desk()
    yield Led(store, desk)
    desk.close()


@pytest.fixture
def app(alias: str) -> Iterator[DaskFacade]:
    """An app with the ledger in each database, where named jobs are."""
    before = current.app()
    app = DaskFacade("tests", store=OrmStore(alias))
    yield app
    app.client.close()
    current.set_app(before)
