"""What running calls submit and say, and what people ask of a leader."""

from __future__ import annotations

import pytest
from django.db import transaction

from dask_facade.exceptions import LedgerBusy, TaskRevokedError
from dask_facade.ledger.orm import OrmStore
from dask_facade.messages import (
    DUPLICATE,
    INVALID,
    SUPERSEDED,
    Shape,
    Spawn,
    Update,
)
from dask_facade.packing import pack_jobs
from dask_facade.serialization import load_exception
from dask_facade.states import FAILURE, PENDING, RECEIVED, RETRY, REVOKED, STARTED, SUCCESS
from tests.db.conftest import on_postgres
from tests.db.plans import chain, chord, edge, failed, job, ready


def running(ledger, **fields):
    made = job(**fields)
    ledger.submit(made)
    ledger.claim(made)
    return made


# Spawned


def child_of(parent, **fields):
    return job(parent_id=parent.id, root_id=parent.id, **fields)


def spawn(parent, *jobs, edges=(), number=1, again=False, attempt=1, hand=1):
    return Spawn(number, again, parent.id, attempt, hand, jobs, edges)


def test_what_a_running_call_submits_is_written_in_its_order(ledger):
    parent = running(ledger)
    first, second = child_of(parent, group_id="g"), child_of(parent)
    alone = child_of(parent)

    answers = ledger.desk.spawn(
        ledger.epoch,
        [
            spawn(parent, first, second, edges=[edge(first, second)]),
            spawn(parent, alone, number=2),
        ],
    )

    assert [(answer.number, answer.refusal) for answer in answers] == [(1, ""), (2, "")]
    created = ledger.fetch(first).created.timestamp()
    assert answers[0].created == pytest.approx(created, abs=1e-5)
    children = [(first.id, "g"), (second.id, None), (alone.id, None)]
    assert ledger.store.children(parent.id) == children
    assert sorted(ledger.take_up()) == sorted([first.id, alone.id])
    assert ready(ledger.run(first)) == [second.id]


@pytest.mark.parametrize(("attempt", "hand"), [(1, 0), (2, 1), (1, 2)])
def test_a_superseded_attempt_submits_nothing(ledger, attempt, hand):
    parent = running(ledger)
    child = child_of(parent)

    (answer,) = ledger.desk.spawn(ledger.epoch, [spawn(parent, child, attempt=attempt, hand=hand)])

    assert (answer.refusal, answer.reason) == (SUPERSEDED, parent.id)
    assert ledger.store.fetch([child.id]) == {}


@pytest.mark.parametrize("state", [SUCCESS, RETRY, None])
def test_only_a_call_in_flight_submits(ledger, state):
    parent = running(ledger)
    if state is None:
        parent = job()  # nobody knows it
    else:
        ledger.end(parent, state=state)

    (answer,) = ledger.desk.spawn(ledger.epoch, [spawn(parent, child_of(parent))])

    assert answer.refusal == SUPERSEDED


@pytest.mark.parametrize("again", [True, False])
def test_a_taken_id_refuses_all_of_its_spawn_and_no_other(ledger, again):
    parent = running(ledger)
    taken = job()
    ledger.submit(taken)
    bad, good = child_of(parent), child_of(parent)

    answers = ledger.desk.spawn(
        ledger.epoch,
        [
            spawn(parent, bad, taken, again=again),
            spawn(parent, good, number=2),
            spawn(parent, child_of(parent, id="twice"), child_of(parent, id="twice"), number=3),
        ],
    )

    refusals = [(answer.refusal, answer.reason) for answer in answers]
    assert refusals == [(DUPLICATE, taken.id), ("", ""), (DUPLICATE, "twice")]
    assert ledger.store.fetch([bad.id, good.id, "twice"]).keys() == {good.id}


def test_what_was_written_before_the_line_was_lost_is_written_once(ledger):
    parent = running(ledger)
    steps = [child_of(parent), job(shape=Shape.FIRST)]
    steps[1] = steps[1]._replace(parent_id=steps[0].id)
    said = spawn(parent, *steps, edges=[edge(*steps)])

    (first,) = ledger.desk.spawn(ledger.epoch, [said])
    (again,) = ledger.desk.spawn(ledger.epoch, [said._replace(again=True)])
    (not_again,) = ledger.desk.spawn(ledger.epoch, [said])
    ledger.end(parent)
    (late,) = ledger.desk.spawn(ledger.epoch, [said._replace(again=True)])

    assert (first.refusal, again.refusal, late.refusal) == ("", "", "")
    assert again.created == pytest.approx(first.created, abs=1e-5)
    assert not_again.refusal == DUPLICATE
    assert ledger.take_up() == [steps[0].id]
    assert len(ledger.run(steps[0]).ready) == 1


def test_a_repeat_in_the_same_transaction_is_known(ledger):
    parent = running(ledger)
    said = spawn(parent, child_of(parent))

    first, again = ledger.desk.spawn(ledger.epoch, [said, said._replace(again=True)])

    assert (first.refusal, again.refusal) == ("", "")
    assert again.created == first.created


@pytest.mark.parametrize("fields", [{"task": "a\0b"}, {"queue": ""}, {"priority": 2**40}])
def test_what_cannot_be_kept_is_invalid_and_stops_no_other(ledger, fields):
    parent = running(ledger)
    good = child_of(parent)

    answers = ledger.desk.spawn(
        ledger.epoch, [spawn(parent, child_of(parent, **fields)), spawn(parent, good, number=2)]
    )

    assert [answer.refusal for answer in answers] == [INVALID, ""]
    assert ledger.states(good) == [PENDING]


@on_postgres
def test_a_client_that_writes_the_same_id_makes_the_leader_busy(orm_ledger, alias):
    parent = running(orm_ledger)
    child = child_of(parent)

    with transaction.atomic(using=alias):
        OrmStore(alias).submit([child._replace(parent_id=None)], [], lambda created: None)
        with pytest.raises(LedgerBusy):
            orm_ledger.desk.spawn(orm_ledger.epoch, [spawn(parent, child)])

    (answer,) = orm_ledger.desk.spawn(orm_ledger.epoch, [spawn(parent, child)])
    assert answer.refusal == DUPLICATE


# Said


def say(ledger, made, *states, attempt=1, hand=1, meta=b"j1"):
    updates = [Update(made.id, attempt, hand, state, meta, "words") for state in states]
    ledger.desk.update(ledger.epoch, updates)


def test_a_call_says_that_it_has_begun(ledger):
    made = running(ledger)

    say(ledger, made, STARTED, meta=b"")

    row = ledger.fetch(made)
    assert (row.state, row.said, row.meta) == (STARTED, "", None)
    assert [outcome.id for outcome in ledger.end(made).outcomes] == [made.id]


def test_a_state_of_its_own_stands_beside_the_state(ledger):
    made = running(ledger)

    say(ledger, made, STARTED, "HALF", "PROGRESS", meta=b"j[1,2]")

    row = ledger.fetch(made)
    assert (row.state, row.said, row.meta) == (STARTED, "PROGRESS", b"j[1,2]")
    assert row.result_preview == "words"


@pytest.mark.parametrize("state", [SUCCESS, FAILURE])
def test_an_end_overwrites_what_was_said(ledger, state):
    made = running(ledger)
    say(ledger, made, "PROGRESS")

    ledger.end(made, state=state)
    say(ledger, made, "PROGRESS")  # late

    row = ledger.fetch(made)
    assert (row.state, row.said, row.meta) == (state, "", None)


def test_a_task_that_leaves_its_state_keeps_what_it_said(ledger):
    left, ended = running(ledger), running(ledger)
    for made in (left, ended):
        say(ledger, made, "LEFT", meta=b"j1")

    ledger.end(left, result=None, cut=True)
    ledger.end(ended, result=None)

    assert (ledger.fetch(left).state, ledger.fetch(left).said) == (SUCCESS, "LEFT")
    assert ledger.fetch(left).meta == b"j1"
    assert (ledger.fetch(ended).said, ledger.fetch(ended).meta) == ("", None)


def test_only_who_has_the_call_says_anything_of_it(ledger):
    made = running(ledger)

    say(ledger, made, "PROGRESS", attempt=2)
    say(ledger, made, "PROGRESS", hand=0)

    assert (ledger.fetch(made).said, ledger.states(made)) == ("", [RECEIVED])


def test_what_is_given_back_says_nothing_any_more(ledger):
    made = running(ledger)
    say(ledger, made, "PROGRESS")

    ledger.release(made)

    assert (ledger.fetch(made).said, ledger.fetch(made).meta) == ("", None)


@pytest.mark.parametrize("state", ["a\0b", "S" * 65, "\ud800"])
def test_a_state_that_cannot_be_kept_stops_no_other(ledger, state):
    made, other = running(ledger), running(ledger)

    ledger.desk.update(
        ledger.epoch,
        [Update(made.id, 1, 1, state, b"", ""), Update(other.id, 1, 1, "PROGRESS", b"", "")],
    )

    assert (ledger.fetch(made).said, ledger.fetch(other).said) == ("", "PROGRESS")


# Revoked


def test_a_waiting_job_is_revoked_and_what_waits_for_it_fails(ledger):
    back = job(shape=Shape.ERROR)
    steps, edges = chain(3)
    steps[1] = steps[1]._replace(errbacks=pack_jobs([back]))
    ledger.submitted(*steps, edges=edges)

    written, unknown = ledger.desk.revoke(ledger.epoch, [steps[0].id, "nobody"], "expired")

    assert [(end.id, end.state) for end in written.outcomes] == [(steps[0].id, REVOKED)]
    assert (failed(written), ready(written)) == ([steps[1].id, steps[2].id], [back.id])
    assert unknown == {"nobody"}
    assert ledger.states(*steps) == [REVOKED, FAILURE, FAILURE]
    for step in steps:
        error = load_exception(ledger.fetch(step).result)
        assert (type(error), str(error)) == (TaskRevokedError, "expired")
    assert ledger.claim(steps[0]).claimed == ()


def test_a_job_that_waits_for_its_next_attempt_is_revoked(ledger):
    made = running(ledger)
    ledger.end(made, state=RETRY)

    written, _ = ledger.desk.revoke(ledger.epoch, [made.id], "revoked")

    assert [(end.attempt, end.hand) for end in written.outcomes] == [(2, 1)]
    assert ledger.states(made) == [REVOKED]


def test_it_is_known_which_jobs_were_revoked_last(ledger):
    jobs = [job() for _ in range(4)]
    for made in jobs:
        ledger.submit(made)
    ledger.desk.revoke(ledger.epoch, [made.id for made in jobs[1:]], "revoked")

    assert ledger.desk.revoked(2) == [jobs[3].id, jobs[2].id]
    assert set(ledger.desk.revoked(9)) == {made.id for made in jobs[1:]}


def test_what_runs_or_has_ended_is_not_revoked_here(ledger):
    made, done = running(ledger), running(ledger)
    ledger.end(done)

    written, unknown = ledger.desk.revoke(ledger.epoch, [made.id, done.id], "revoked")

    assert (written.outcomes, unknown) == ((), set())
    assert ledger.states(made, done) == [RECEIVED, SUCCESS]


# Reopened


def test_a_failed_job_waits_again_with_all_that_failed_with_it(ledger):
    steps, edges = chain(3)
    other = job()
    ledger.submitted(*steps, other, edges=edges)
    ledger.run(steps[0], state=FAILURE)
    ledger.run(other, state=FAILURE)

    opened = ledger.desk.reopen(ledger.epoch, [steps[0].id, "nobody"])

    assert opened == {step.id for step in steps}
    assert ledger.states(*steps, other) == [PENDING] * 3 + [FAILURE]
    row = ledger.fetch(steps[1])
    assert (row.attempt, row.result, row.result_preview, row.traceback) == (2, None, "", None)
    assert (row.finished, row.started) == (None, None)
    (call,) = ledger.calls()
    assert (call.id, call.attempt, call.hand) == (steps[0].id, 2, 1)
    ledger.claim(steps[0], attempt=2, hand=2)
    written = ledger.end(steps[0], attempt=2, hand=2)
    assert ready(written) == [steps[1].id]


@pytest.mark.parametrize("state", [SUCCESS, RETRY])
def test_what_did_not_fail_is_not_reopened(ledger, state):
    made = running(ledger)
    ledger.end(made, state=state)

    assert ledger.desk.reopen(ledger.epoch, [made.id]) == set()
    assert ledger.states(made) == [state]


def test_what_failed_because_of_another_too_stays_as_it_is(ledger):
    left, right, child = job(), job(), job()
    ledger.submitted(left, right, child, edges=[edge(left, child), edge(right, child, 1)])
    ledger.claim(left, right)
    ledger.end(left, right, state=FAILURE)

    assert ledger.desk.reopen(ledger.epoch, [left.id]) == {left.id}
    assert ledger.desk.reopen(ledger.epoch, [right.id]) == {right.id, child.id}


def test_what_ran_and_failed_by_itself_is_not_reopened_with_its_parent(ledger):
    parent, child = job(), job()
    ledger.submit(parent)
    ledger.run(parent, state=FAILURE)
    ledger.submit(child)
    ledger.run(child, state=FAILURE)
    ledger.submit(edges=[edge(parent, child)])

    assert ledger.desk.reopen(ledger.epoch, [parent.id]) == {parent.id}


def test_a_diamond_is_reopened_to_its_bottom(ledger):
    top, left, right, bottom = (job() for _ in range(4))
    edges = [edge(top, left), edge(left, right), edge(top, bottom), edge(right, bottom, 1)]
    ledger.submitted(top, left, right, bottom, edges=edges)
    ledger.run(top, state=FAILURE)

    opened = ledger.desk.reopen(ledger.epoch, [top.id])

    assert opened == {top.id, left.id, right.id, bottom.id}


def test_a_job_that_expired_is_reopened_without_that_time(ledger):
    late, early = job(expires=1e9), job(expires=4e9)
    ledger.submitted(late, early)
    ledger.desk.revoke(ledger.epoch, [late.id, early.id], "expired")

    ledger.desk.reopen(ledger.epoch, [late.id, early.id])

    assert {call.id: call.expires for call in ledger.calls()} == {late.id: None, early.id: 4e9}


# Forgotten


def test_jobs_that_have_ended_are_forgotten_with_the_edges_to_them(ledger):
    header, body, edges = chord(2)
    ledger.submitted(*header, body, edges=edges)
    ledger.run(*header)
    ledger.run(body)

    gone = ledger.desk.forget(ledger.epoch, [body.id, "nobody"])

    assert gone == {body.id}
    assert ledger.store.fetch([body.id]) == {}
    assert ledger.desk.inputs(body.id, 0, 100) == ([], 0)
    everything = [each.id for each in (*header, body)]
    assert ledger.desk.forget(ledger.epoch, everything) == {each.id for each in header}


def test_what_another_still_waits_for_is_not_forgotten(ledger):
    parent, child = job(), job(shape=Shape.FIRST)
    ledger.submitted(parent, child, edges=[edge(parent, child)])
    waiting = job()
    ledger.submit(waiting)
    ledger.run(parent)

    assert ledger.desk.forget(ledger.epoch, [parent.id, waiting.id]) == set()
    assert ledger.states(parent, waiting) == [SUCCESS, PENDING]


def test_an_id_that_was_forgotten_is_free(ledger):
    made = running(ledger, group_id="g", parent_id="p")
    ledger.end(made)

    ledger.desk.forget(ledger.epoch, [made.id])

    assert (ledger.store.group("g"), ledger.store.children("p")) == ([], [])
    ledger.submit(made)
    assert ledger.states(made) == [PENDING]


# Paused, announced


def test_paused_queues_are_kept_in_mind(ledger):
    desk, epoch = ledger.desk, ledger.epoch

    assert desk.paused() == set()
    for queue in ("slow", "fast", "slow"):
        desk.pause(epoch, queue, paused=True)
    assert desk.paused() == {"slow", "fast"}
    desk.pause(epoch, "slow", paused=False)
    desk.pause(epoch, "never", paused=False)
    assert desk.paused() == {"fast"}


def test_the_scheduler_is_announced_until_the_next_leader(ledger):
    desk, store = ledger.desk, ledger.store
    assert store.lease().scheduler == ""

    desk.announce(ledger.epoch, "tcp://scheduler:8786")

    assert store.lease().scheduler == desk.lease().scheduler == "tcp://scheduler:8786"
    assert desk.lead("second", (), b"", store.lease()).scheduler == ""
    desk.announce(2, "tcp://other:1")
    desk.resign(2)
    assert store.lease().scheduler == ""
