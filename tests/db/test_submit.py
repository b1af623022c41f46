"""What any process writes and reads: jobs, groups, the lease."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import connections, transaction

from dask_facade.exceptions import DuplicateTaskId
from dask_facade.ledger.orm import OrmStore
from dask_facade.messages import Shape
from dask_facade.states import PENDING, SUCCESS
from tests.db.plans import aware, chain, chord, job


def test_a_submitted_job_is_read_back_as_it_was_written(store):
    eta = datetime(2031, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
    written = job(
        "mine",
        queue="slow",
        priority=7,
        preview="'é', x=1",
        due=eta.timestamp(),
        ignore_result=True,
        root_id="root",
        parent_id="parent",
        group_id="group",
    )

    before = time.time()
    store.submit([written], [], lambda created: None)

    read = store.fetch(["mine"])["mine"]
    assert (read.task, read.state, read.attempt) == (written.task, PENDING, 1)
    assert (read.queue, read.priority, read.arguments) == ("slow", 7, "'é', x=1")
    assert (read.root_id, read.parent_id, read.group_id) == ("root", "parent", "group")
    assert (read.eta, read.ignore_result) == (eta, True)
    assert (read.result, read.result_preview, read.traceback) == (None, "", None)
    assert (read.worker, read.started, read.finished) == ("", None, None)
    assert aware(read.created)
    assert before - 1 < read.created.timestamp() < time.time() + 1


def test_after_gets_the_time_of_creation_once(store):
    told: list[float] = []
    alone = job()
    steps, edges = chain(3)

    store.submit([alone], [], told.append)
    store.submit(steps, edges, told.append)

    rows = store.fetch([alone.id, steps[0].id])
    assert told == pytest.approx(
        [rows[alone.id].created.timestamp(), rows[steps[0].id].created.timestamp()], abs=1e-5
    )


def test_a_plan_without_jobs_is_submitted_like_any_other(store):
    told: list[float] = []

    store.submit([], [], told.append)

    assert len(told) == 1


def test_an_eta_in_another_zone_is_the_same_moment(store):
    eta = datetime(2031, 1, 1, 12, tzinfo=UTC)
    there = eta.astimezone(ZoneInfo("Asia/Kolkata"))
    one, other = job(due=there.timestamp()), job(due=there.timestamp())

    store.submit([one], [], lambda created: None)
    store.submit([other, job()], [], lambda created: None)

    assert {row.eta for row in store.fetch([one.id, other.id]).values()} == {eta}


def test_unknown_ids_are_left_out(store):
    known = job()
    store.submit([known], [], lambda created: None)

    assert store.fetch([known.id, "nobody"]).keys() == {known.id}
    assert store.fetch([]) == {}


def test_any_number_of_jobs_is_written_and_read(store):
    jobs = [job(group_id="many") for _ in range(12_345)]

    store.submit(jobs, [], lambda created: None)

    assert len(store.fetch([each.id for each in jobs])) == len(jobs)
    assert store.group("many") == [each.id for each in jobs]


@pytest.mark.parametrize("ids", [["a", "a"], ["taken"], ["a", "taken", "b"]])
def test_an_id_that_is_taken_is_named_and_nothing_is_written(store, ids):
    told: list[float] = []
    store.submit([job("taken")], [], lambda created: None)

    with pytest.raises(DuplicateTaskId) as caught:
        store.submit([job(id) for id in ids], [], told.append)

    assert caught.value.job_id == ("a" if "taken" not in ids else "taken")
    assert store.fetch(["a", "b"]) == {}
    assert told == []


def test_a_group_is_listed_in_the_order_of_submission(store):
    ids = ["z", "b", "a", "y"]
    store.submit([job(id, group_id="group") for id in ids], [], lambda created: None)
    store.submit([job("c", group_id="group"), job()], [], lambda created: None)

    assert store.group("group") == [*ids, "c"]
    assert store.group("none") == []


def test_a_group_is_counted_by_state(ledger):
    jobs = [job(group_id="group") for _ in range(5)]
    ledger.submit(*jobs, job())
    ledger.run(*jobs[:2])

    assert ledger.store.count_states("group") == {SUCCESS: 2, PENDING: 3}
    assert ledger.store.count_states("none") == {}


def test_nobody_leads_a_new_ledger(store):
    assert store.lease() is None


def test_every_field_reaches_the_runner(ledger):
    written = job(
        queue="slow",
        priority=3,
        payload=bytes(range(256)),
        acks_late=True,
        ignore_result=True,
        root_id="root",
        parent_id="parent",
        group_id="group",
        shape=Shape.NOTHING,
        expires=2e9 + 0.25,
        graph=True,
        options=b"joptions",
    )
    ledger.submit(written)

    (call,) = ledger.calls()

    assert call._replace(created=0.0) == (
        *(written.id, written.task, 1, 0, "slow", 3, 0.0, None, True, True, 0),
        *("root", "parent", "group", Shape.NOTHING, bytes(range(256))),
        *(2e9 + 0.25, True, b"joptions", "", (), False),
    )
    assert call.created == pytest.approx(ledger.fetch(written).created.timestamp(), abs=1e-5)


# What only a database can do: be part of a transaction.


def plans():
    header, body, edges = chord(2)
    return [pytest.param([job()], [], id="lone"), pytest.param([*header, body], edges, id="chord")]


@pytest.mark.parametrize(("jobs", "edges"), plans())
def test_a_rollback_submits_nothing_and_tells_nobody(alias, jobs, edges):
    store, told = OrmStore(alias), []

    with transaction.atomic(using=alias):
        store.submit(jobs, edges, told.append)
        assert store.fetch([jobs[0].id])
        transaction.set_rollback(True, using=alias)

    assert store.fetch([each.id for each in jobs]) == {}
    assert told == []


@pytest.mark.parametrize(("jobs", "edges"), plans())
def test_after_is_called_once_when_the_transaction_commits(alias, jobs, edges):
    store, told = OrmStore(alias), []

    with transaction.atomic(using=alias):
        store.submit(jobs, edges, told.append)
        assert told == []

    assert len(told) == 1
    assert len(store.fetch([each.id for each in jobs])) == len(jobs)


@pytest.mark.parametrize("ids", [["taken"], ["a", "taken"]])
def test_a_taken_id_leaves_the_transaction_usable(alias, ids):
    store, told = OrmStore(alias), []
    store.submit([job("taken")], [], lambda created: None)

    with transaction.atomic(using=alias):
        with pytest.raises(DuplicateTaskId):
            store.submit([job(id) for id in ids], [], told.append)
        store.submit([job("b")], [], told.append)

    assert store.fetch(["a", "b"]).keys() == {"b"}
    assert len(told) == 1


def test_who_commits_by_hand_is_told_nothing(alias):
    store, told = OrmStore(alias), []

    transaction.set_autocommit(False, using=alias)
    try:
        store.submit([job("mine")], [], told.append)
        transaction.commit(using=alias)
    finally:
        transaction.set_autocommit(True, using=alias)

    assert store.fetch(["mine"])
    assert told == []


def test_a_lone_job_takes_one_statement(alias, django_assert_num_queries):
    with django_assert_num_queries(1, connection=connections[alias]):
        OrmStore(alias).submit([job()], [], lambda created: None)


def test_the_rows_of_one_plan_are_created_at_about_one_moment(alias):
    store = OrmStore(alias)
    jobs = [job() for _ in range(100)]

    store.submit(jobs, [], lambda created: None)

    times = [row.created for row in store.fetch([each.id for each in jobs]).values()]
    assert max(times) - min(times) < timedelta(milliseconds=1)


def test_disconnecting_closes_the_connection_but_not_an_open_transaction(alias):
    store = OrmStore(alias)
    with transaction.atomic(using=alias):
        store.submit([job("mine")], [], lambda created: None)
        store.disconnect()
    assert store.fetch(["mine"])

    store.disconnect()

    assert connections[alias].connection is None
