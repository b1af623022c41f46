"""A ledger beside the site's own database: rows are written when the caller's work is committed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections, transaction
from django.test import override_settings

from dask_facade import DaskFacade, Signature, current
from dask_facade.exceptions import DuplicateTaskId
from dask_facade.ledger.orm import OrmStore
from dask_facade.models import Job
from tests import settings
from tests.databases import require_database

BESIDE = "postgres"

pytestmark = (
    [
        pytest.mark.django_db(
            transaction=True, databases=["default", BESIDE], available_apps=["dask_facade"]
        )
    ]
    if BESIDE in settings.DATABASES
    else []
)


@pytest.fixture(scope="module", autouse=True)
def beside() -> None:
    require_database(BESIDE)


@pytest.fixture(autouse=True)
def routed() -> Iterator[None]:
    with override_settings(
        DASK_FACADE={"LEDGER_DATABASE": BESIDE},
        DATABASE_ROUTERS=["dask_facade.routers.LedgerRouter"],
    ):
        yield


@pytest.fixture
def store() -> OrmStore:
    return OrmStore(BESIDE)


@pytest.fixture
def app(store: OrmStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[DaskFacade]:
    before = current.app()
    app = DaskFacade("tests", store=store)
    offered: list[str] = []
    monkeypatch.setattr(app.client, "offer", lambda calls: offered.extend(c.id for c in calls))
    monkeypatch.setattr(app, "offered", offered, raising=False)
    yield app
    current.set_app(before)


def submit(app: DaskFacade, id: str = "a") -> None:
    app.submit(Signature("some.task", (1,), task_id=id))


def ids() -> list[str]:
    return sorted(Job.objects.values_list("id", flat=True))


def test_the_router_finds_the_rows_where_they_are(app):
    submit(app)

    assert ids() == ["a"]
    assert Job.objects.all().db == BESIDE
    assert not Job.objects.using("default").exists()


def test_a_job_is_written_when_the_callers_transaction_commits(app):
    with transaction.atomic():
        with transaction.atomic():
            submit(app)
        before = ids()

    assert before == []
    assert ids() == ["a"]
    assert app.offered == ["a"]


def test_a_rollback_means_that_it_never_runs(app):
    def fail(id: str) -> None:
        with transaction.atomic():
            submit(app, id)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail("alone")
    with transaction.atomic():
        with pytest.raises(ZeroDivisionError):
            fail("inner")
        submit(app, "outer")

    assert ids() == ["outer"]
    assert app.offered == ["outer"]


def test_a_transaction_of_the_ledgers_own_database_counts_as_well(app):
    with transaction.atomic(using=BESIDE):
        submit(app)
        assert app.offered == []

    assert (ids(), app.offered) == (["a"], ["a"])


def test_what_is_to_follow_a_commit_follows_that_of_the_caller(store):
    done: list[str] = []

    with transaction.atomic():
        store.on_commit(lambda: done.append("within"))
        before = list(done)
    store.on_commit(lambda: done.append("outside"))

    assert before == []
    assert done == ["within", "outside"]


def test_waiting_within_the_transaction_would_never_end(app, store):
    with transaction.atomic():
        submit(app)
        why = store.why_never(["a"])
        other = store.why_never(["b"])

    assert "job a was submitted in the transaction that is open here" in why
    assert other == ""
    assert store.why_never(["a"]) == ""


def test_an_id_that_is_taken_is_told_at_the_commit(app):
    submit(app)

    with pytest.raises(DuplicateTaskId), transaction.atomic():
        submit(app)

    assert ids() == ["a"]
    assert connections["default"].get_autocommit()
