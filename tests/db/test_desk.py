"""The leader's own connection: what it raises, how it comes back, how it is used."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import pytest
from django.db import connections, transaction
from django.test import override_settings

from dask_facade.exceptions import (
    ImproperlyConfigured,
    LeadershipLost,
    LedgerBusy,
    LedgerNotReady,
    LedgerRefused,
    LedgerUnavailable,
)
from dask_facade.ledger.orm import OrmStore
from dask_facade.models import Edge, Lease
from dask_facade.states import PENDING, RECEIVED, SUCCESS
from tests.db.conftest import on_postgres, on_sqlite
from tests.db.plans import Led, chain, claim, end, job


def rename(alias, old, new, table="dask_facade_job"):
    with connections[alias].cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME {old} TO {new}")


@pytest.fixture
def no_tables(alias):
    rename(alias, "", "dask_facade_away")
    yield
    rename(alias, "", "dask_facade_job", table="dask_facade_away")


@pytest.fixture
def other_release(alias):
    rename(alias, "COLUMN worker", "worker_address")
    yield
    rename(alias, "COLUMN worker_address", "worker")


def test_the_schema_of_this_release_is_accepted(alias):
    desk = OrmStore(alias).open_desk()

    desk.check_schema()

    desk.close()


@pytest.mark.usefixtures("no_tables")
def test_missing_tables_are_told_with_the_command_that_makes_them(alias):
    store = OrmStore(alias)
    desk = store.open_desk()
    hint = "manage.py migrate dask_facade" + (" --database=postgres" if alias != "default" else "")

    for act in (
        lambda: store.submit([job()], [], lambda created: None),
        lambda: store.fetch(["a"]),
        lambda: store.group("a"),
        lambda: desk.check_schema(),
        lambda: desk.in_flight(),
    ):
        with pytest.raises(LedgerNotReady, match=hint):
            act()
    desk.close()


@pytest.mark.usefixtures("other_release")
def test_tables_of_another_release_are_told(alias):
    desk = OrmStore(alias).open_desk()

    with pytest.raises(LedgerNotReady, match="worker, worker_address"):
        desk.check_schema()
    with pytest.raises(LedgerNotReady):
        OrmStore(alias).fetch(["a"])
    desk.close()


def test_a_desk_works_in_an_event_loop_and_then_in_another_thread(alias):
    store = OrmStore(alias)
    desk = store.open_desk()

    async def in_loop():
        ledger = Led(store, desk)
        assert ledger.take_up() == []
        return ledger

    ledger = asyncio.run(in_loop())
    made = job()
    ledger.submit(made)
    thread = threading.Thread(target=lambda: ledger.run(made))
    thread.start()
    thread.join()

    assert ledger.states(made) == [SUCCESS]
    desk.close()


def test_a_closed_desk_connects_anew(orm_ledger):
    orm_ledger.desk.close()
    orm_ledger.desk.close()

    assert orm_ledger.take_up() == []


def test_an_error_half_way_undoes_the_whole_batch(orm_ledger, alias):
    steps, edges = chain(2)
    orm_ledger.submitted(*steps, edges=edges)
    orm_ledger.claim(steps[0])

    # The outcome is written, then the claim is refused by the database.
    wrong = (
        {"runner": "r" * 256} if connections[alias].vendor == "postgresql" else {"worker": object()}
    )
    bad = claim(steps[1])._replace(**wrong)
    with pytest.raises(LedgerRefused):
        orm_ledger.write(outcomes=[end(steps[0])], claims=[bad])

    assert orm_ledger.states(*steps) == [RECEIVED, PENDING]
    assert [call.id for call in orm_ledger.end(steps[0]).ready] == [steps[1].id]


def test_a_lone_move_that_the_database_refuses_changes_nothing(orm_ledger):
    made = job()
    orm_ledger.submit(made)

    with pytest.raises(LedgerRefused):
        orm_ledger.write(claims=[claim(made)._replace(worker="\ud800")])

    assert orm_ledger.claim(made).claimed == ((made.id, 1),)


@on_postgres
def test_a_text_that_is_too_long_is_refused(orm_ledger):
    made = job()
    orm_ledger.submit(made)

    with pytest.raises(LedgerRefused):
        orm_ledger.write(claims=[claim(made)._replace(runner="r" * 256)])

    assert orm_ledger.states(made) == [PENDING]


@on_sqlite
def test_a_busy_database_is_told_at_once_and_nothing_is_written(orm_ledger, alias):
    made = job()
    orm_ledger.submit(made)
    desk, epoch = orm_ledger.desk, orm_ledger.epoch

    with transaction.atomic(using=alias):
        OrmStore(alias).request("revoke", made.id, {})
        for act in (
            lambda: orm_ledger.claim(made),
            lambda: orm_ledger.take_up(),
            lambda: desk.beat(epoch),
            lambda: desk.lead("second", (), b"", None),
        ):
            with pytest.raises(LedgerBusy):
                act()
        assert list(desk.in_flight()) == []  # readers do not wait for writers

    assert orm_ledger.claim(made).claimed == ((made.id, 1),)


@on_sqlite
def test_an_idle_leader_does_not_lock_the_database(orm_ledger, alias):
    with transaction.atomic(using=alias):
        OrmStore(alias).submit([job()], [], lambda created: None)

        assert orm_ledger.take_up() == []
        assert list(orm_ledger.desk.requests(orm_ledger.epoch, 10)) == []


@on_sqlite
def test_the_desk_keeps_a_write_ahead_log(orm_ledger, alias):
    orm_ledger.take_up()

    with connections[alias].cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def end_sessions(alias):
    """End every other session of the database, as a restart of its server does."""
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@on_postgres
def test_a_lost_connection_is_told_once_and_the_next_call_connects(orm_ledger, alias):
    made = job()
    orm_ledger.submit(made)
    orm_ledger.take_up()

    end_sessions(alias)
    with pytest.raises(LedgerUnavailable):
        orm_ledger.claim(made)

    assert orm_ledger.claim(made).claimed == ((made.id, 1),)


@on_postgres
def test_a_connection_lost_within_a_transaction_undoes_it(orm_ledger, alias, monkeypatch):
    steps, edges = chain(2)
    orm_ledger.submitted(*steps, edges=edges)
    orm_ledger.claim(steps[0])
    session = orm_ledger.desk._session
    lower = session.lower

    def lose(counts):
        rows = lower(counts)
        end_sessions(alias)
        return rows

    monkeypatch.setattr(session, "lower", lose)
    with pytest.raises(LedgerUnavailable):
        orm_ledger.end(steps[0])
    monkeypatch.undo()

    assert orm_ledger.states(*steps) == [RECEIVED, PENDING]
    assert [call.id for call in orm_ledger.end(steps[0]).ready] == [steps[1].id]


@on_postgres
def test_a_row_that_somebody_locks_makes_the_leader_busy_not_stuck(orm_ledger, alias):
    made = job()
    orm_ledger.submit(made)

    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        cursor.execute("SELECT id FROM dask_facade_job FOR UPDATE")
        with pytest.raises(LedgerBusy):
            orm_ledger.claim(made)

    assert orm_ledger.claim(made).claimed == ((made.id, 1),)


@on_postgres
def test_a_leader_paused_in_a_transaction_does_not_block_the_next_for_ever(alias):
    paused, following = (OrmStore(alias).open_desk() for _ in range(2))
    lease = paused.lead("first", (), b"secret", None)
    taken = None

    def write_slowly():
        nonlocal taken
        with paused._session.transaction(lease.epoch):
            while taken is None:
                with suppress(LedgerBusy):
                    taken = following.lead("second", (), b"secret", lease)
            paused._session.rows("SELECT 1")

    with pytest.raises(LedgerUnavailable):
        write_slowly()

    assert taken.epoch == lease.epoch + 1
    paused.close()
    following.close()


@on_postgres
def test_the_first_leader_s_transaction_holds_off_the_next(orm_ledger, alias):
    rival = OrmStore(alias).open_desk()
    seen = orm_ledger.store.lease()

    with orm_ledger.desk._session.transaction(orm_ledger.epoch):
        with pytest.raises(LedgerBusy):
            rival.lead("second", (), b"", seen)
        orm_ledger.desk._session.rows("SELECT 1")

    assert rival.lead("second", (), b"", seen) is not None
    rival.close()


@on_postgres
def test_a_server_that_is_away_is_told(alias, monkeypatch):
    store = OrmStore(alias)
    monkeypatch.setitem(connections.settings[alias], "PORT", "1")
    desk = store.open_desk()

    with pytest.raises(LedgerUnavailable):
        desk.check_schema()


@on_postgres
def test_a_site_with_a_pooler_between_gets_no_prepared_statements(alias, monkeypatch):
    monkeypatch.setitem(connections.settings[alias], "DISABLE_SERVER_SIDE_CURSORS", True)
    store = OrmStore(alias)
    desk = store.open_desk()
    ledger = Led(store, desk)
    made = job()
    ledger.submit(made)

    ledger.run(made)

    assert desk._session.rows("SELECT count(*) FROM pg_prepared_statements") == [(0,)]
    desk.close()


@pytest.mark.parametrize("name", ["Asia/Kolkata", "America/New_York"])
def test_a_site_without_time_zones_reads_the_same_moments(alias, name):
    with override_settings(USE_TZ=False, TIME_ZONE=name):
        connections[alias].close()
        del connections[alias]
        store = OrmStore(alias)
        ledger = Led(store, store.open_desk())
        steps, edges = chain(2)
        told = []
        store.submit(steps, edges, told.append)
        (call,) = ledger.calls()
        ledger.run(steps[0], started=1e9, finished=1.5e9)
        row = ledger.fetch(steps[0])
        ledger.desk.close()
        connections[alias].close()
    del connections[alias]

    assert call.created == pytest.approx(told[0], abs=1e-5)
    assert row.created.timestamp() == pytest.approx(told[0], abs=1e-5)
    assert (row.started.timestamp(), row.finished.timestamp()) == (1e9, 1.5e9)


def test_a_database_that_cannot_hold_the_ledger_is_refused(monkeypatch):
    monkeypatch.setattr(type(connections["default"]), "vendor", "mysql")

    with pytest.raises(ImproperlyConfigured, match="PostgreSQL or SQLite"):
        OrmStore("default").submit([], [], lambda created: None)
    with pytest.raises(ImproperlyConfigured):
        OrmStore("default").open_desk()


def test_edges_may_come_before_the_jobs_that_they_name(orm_ledger, alias):
    child = job()
    orm_ledger.submit(child, edges=[])
    Edge.objects.using(alias).create(
        parent_id="unknown", child_id=child.id, position=0, takes_result=False
    )

    assert orm_ledger.take_up() == []


@on_postgres
@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("kind", ["outcomes", "claims"])
def test_a_write_that_waited_for_the_lease_looks_at_it_anew(orm_ledger, alias, kind, commits):
    running, waiting = job(), job()
    orm_ledger.submit(running, waiting)
    orm_ledger.claim(running)
    batch = {"outcomes": [end(running)], "claims": [claim(waiting)]}
    said = []

    def write():
        try:
            said.append(orm_ledger.write(**{kind: batch[kind]}))
        except LeadershipLost as error:
            said.append(error)

    thread = threading.Thread(target=write)
    with transaction.atomic(using=alias):
        Lease.objects.using(alias).update(epoch=orm_ledger.epoch + 1)
        thread.start()
        thread.join(0.2)
        assert said == []
        transaction.set_rollback(not commits, using=alias)
    thread.join()

    assert isinstance(said[0], LeadershipLost) is commits
    assert (orm_ledger.states(running, waiting) == [RECEIVED, PENDING]) is commits
