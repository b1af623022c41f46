"""`get()` beside transactions, from threads and in event loops, on real databases."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
from django.db import connections, transaction

from dask_facade import AsyncResult, DaskFacade, current
from dask_facade.exceptions import TimeoutError, WouldNeverEnd
from dask_facade.jobs import REVOKE
from dask_facade.ledger.orm import OrmStore
from dask_facade.states import SUCCESS
from tests.db.conftest import on_sqlite
from tests.unit.house import wait_for
from tests.unit.leading import Leader

DEADLINE = 10.0


@pytest.fixture
def app(alias):
    before = current.app() if current.has_app() else None
    app = DaskFacade("tests", store=OrmStore(alias))
    yield app
    app.client.close()
    app.store.disconnect()
    if before is not None:
        current.set_app(before)


@pytest.fixture
def leader(app):
    leader = Leader(app.store)
    yield leader
    leader.desk.close()


def test_get_in_the_transaction_that_submitted_the_job_is_refused_at_once(app, alias):
    with transaction.atomic(using=alias):
        result = app.send_task("a")

        with pytest.raises(WouldNeverEnd, match=result.id):
            result.get()
        with pytest.raises(RuntimeError, match="committed"):
            result.get(timeout=60)


def test_get_in_another_transaction_waits_and_sees_what_others_commit(app, leader, alias):
    result = app.send_task("a")
    told = threading.Event()

    def end():
        assert told.wait(DEADLINE)
        leader.end(result.id, SUCCESS, "late")

    ending = threading.Thread(target=end)
    ending.start()
    try:
        with reading(alias):
            app.store.group("whatever")  # it has read, so it has its view of the database
            value = result.get(timeout=DEADLINE, interval=0.02, on_interval=told.set)
    finally:
        told.set()
        ending.join()

    assert value == "late"


@contextmanager
def reading(alias):
    """Open a transaction that writes nothing."""
    connection = connections[alias]
    before = getattr(connection, "transaction_mode", None)
    connection.transaction_mode = None  # a site may have set it to begin as if to write
    try:
        with transaction.atomic(using=alias):
            yield
    finally:
        connection.transaction_mode = before


@on_sqlite
def test_get_in_a_transaction_that_keeps_all_others_from_writing_is_refused(app, alias):
    result = app.send_task("a")

    with reading(alias):
        app.send_task("b")

        with pytest.raises(WouldNeverEnd, match="SQLite"):
            result.get()


def test_a_revocation_is_part_of_the_transaction(app, leader, alias):
    result = app.send_task("a")

    with transaction.atomic(using=alias):
        result.revoke()
        transaction.set_rollback(True, using=alias)
    assert leader.asked() == []

    with transaction.atomic(using=alias):
        result.revoke()
    assert leader.asked() == [(REVOKE, result.id, {"terminate": False})]


def test_results_are_read_in_a_running_loop(app, leader):
    result = app.send_task("a")
    leader.end(result.id, SUCCESS, 1)

    async def main():
        again = AsyncResult(result.id)
        return again.state, again.get(timeout=DEADLINE), await AsyncResult(result.id)

    assert asyncio.run(main()) == ("SUCCESS", 1, 1)


def test_the_helper_threads_of_a_loop_leave_no_connection(app, leader, alias, monkeypatch):
    results = [app.send_task("a") for _ in range(20)]
    for result in results:
        leader.end(result.id, SUCCESS, result.id)
    opened, open_one = [], connections[alias].__class__.connect

    def connect(self):
        opened.append(self)
        open_one(self)

    monkeypatch.setattr(connections[alias].__class__, "connect", connect)

    async def main():
        assert [AsyncResult(result.id).state for result in results] == [SUCCESS] * 20
        return await asyncio.gather(*(AsyncResult(result.id).aget() for result in results))

    assert asyncio.run(main()) == [result.id for result in results]
    assert opened
    # The thread that dials the dispatcher may just be reading once more where that is.
    wait_for(lambda: all(each.connection is None for each in opened), "the end of all connections")


def test_a_timeout_in_a_transaction_says_why(app, alias):
    result = app.send_task("a")

    with (
        reading(alias),
        pytest.raises(TimeoutError, match="no dispatcher is running"),
    ):
        result.get(timeout=0.05)
