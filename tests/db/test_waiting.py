"""What a leader tells of calls that nobody has, and which of them can be dropped."""

from __future__ import annotations

import time

from dask_facade.states import FAILURE, RETRY
from tests.db.plans import chain, job


def later(ledger, limit=10):
    return [call.id for call in ledger.desk.later(limit)]


def idle(ledger, limit=10):
    return list(ledger.desk.idle(limit))


def test_calls_that_wait_for_their_time_are_told_the_nearest_first(ledger):
    now = time.time()
    far, near, past = job(due=now + 500), job(due=now + 100), job(due=now - 1)
    ledger.submit(far, near, past, job())

    assert later(ledger) == [near.id, far.id]
    assert later(ledger, limit=1) == [near.id]
    (call, _) = ledger.desk.later(10)
    assert (call.task, call.payload, call.queue) == (near.task, near.payload, near.queue)
    assert abs(call.due - near.due) < 1e-5


def test_what_was_taken_up_is_not_told(ledger):
    made = job(due=time.time() + 1)
    ledger.submit(made)

    assert ledger.take_up(horizon=2) == [made.id]

    assert later(ledger) == []


def test_calls_that_wait_for_a_runner_or_their_time_can_be_dropped(ledger):
    new, due, taken, claimed = job(), job(due=time.time() + 100), job(), job()
    ledger.submit(taken)
    assert ledger.take_up() == [taken.id]
    ledger.submit(new)
    ledger.submit(due)
    ledger.submit(claimed)
    ledger.claim(claimed)

    assert idle(ledger) == [taken.id, new.id, due.id]
    assert idle(ledger, limit=2) == [taken.id, new.id]


def test_what_is_dropped_may_be_of_some_queues_alone(ledger):
    mail, slow, other = job(queue="mail"), job(queue="slow"), job()
    ledger.submit(mail, slow, other)

    assert list(ledger.desk.idle(10, ["mail", "slow", "unheard of"])) == [mail.id, slow.id]
    assert list(ledger.desk.idle(1, ["mail", "slow"])) == [mail.id]
    assert list(ledger.desk.idle(10, [])) == []


def test_what_waits_for_others_is_kept_until_they_have_ended(ledger):
    (first, second), edges = chain(2)
    ledger.submit(first, second, edges=edges)
    assert idle(ledger) == [first.id]

    ledger.claim(first)
    ledger.end(first)

    assert idle(ledger) == [second.id]


def test_what_follows_futures_or_is_tried_again_is_kept(ledger):
    graph, again, over = job(graph=True), job(), job()
    ledger.submit(graph, again, over)
    for each, state in ((again, RETRY), (over, FAILURE)):
        ledger.claim(each)
        ledger.end(each, state=state)

    assert idle(ledger) == []
