"""What others than its worker say of a job, and how they let one end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from dask_facade.jobs import ABORT, FORGET, Ending, Job, Saying
from dask_facade.ledger.store import JobStore
from dask_facade.messages import Edge, Shape, Update
from dask_facade.states import (
    ABORTED,
    FAILURE,
    PENDING,
    RECEIVED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from tests.db.plans import Led, again, edge, end, job, ready


def say(ledger: Led, *sayings: Saying) -> set[str]:
    return ledger.desk.say(ledger.epoch, sayings)


def seen(ledger: Led, of: Any) -> tuple[str, str]:
    row = ledger.fetch(of)
    return row.state, row.said


def test_what_is_said_of_a_job_stands_beside_its_state(ledger: Led) -> None:
    waiting, held, over = job(), job(), job()
    ledger.submitted(waiting, held, over)
    ledger.claim(held, over)
    ledger.end(over)

    told = [Saying(each.id, "BEHIND", b"j1", "1") for each in (waiting, held, over)]
    moved = say(ledger, *told, Saying("nobody", "BEHIND", b"", ""))

    assert moved == {waiting.id, held.id}
    rows = [ledger.fetch(each) for each in (waiting, held, over)]
    assert [(row.state, row.said, row.meta) for row in rows] == [
        (PENDING, "BEHIND", b"j1"),
        (RECEIVED, "BEHIND", b"j1"),
        (SUCCESS, "", None),
    ]


def test_a_text_that_does_not_fit_is_left_out(ledger: Led) -> None:
    waiting = job()
    ledger.submit(waiting)

    assert say(ledger, Saying(waiting.id, "x" * 65, b"", "")) == set()


def test_that_a_job_is_aborted_stands_until_it_ends(ledger: Led) -> None:
    one = job()
    ledger.submitted(one)
    say(ledger, Saying(one.id, ABORTED, b"", ""))

    ledger.claim(one)
    assert seen(ledger, one) == (RECEIVED, ABORTED)
    ledger.desk.update(ledger.epoch, [Update(one.id, 1, 1, STARTED, b"j{}", "")])
    assert seen(ledger, one) == (STARTED, ABORTED)
    ledger.release(one)
    assert seen(ledger, one) == (PENDING, ABORTED)
    ledger.claim(one, hand=2)
    ledger.end(one, state=RETRY, hand=2)
    assert seen(ledger, one) == (RETRY, ABORTED)
    ledger.claim(one, attempt=2, hand=3)
    ledger.end(one, attempt=2, hand=3)
    assert seen(ledger, one) == (SUCCESS, "")


def test_what_else_was_said_ends_with_the_attempt(ledger: Led) -> None:
    one = job()
    ledger.submitted(one)
    ledger.claim(one)
    say(ledger, Saying(one.id, "BEHIND", b"j1", "1"))

    ledger.release(one)

    row = ledger.fetch(one)
    assert (row.state, row.said, row.meta) == (PENDING, "", None)


def test_a_job_that_waits_for_its_retry_keeps_its_exception(ledger: Led) -> None:
    one = job()
    ledger.submitted(one)
    ledger.claim(one)
    ledger.end(one, state=RETRY)

    say(ledger, Saying(one.id, ABORTED, b"", ""))

    assert ledger.fetch(one).result_preview == "ValueError('no')"


@pytest.mark.parametrize("state", [SUCCESS, FAILURE, REVOKED])
def test_a_job_in_flight_ends_as_others_say(ledger: Led, state: str) -> None:
    parent, child = job(), job(shape=Shape.FIRST)
    ledger.submitted(parent, child, edges=[edge(parent, child)])
    ledger.claim(parent)

    written = ledger.desk.end(ledger.epoch, [Ending(parent.id, state, b"j5", "5", "why")])
    late = ledger.write(outcomes=[end(parent)])

    row = ledger.fetch(parent)
    assert (row.state, row.result, row.result_preview, row.traceback) == (state, b"j5", "5", "why")
    assert [each.id for each in written.outcomes] == [parent.id]
    assert (ready(written) == [child.id]) is (state == SUCCESS)
    assert ledger.states(child) == [PENDING if state == SUCCESS else FAILURE]
    assert late.outcomes == ()


@pytest.mark.parametrize("state", [SUCCESS, FAILURE, REVOKED])
@pytest.mark.parametrize("before", [PENDING, RETRY])
def test_a_job_that_waits_ends_as_others_say(ledger: Led, before: str, state: str) -> None:
    parent, child = job(), job(shape=Shape.FIRST)
    ledger.submitted(parent, child, edges=[edge(parent, child)])
    attempt, hand = 1, 0
    if before == RETRY:
        ledger.run(parent, state=RETRY, again=again(60.0))
        attempt, hand = 2, 1

    written = ledger.desk.end(ledger.epoch, [Ending(parent.id, state, b"j5", "5", "why")])
    late = ledger.claim(parent, attempt=attempt, hand=hand + 1)

    row = ledger.fetch(parent)
    assert (row.state, row.result, row.result_preview, row.traceback) == (state, b"j5", "5", "why")
    assert [each.id for each in written.outcomes] == [parent.id]
    assert (ready(written) == [child.id]) is (state == SUCCESS)
    assert late.claimed == ()
    assert parent.id not in ledger.take_up()


def test_one_that_waits_for_others_ends_before_them(ledger: Led) -> None:
    parent, child = job(), job(shape=Shape.FIRST)
    ledger.submitted(parent, child, edges=[edge(parent, child)])

    ledger.desk.end(ledger.epoch, [Ending(child.id, SUCCESS, b"j5", "5", None)])
    written = ledger.run(parent)

    assert written.ready == ()
    assert ledger.states(parent, child) == [SUCCESS, SUCCESS]
    assert ledger.fetch(child).result == b"j5"


def test_one_that_has_ended_and_one_that_nobody_knows_do_not_end(ledger: Led) -> None:
    over = job()
    ledger.submitted(over)
    ledger.run(over)

    endings = [Ending(id, FAILURE, b"j5", "5", None) for id in (over.id, "nobody")]

    assert ledger.desk.end(ledger.epoch, endings).outcomes == ()
    assert ledger.states(over) == [SUCCESS]


def test_it_is_known_what_was_asked_for(ledger: Led) -> None:
    ledger.store.request(ABORT, ["a"], {})

    assert ledger.store.asked(ABORT, "a")
    assert not ledger.store.asked(FORGET, "a")
    assert not ledger.store.asked(ABORT, "b")


@pytest.mark.parametrize("state", [SUCCESS, FAILURE, REVOKED, RETRY])
def test_a_job_that_nobody_runs_is_written_as_it_is(
    store: JobStore, ledger: Led, state: str
) -> None:
    made = Job(
        "a",
        task="shop.tasks.add",
        state=state,
        attempt=2,
        queue="celery",
        arguments="1, 2",
        result=b"j3",
        result_preview="3",
        traceback="why",
        worker="w1@host",
    )

    assert store.record(made)

    row = store.fetch(["a"])["a"]
    kept = ("id", "task", "state", "attempt", "queue", "arguments", "result", "traceback", "worker")
    assert [getattr(row, each) for each in kept] == [getattr(made, each) for each in kept]
    assert (row.finished is None) is (state == RETRY)
    assert ledger.take_up() == []


def test_one_that_nobody_runs_is_written_again_until_it_has_ended(
    store: JobStore, ledger: Led
) -> None:
    made = Job("a", task="shop.tasks.add", state=RETRY, said="BEHIND", meta=b"j1")
    later = replace(made, said="AHEAD", meta=b"j2")
    over = replace(made, state=SUCCESS, said="", meta=None, result=b"j3", result_preview="3")

    assert [store.record(each) for each in (made, later)] == [True, True]
    row = store.fetch(["a"])["a"]
    assert (row.state, row.said, row.meta, row.finished) == (RETRY, "AHEAD", b"j2", None)
    assert [store.record(each) for each in (over, later)] == [True, False]
    row = store.fetch(["a"])["a"]
    assert (row.state, row.said, row.result, row.meta) == (SUCCESS, "", b"j3", None)
    assert row.finished is not None


def test_where_others_depend_on_it_the_leader_ends_it(store: JobStore, ledger: Led) -> None:
    made = Job("a", task="shop.tasks.add", state=RETRY, said="BEHIND")
    store.record(made)
    child = job(shape=Shape.FIRST)
    ledger.submitted(child, edges=[Edge("a", child.id, 0, takes_result=True)])

    assert not store.record(replace(made, state=SUCCESS, said="", result=b"j3"))
    written = ledger.desk.end(ledger.epoch, [Ending("a", SUCCESS, b"j3", "3", None)])

    assert ready(written) == [child.id]
    assert store.fetch(["a"])["a"].result == b"j3"


def test_a_job_that_somebody_runs_or_will_run_is_not_written_over(
    store: JobStore, ledger: Led
) -> None:
    waiting, held, retried = job(), job(), job()
    ledger.submitted(waiting, held, retried)
    ledger.claim(held)
    ledger.run(retried, state=RETRY)
    jobs = (waiting, held, retried)

    written = [store.record(Job(each.id, task="t", state=SUCCESS)) for each in jobs]

    assert written == [False] * 3
    assert ledger.states(*jobs) == [PENDING, RECEIVED, RETRY]
