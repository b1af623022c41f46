"""What any process reads beside its own transaction, and keeps of groups and children."""

from __future__ import annotations

import threading

import pytest
from django.db import connections, transaction

from dask_facade.ledger.orm import OrmStore
from dask_facade.ledger.store import calls_of
from dask_facade.states import SUCCESS
from tests.db.conftest import on_postgres, on_sqlite
from tests.db.plans import job


@pytest.fixture
def reader(alias):
    store = OrmStore(alias)
    yield store
    store.disconnect()


def nothing(*args):
    pass


def test_every_field_that_readers_have_is_read(ledger):
    made = job(graph=True, owner="7", ignore_result=True)
    ledger.submit(made)
    ledger.run(made, key="key-1", size=2**40, result=None)

    row = ledger.fetch(made)

    assert (row.graph, row.owner, row.ignore_result) == (True, "7", True)
    assert (row.key, row.size, row.said, row.meta) == ("key-1", 2**40, "", None)
    assert ledger.store.fetch_committed([made.id]) == ledger.store.fetch([made.id])


def test_an_action_outside_of_any_transaction_is_done_at_once(store):
    told = []

    store.on_commit(lambda: told.append("done"))

    assert told == ["done"]


def test_an_action_connects_to_nothing(alias):
    connections[alias].close()
    told = []

    OrmStore(alias).on_commit(lambda: told.append("done"))

    assert (told, connections[alias].connection) == (["done"], None)


def test_an_action_waits_for_the_commit(alias):
    store, told = OrmStore(alias), []

    with transaction.atomic(using=alias):
        store.on_commit(lambda: told.append("done"))
        assert told == []
    with transaction.atomic(using=alias):
        store.on_commit(lambda: told.append("never"))
        transaction.set_rollback(True, using=alias)

    assert told == ["done"]


# What is committed


@on_postgres
def test_what_others_commit_is_seen_from_within_a_transaction(reader, orm_ledger, alias):
    done, mine = job(), job()
    orm_ledger.submit(done)
    orm_ledger.claim(done)

    with transaction.atomic(using=alias):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.submit([mine], [], nothing)
        orm_ledger.end(done)

        ids = [done.id, mine.id]
        assert {id: row.state for id, row in reader.fetch(ids).items()} != {done.id: SUCCESS}
        assert {id: row.state for id, row in reader.fetch_committed(ids).items()} == {
            done.id: SUCCESS
        }


@on_sqlite
def test_what_was_committed_is_read_beside_an_open_write_transaction(reader, alias):
    done, mine = job(), job()
    reader.submit([done], [], nothing)

    with transaction.atomic(using=alias):
        reader.submit([mine], [], nothing)

        assert reader.fetch_committed([done.id, mine.id]).keys() == {done.id}


def test_outside_of_a_transaction_no_other_connection_is_opened(reader, alias, monkeypatch):
    monkeypatch.setattr(connections, "create_connection", lambda alias: pytest.fail("opened"))

    assert reader.fetch_committed(["nobody"]) == {}


def test_each_thread_has_a_connection_of_its_own_that_is_closed_with_it(alias):
    store = OrmStore(alias)
    made = []
    create = connections.create_connection

    def creating(alias):
        made.append(create(alias))
        return made[-1]

    def read():
        with transaction.atomic(using=alias):
            store.fetch_committed(["nobody"])
            store.fetch_committed(["nobody"])
        store.disconnect()

    connections.create_connection = creating
    try:
        threads = [threading.Thread(target=read) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        del connections.create_connection

    assert len(made) == 4  # of each thread the ordinary one, and the other
    assert [each.connection for each in made] == [None] * 4


# Why waiting would never end


@pytest.mark.parametrize("count", [1, 3])
def test_what_the_open_transaction_submitted_never_ends_in_it(reader, alias, count):
    jobs = [job() for _ in range(count)]

    with transaction.atomic(using=alias):
        reader.submit(jobs, [], nothing)
        assert jobs[0].id in reader.why_never([jobs[0].id, "another"])

    assert reader.why_never([jobs[0].id]) == ""


@on_postgres
def test_what_others_submitted_can_end_while_a_transaction_is_open(reader, alias):
    made, mine = job(), job()
    reader.submit([made], [], nothing)

    with transaction.atomic(using=alias):
        reader.submit([mine], [], nothing)
        assert reader.why_never([made.id]) == ""


@on_postgres
def test_what_a_savepoint_took_back_is_no_reason(reader, alias):
    made = job()

    with transaction.atomic(using=alias):
        with transaction.atomic(using=alias):
            reader.submit([made], [], nothing)
            transaction.set_rollback(True, using=alias)
        assert reader.why_never([made.id]) == ""


@on_sqlite
def test_nothing_ends_while_sqlite_is_being_written(reader, alias):
    made = job()
    reader.submit([made], [], nothing)

    with transaction.atomic(using=alias):
        OrmStore(alias).request("revoke", made.id, {})
        assert "SQLite" in reader.why_never([made.id])


@on_sqlite
def test_jobs_end_while_a_transaction_only_reads_from_sqlite(reader, alias):
    made = job()
    reader.submit([made], [], nothing)
    connection = connections[alias]
    connection.ensure_connection()
    connection.transaction_mode, mode = None, connection.transaction_mode
    try:
        with transaction.atomic(using=alias):
            reader.fetch([made.id])
            assert reader.why_never([made.id]) == ""
    finally:
        connection.transaction_mode = mode


def test_a_ledger_in_memory_has_no_such_reason(ledger):
    assert ledger.store.why_never(["a"]) == ""


# Groups and children


@pytest.mark.parametrize("tree", [[], ["a", "b"], ["a", ["b", ["c"]], "é"]])
def test_a_group_that_was_put_together_by_hand_is_kept(store, tree):
    assert store.saved_group("g") is None

    store.save_group("g", ["something", "else"])
    store.save_group("g", tree)
    assert store.saved_group("g") == tree

    store.drop_group("g")
    store.drop_group("g")
    assert store.saved_group("g") is None


def test_children_are_listed_in_the_order_of_submission(store):
    ids = ["z", "b", "a"]
    store.submit([job(id, parent_id="p", group_id="g") for id in ids], [], nothing)
    store.submit([job("y", parent_id="p"), job("x", parent_id="q"), job("w")], [], nothing)

    assert store.children("p") == [("z", "g"), ("b", "g"), ("a", "g"), ("y", None)]
    assert store.children("none") == []


def test_the_hint_of_a_job_with_a_delay_is_left_to_the_leader():
    now, later = job(), job(delay=5.0)

    assert [call.id for call in calls_of([now, later], 1.0, ())] == [now.id]
