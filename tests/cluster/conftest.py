from __future__ import annotations

from collections.abc import Iterator

import pytest
from distributed import Client, LocalCluster
from django.db import connections
from pytest_django import DjangoDbBlocker

from dask_facade import DaskFacade, current
from dask_facade.cluster.connection import close_all
from dask_facade.ledger.orm import OrmStore
from tests import settings
from tests.cluster.deployment import Deployment
from tests.cluster.processes import DispatcherProcess
from tests.databases import require_database

NAME = "cluster"
DEFAULT = {"default": {"ENGINE": "django.db.backends.dummy"}}


@pytest.fixture(scope="module", params=["default", "postgres"])
def alias(request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """A migrated database that the tests here share with the processes that they start."""
    require_database(request.param)
    postgres = request.param == "postgres" or settings.TEST_DB == "postgres"
    alias = f"cluster_{request.param}"
    make = settings.postgres_database if postgres else settings.sqlite_database
    connections.settings[alias] = connections.configure_settings({**DEFAULT, alias: make(NAME)})[
        alias
    ]
    with django_db_blocker.unblock():
        connections[alias].creation.create_test_db(verbosity=0, autoclobber=True)
        yield alias
        connections[alias].creation.destroy_test_db(make(NAME)["NAME"], verbosity=0)
    del connections.settings[alias]


@pytest.fixture(scope="module")
def environment(alias: str) -> dict[str, str]:
    """What makes that database the default one of another process."""
    vendor = connections[alias].vendor
    return {
        "DASK_FACADE_TEST_DB": "postgres" if vendor == "postgresql" else "sqlite",
        "DASK_FACADE_TEST_NAME": NAME,
    }


@pytest.fixture(scope="module")
def app(alias: str) -> Iterator[DaskFacade]:
    """An app on that database."""
    before = current.app()
    app = DaskFacade("tests", store=OrmStore(alias))
    yield app
    app.client.close()
    current.set_app(before)


@pytest.fixture(scope="module")
def dispatcher(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    """A dispatcher with a local cluster of two workers."""
    with DispatcherProcess(["--workers", "2"], **environment) as dispatcher:
        yield dispatcher


@pytest.fixture(scope="module")
def address(dispatcher: DispatcherProcess) -> Iterator[str]:
    """The address of its scheduler, for clients that end with the tests of the module."""
    yield dispatcher.scheduler
    close_all()


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    """A client of Dask's own making."""
    with Client(address, set_as_default=False) as client:
        yield client


@pytest.fixture
def deployment() -> Iterator[Deployment]:
    """A Dask cluster that the test may kill."""
    deployment = Deployment()
    try:
        deployment.start()
        yield deployment
    finally:
        close_all()
        deployment.kill()


@pytest.fixture
def cluster() -> Iterator[LocalCluster]:
    """One worker with one thread."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster
