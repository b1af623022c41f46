"""What a leader finds in the ledger: waiting rows, those in flight, inputs, requests."""

from __future__ import annotations

import time

import pytest

from dask_facade.jobs import PAUSE, REVOKE
from dask_facade.messages import Shape
from dask_facade.states import PENDING, RECEIVED
from tests.db.plans import chain, chord, edge, failed, job, ready


def test_a_row_is_taken_up_once(ledger):
    made = job()
    ledger.submit(made)

    assert ledger.take_up() == [made.id]
    assert ledger.take_up() == []
    assert ledger.states(made) == [PENDING]


def test_a_fresh_row_is_left_to_its_hint(ledger):
    made = job()
    ledger.submit(made)

    assert ledger.take_up(grace=60) == []
    assert ledger.take_up(grace=0) == [made.id]


def test_a_row_claimed_by_its_hint_is_not_taken_up(ledger):
    made = job()
    ledger.submit(made)
    ledger.claim(made)

    assert ledger.take_up() == []
    ledger.release(made)
    assert ledger.take_up() == []  # the leader that gave it back has it


@pytest.mark.parametrize(("ahead", "taken"), [(-10, True), (1, True), (60, False)])
def test_a_row_with_an_eta_is_taken_up_when_that_is_near(ledger, ahead, taken):
    made = job(due=time.time() + ahead)
    ledger.submit(made)

    calls = ledger.calls(grace=60, horizon=2)

    assert [call.id for call in calls] == [made.id] * taken
    assert all(call.due == pytest.approx(made.due, abs=1e-5) for call in calls)


def test_better_priorities_come_first_then_older_rows(ledger):
    old = [job(priority=0), job(priority=9), job(priority=0)]
    due = job(priority=5, due=time.time() - 86_400)
    new = [job(priority=9), job(priority=-1)]
    ledger.submit(*old)
    ledger.submit(due)
    for each in new:
        ledger.submit(each)

    assert ledger.take_up() == [each.id for each in (old[1], new[0], due, old[0], old[2], new[1])]


def test_rows_of_one_submission_come_in_its_order_whenever_they_were_due(ledger):
    late, plain, later = job(due=time.time() - 60), job(), job(due=time.time() - 86_400)
    ledger.submit(late, plain, later)

    assert ledger.take_up() == [late.id, plain.id, later.id]


def test_what_waits_in_vain_fails_in_the_order_in_which_it_was_submitted(ledger):
    revoked = job()
    ledger.submitted(revoked)
    ledger.desk.revoke(ledger.epoch, [revoked.id], "no")
    late, plain = job(due=time.time() - 60, shape=Shape.FIRST), job(shape=Shape.FIRST)
    body = job(shape=Shape.LIST)
    edges = [edge(revoked, late), edge(revoked, plain), edge(plain, body), edge(late, body, 1)]
    ledger.submit(late, plain, body, edges=edges)

    written = ledger.taken()

    assert failed(written) == [late.id, plain.id, body.id]
    assert f"Dependency {late.id} raised" in ledger.fetch(body).result_preview


def test_no_more_are_taken_up_than_asked_for(ledger):
    jobs = [job(priority=-place) for place in range(5)]
    due = job(priority=-1, due=time.time() - 86_400)
    ledger.submit(*jobs, due)

    assert ledger.take_up(limit=2) == [jobs[0].id, jobs[1].id]
    assert set(ledger.take_up(limit=2)) == {due.id, jobs[2].id}
    assert ledger.take_up(limit=10) == [jobs[3].id, jobs[4].id]


def test_few_rows_are_taken_up_that_carry_much(ledger):
    large = [job(priority=-place, payload=b"j" * (6 * 2**20)) for place in range(5)]
    due = job(due=time.time() - 86_400, priority=-9, payload=b"j" * (6 * 2**20))
    ledger.submit(*large, due, job(priority=-10))

    first = ledger.taken()
    rest = []
    while (taken := ledger.taken()).more:
        rest += ready(taken)
    rest += ready(taken)

    assert ready(first) == [*(each.id for each in large[:3]), due.id]
    assert first.more
    assert [id for id in rest if id in {each.id for each in large}] == [large[3].id, large[4].id]
    assert len(rest) == 3


def test_rows_that_wait_for_others_are_taken_up_but_not_returned(ledger):
    steps, edges = chain(3)
    ledger.submit(*steps, edges=edges)

    assert ledger.take_up() == [steps[0].id]
    assert ledger.take_up() == []


def test_the_next_leader_finds_what_was_taken_up_but_not_handed_out(ledger):
    taken, handed, waiting = job(), job(), job()
    ledger.submitted(taken, handed, waiting, edges=[edge(taken, waiting)])
    ledger.claim(handed)

    ledger.desk.forget_taken(ledger.epoch)

    assert ledger.take_up() == [taken.id]
    assert ready(ledger.run(taken)) == [waiting.id]


def test_the_next_leader_finds_what_was_given_back(ledger):
    made = job()
    ledger.submit(made)
    ledger.claim(made)
    ledger.release(made, lost=2)

    ledger.desk.forget_taken(ledger.epoch)

    (call,) = ledger.calls()
    assert (call.id, call.hand, call.lost) == (made.id, 1, 2)


def test_the_next_leader_finds_the_children_that_were_ready(ledger):
    steps, edges = chain(2)
    ledger.submitted(*steps, edges=edges)
    ledger.run(steps[0], result=b"j6")

    ledger.desk.forget_taken(ledger.epoch)

    (call,) = ledger.calls()
    assert (call.id, call.inputs) == (steps[1].id, (b"j6",))


def test_calls_in_flight_are_told_with_who_has_them(ledger):
    steps, edges = chain(2)
    waiting, done = job(), job()
    ledger.submitted(*steps, waiting, done, edges=edges)
    ledger.run(done)
    ledger.run(steps[0], result=b"j6")
    ledger.claim(steps[1])

    ((call, runner, worker),) = ledger.desk.in_flight()

    assert (call.id, call.hand, call.inputs) == (steps[1].id, 1, (b"j6",))
    assert (runner, worker) == ("runner-1", "tcp://127.0.0.1:9")
    assert ledger.states(steps[1]) == [RECEIVED]


def test_inputs_come_in_slices_in_the_order_of_their_positions(ledger):
    header, body, edges = chord(5)
    edges = [
        edges[place]._replace(position=position) for place, position in enumerate([4, 0, 3, 1, 2])
    ]
    ledger.submitted(*header, body, edges=edges)
    for place, each in enumerate(header):
        ledger.run(each, result=b"j%d" % place + b"x" * 8)

    in_order = [b"j%d" % place + b"x" * 8 for place in (1, 3, 4, 2, 0)]
    inputs = ledger.desk.inputs
    assert inputs(body.id, 0, 1_000) == (in_order, 5)
    assert inputs(body.id, 0, 20) == (in_order[:2], 5)
    assert inputs(body.id, 2, 29) == (in_order[2:4], 5)
    assert inputs(body.id, 4, 1_000) == (in_order[4:], 5)
    assert inputs(body.id, 0, 1) == (in_order[:1], 5)  # one, however large
    assert inputs(body.id, 5, 1_000) == ([], 5)


def test_only_results_that_are_taken_count_as_inputs(ledger):
    header, body, edges = chord(3)
    edges[0] = edges[0]._replace(takes_result=False)
    ledger.submitted(*header, body, edges=edges)
    for place, each in enumerate(header):
        ledger.run(each, result=b"j%d" % place)

    assert ledger.desk.inputs(body.id, 0, 1_000) == ([b"j1", b"j2"], 2)


def test_a_list_of_no_results_has_no_inputs(ledger):
    body = job(shape=Shape.LIST)
    ledger.submit(body)

    (call,) = ledger.calls()

    assert call.inputs == ()
    assert ledger.desk.inputs(body.id, 0, 1_000) == ([], 0)


def test_requests_are_told_oldest_first_until_they_are_dropped(ledger):
    ledger.store.request(REVOKE, ["a"], {"terminate": True})
    ledger.store.request(PAUSE, ["slow"], {})
    ledger.store.request(REVOKE, ["b"], {})

    desk, epoch = ledger.desk, ledger.epoch
    first = desk.requests(epoch, 2)
    assert [asked[1:] for asked in first] == [
        (REVOKE, "a", {"terminate": True}),
        (PAUSE, "slow", {}),
    ]
    assert desk.requests(epoch, 2) == first  # they stay
    desk.drop_requests(epoch, [asked.number for asked in first])
    ((number, *third),) = desk.requests(epoch, 2)
    assert third == [REVOKE, "b", {}]
    desk.drop_requests(epoch, [number, *(asked.number for asked in first)])
    assert list(desk.requests(epoch, 2)) == []


# Queues that are left out, and what is left


def test_rows_of_some_queues_are_left_out_and_hold_no_others_back(ledger):
    before = time.time() - 86_400
    mail = [job(queue="mail", priority=9), job(queue="mail", due=before)]
    other, due = job(), job(due=before)
    ledger.submit(*mail, other, due)

    first = ledger.taken(limit=1, without=["mail"])
    second = ledger.taken(without=["mail"])

    assert sorted([*ids(first), *ids(second)]) == sorted([other.id, due.id])
    assert not ledger.taken(without=["mail", "celery"]).more
    assert sorted(ledger.take_up()) == sorted(each.id for each in mail)


def test_rows_that_wait_for_others_are_seen(ledger):
    steps, edges = chain(3)
    ledger.submit(*steps, edges=edges)

    assert ledger.taken(limit=2).more
    assert not ledger.taken(limit=2).more
    assert not ledger.taken(limit=2).more


def test_what_is_left_is_taken_up_again(ledger):
    left, taken, handed, waiting = job(), job(), job(), job()
    ledger.submitted(left, taken, handed, waiting, edges=[edge(taken, waiting)])
    ledger.claim(handed)

    ledger.write(left=[left.id, handed.id, waiting.id, "unknown"])

    assert ledger.take_up() == [left.id]
    assert ready(ledger.run(taken)) == [waiting.id]
    assert ledger.states(handed) == [RECEIVED]


def ids(written):
    return [call.id for call in written.ready]
