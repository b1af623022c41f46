"""Jobs that have not ended with an attempt: tried again, replaced, delayed, called back, cut."""

from __future__ import annotations

import logging
import time

import pytest

from dask_facade.exceptions import ChordError, LedgerRefused, TaskRevokedError
from dask_facade.jobs import Ending
from dask_facade.messages import Edge, Shape, Update
from dask_facade.packing import pack_jobs
from dask_facade.serialization import NONE, load_exception, load_reference
from dask_facade.states import FAILURE, PENDING, RECEIVED, RETRY, REVOKED, SUCCESS
from tests.db.plans import again, chain, chord, claim, edge, end, failed, job, ready


def running(ledger, **fields):
    made = job(**fields)
    ledger.submit(made)
    ledger.claim(made)
    return made


# Tried again


def test_a_retry_is_the_next_attempt_due_after_its_delay_by_the_clock_of_the_ledger(ledger):
    made = running(ledger)
    before = time.time()

    written = ledger.end(made, state=RETRY, finished=1e9, again=again(100, options=b"jnext"))

    row = ledger.fetch(made)
    assert (row.state, row.attempt, row.finished) == (RETRY, 2, None)
    assert (row.result, row.result_preview) == (b"cValueError", "ValueError('no')")
    assert row.eta.timestamp() == pytest.approx(before + 100, abs=5)
    assert (written.ready, ledger.take_up()) == ((), [])
    (call,) = ledger.calls(horizon=200)
    assert (call.id, call.attempt, call.hand, call.options) == (made.id, 2, 1, b"jnext")
    assert ledger.claim(made, attempt=2, hand=2).claimed == ((made.id, 2),)


def test_a_retry_that_is_due_soon_is_told_at_once(ledger):
    made = running(ledger)

    (call,) = ledger.end(made, state=RETRY, again=again(0.5)).ready

    assert (call.id, call.attempt, call.hand) == (made.id, 2, 1)
    assert call.due == pytest.approx(ledger.fetch(made).eta.timestamp(), abs=1e-5)
    assert ledger.take_up() == []


def test_a_retry_gets_what_its_job_took(ledger):
    steps, edges = chain(2)
    ledger.submitted(*steps, edges=edges)
    ledger.run(steps[0], result=b"j7")
    ledger.claim(steps[1])

    (call,) = ledger.end(steps[1], state=RETRY).ready

    assert call.inputs == (b"j7",)


def test_a_retry_with_other_arguments_takes_nothing_more(ledger):
    steps, edges = chain(2)
    ledger.submitted(*steps, edges=edges)
    ledger.run(steps[0], result=b"j7")
    ledger.claim(steps[1])

    other = steps[1]._replace(payload=b"j[[7,8],{}]", preview="7, 8", shape=Shape.NOTHING)
    (call,) = ledger.end(steps[1], state=RETRY, again=again(becomes=[other])).ready

    assert (call.payload, call.inputs) == (b"j[[7,8],{}]", ())
    assert ledger.fetch(steps[1]).arguments == "7, 8"
    assert ledger.desk.inputs(steps[1].id, 0, 100) == ([], 0)


def test_what_a_job_said_is_not_said_of_its_next_attempt(ledger):
    made = running(ledger)
    say(ledger, made, "PROGRESS", b"j1")

    ledger.end(made, state=RETRY)

    row = ledger.fetch(made)
    assert (row.said, row.meta) == ("", None)


def say(ledger, made, state, meta):
    ledger.desk.update(ledger.epoch, [Update(made.id, 1, 1, state, meta, "words")])


# Replaced


def test_a_replaced_job_goes_on_as_another_under_its_own_id(ledger):
    made = running(ledger, group_id="group", owner="7", root_id="root")
    other = job(
        "ignored",
        task="other",
        queue="slow",
        priority=5,
        payload=b"j[[9],{}]",
        preview="9",
        expires=4e9,
        acks_late=True,
        options=b"jother",
    )

    (call,) = ledger.end(made, state=PENDING, again=again(becomes=[other])).ready

    assert (call.id, call.attempt, call.hand, call.due) == (made.id, 2, 1, None)
    assert (call.task, call.queue, call.priority) == ("other", "slow", 5)
    assert (call.payload, call.options, call.expires) == (b"j[[9],{}]", b"jother", 4e9)
    assert (call.acks_late, call.root_id, call.group_id) == (True, "root", "group")
    row = ledger.fetch(made)
    assert (row.state, row.task, row.arguments, row.owner) == (PENDING, "other", "9", "7")
    assert (row.result, row.result_preview, row.started) == (None, "", None)


def test_a_job_replaced_by_a_chord_waits_for_its_header(ledger):
    first, made, after = job(), job(shape=Shape.FIRST), job(shape=Shape.FIRST)
    ledger.submitted(first, made, after, edges=[edge(first, made), edge(made, after)])
    ledger.run(first, result=b"j0")
    ledger.claim(made)
    header, body, edges = chord(3)
    edges = [each._replace(child_id=made.id) for each in edges]

    written = ledger.end(made, state=PENDING, again=again(becomes=[body], jobs=header, edges=edges))

    assert sorted(ready(written)) == sorted(each.id for each in header)
    ledger.run(header[0], result=b"j1")
    ledger.run(header[1], result=b"j2")
    (call,) = ledger.run(header[2], result=b"j3").ready
    assert (call.id, call.attempt, call.shape) == (made.id, 2, Shape.LIST)
    assert ledger.desk.inputs(made.id, 0, 100) == ([b"j1", b"j2", b"j3"], 3)


def test_what_waits_for_a_replaced_job_gets_the_result_of_what_it_became(ledger):
    steps, edges = chain(2)
    ledger.submitted(*steps, edges=edges)
    ledger.claim(steps[0])

    assert ready(ledger.end(steps[0], state=PENDING, again=again(becomes=[job()]))) == [steps[0].id]
    ledger.claim(steps[0], attempt=2, hand=2)
    (call,) = ledger.end(steps[0], attempt=2, hand=2, result=b"j5").ready

    assert (call.id, call.inputs) == (steps[1].id, (b"j5",))


def test_a_job_that_ends_in_the_batch_of_its_replacement_is_not_counted_twice(ledger):
    """The replaced job is counted once its new parents are, and not lowered by them again."""
    done, waits, made = running(ledger), job(), running(ledger)
    ledger.submit(waits)
    edges = [Edge(done.id, made.id, 0, False), Edge(waits.id, made.id, 1, False)]

    written = ledger.write(
        outcomes=[end(made, PENDING, again=again(becomes=[job()], edges=edges)), end(done)]
    )

    assert written.ready == ()
    assert ready(ledger.run(waits)) == [made.id]


def test_a_replacement_whose_ids_are_taken_is_refused_whole(ledger):
    made, other, taken = running(ledger), running(ledger), job()
    ledger.submit(taken)

    with pytest.raises(LedgerRefused, match=taken.id):
        ledger.write(
            outcomes=[end(other), end(made, PENDING, again=again(jobs=[job("fresh"), taken]))]
        )

    assert ledger.states(made, other) == [RECEIVED, RECEIVED]
    assert ledger.store.fetch(["fresh"]) == {}


def test_a_replacement_that_comes_twice_is_written_once(ledger):
    made, beside = running(ledger), job()
    said = end(made, PENDING, again=again(becomes=[job()], jobs=[beside]))

    first, second = ledger.write(outcomes=[said]), ledger.write(outcomes=[said])

    assert first.outcomes == (said,)
    assert (second.outcomes, second.ready) == ((), ())
    assert ledger.fetch(made).attempt == 2


# Delayed


def test_the_delay_of_a_step_begins_when_it_waits_for_nothing(ledger):
    parent, child = job(), job(delay=50.0)
    ledger.submitted(parent, child, edges=[edge(parent, child)])

    before = time.time()
    (call,) = ledger.run(parent).ready

    assert call.due == pytest.approx(before + 50, abs=5)
    assert ledger.fetch(child).eta.timestamp() == pytest.approx(call.due, abs=1e-5)
    ledger.desk.forget_taken(ledger.epoch)
    assert ledger.take_up() == []
    (found,) = ledger.calls(horizon=60)
    assert found.due == pytest.approx(call.due, abs=1e-5)  # once


def test_the_delay_of_a_job_that_waits_for_nothing_begins_when_it_is_taken_up(ledger):
    made = job(delay=50.0)
    ledger.submit(made)

    before = time.time()
    (call,) = ledger.calls()

    assert call.due == pytest.approx(before + 50, abs=5)


# Called back


def errback(id="", **fields):
    return job(id, shape=Shape.ERROR, **fields)


def test_a_failure_calls_back_with_what_failed(ledger):
    back = errback(options=b"jback")
    made = running(ledger, errbacks=pack_jobs([back]), payload=b"j[[5],{}]")

    (call,) = ledger.end(made, state=FAILURE, result=b"cX", traceback="T é").ready

    assert (call.id, call.parent_id, call.options) == (back.id, made.id, b"jback")
    told = (made.id.encode(), b"cX", "T é".encode(), made.task.encode(), b"j[[5],{}]")
    assert call.inputs == told
    assert ledger.store.children(made.id) == [(back.id, None)]
    ledger.desk.forget_taken(ledger.epoch)
    (found,) = ledger.calls()
    assert (found.id, found.inputs) == (back.id, told)


@pytest.mark.parametrize("state", [SUCCESS, REVOKED, RETRY])
def test_nothing_else_calls_back(ledger, state):
    back = errback()
    made = running(ledger, errbacks=pack_jobs([back]))

    assert back.id not in ready(ledger.end(made, state=state))
    assert ledger.store.fetch([back.id]) == {}


def test_an_error_callback_that_a_chain_shares_is_called_once(ledger):
    back = errback()
    steps, edges = chain(3)
    steps = [step._replace(errbacks=pack_jobs([back])) for step in steps]
    ledger.submitted(*steps, edges=edges)

    written = ledger.run(steps[0], state=FAILURE)

    assert failed(written) == [steps[1].id, steps[2].id]
    assert [(call.id, call.parent_id) for call in written.ready] == [(back.id, steps[0].id)]


def test_dependants_that_fail_call_back_too(ledger):
    own = errback()
    parent, child = job(), job(errbacks=pack_jobs([own]))
    ledger.submitted(parent, child, edges=[edge(parent, child)])

    (call,) = ledger.run(parent, state=FAILURE, result=b"cX").ready

    assert (call.id, call.parent_id, call.inputs[:2]) == (
        own.id,
        child.id,
        (child.id.encode(), b"cX"),
    )


def test_a_step_of_a_chain_calls_back_for_its_own_failure_alone(ledger):
    own = errback()
    own = own._replace(shape=own.shape | Shape.OWN)
    first, second = job(), job(errbacks=pack_jobs([own]))
    ledger.submitted(first, second, edges=[edge(first, second)])

    assert not ledger.run(first, state=FAILURE).ready
    assert ledger.store.fetch([own.id]) == {}


def test_that_callback_is_made_without_the_mark(ledger):
    own = errback()
    made = running(ledger, errbacks=pack_jobs([own._replace(shape=own.shape | Shape.OWN)]))

    (call,) = ledger.end(made, state=FAILURE, result=b"cX").ready

    assert (call.id, call.shape) == (own.id, Shape.ERROR)


def test_dependants_that_are_found_to_fail_call_back_and_are_told(ledger):
    back = errback()
    parent = running(ledger)
    ledger.end(parent, state=FAILURE)
    child = job(errbacks=pack_jobs([back]))
    ledger.submit(child, edges=[edge(parent, child)])

    taken = ledger.taken()

    assert failed(taken) == [child.id]
    assert ready(taken) == [back.id]


def test_error_callbacks_that_cannot_be_read_stop_nothing(ledger, caplog):
    made = running(ledger, errbacks=b"\x91\x01")

    with caplog.at_level(logging.ERROR):
        written = ledger.end(made, state=FAILURE)

    assert (ledger.states(made), written.ready) == ([FAILURE], ())
    assert made.id in caplog.text


def test_a_large_batch_of_failures_calls_back_each(ledger):
    backs = [errback() for _ in range(50)]
    made = [job(errbacks=pack_jobs([back])) for back in backs]
    ledger.submit(*made)
    ledger.claim(*made)

    written = ledger.end(*made, state=FAILURE)

    assert sorted(ready(written)) == sorted(back.id for back in backs)


# Cut


def test_what_waits_for_a_job_that_was_cut_is_revoked_and_so_is_what_waits_for_that(ledger):
    back = errback()
    steps, edges = chain(3)
    steps[1] = steps[1]._replace(errbacks=pack_jobs([back]))
    ledger.submitted(*steps, edges=edges)

    written = ledger.run(steps[0], cut=True)

    assert ledger.states(*steps) == [SUCCESS, REVOKED, REVOKED]
    assert (failed(written), ready(written)) == ([steps[1].id, steps[2].id], [])
    for step in steps[1:]:
        error = load_exception(ledger.fetch(step).result)
        assert type(error) is TaskRevokedError
        assert steps[0].id in str(error)


def test_a_job_that_is_revoked_in_the_batch_of_its_retry_is_not_told_as_ready(ledger):
    steps, edges = chain(2)
    ledger.submit(*steps, edges=edges)
    ledger.claim(*steps)

    written = ledger.write(outcomes=[end(steps[0], cut=True), end(steps[1], RETRY)])

    assert (failed(written), ready(written)) == ([steps[1].id], [])
    assert ledger.fetch(steps[1]).state == REVOKED


def test_the_body_of_a_chord_is_revoked_with_a_header_that_was_cut(ledger):
    header, body, edges = chord(2)
    ledger.submitted(*header, body, edges=edges)

    ledger.run(header[0], cut=True)

    assert ledger.states(body) == [REVOKED]


# Results


def test_a_result_that_nobody_wants_is_not_kept(ledger):
    made = running(ledger, ignore_result=True)

    ledger.end(made, result=b"j5", preview="5")

    row = ledger.fetch(made)
    assert (row.state, row.result, row.result_preview) == (SUCCESS, None, "")


def test_a_result_that_a_dependant_takes_is_kept_though_nobody_wants_it(ledger):
    parent, child = job(ignore_result=True), job(shape=Shape.FIRST)
    ledger.submitted(parent, child, edges=[edge(parent, child)])

    (call,) = ledger.run(parent, result=b"j5").ready

    assert call.inputs == (b"j5",)
    assert ledger.fetch(parent).result == b"j5"


def test_the_error_of_a_job_is_kept_though_nobody_wants_its_result(ledger):
    made = running(ledger, ignore_result=True)

    ledger.end(made, state=FAILURE)

    assert ledger.fetch(made).result == b"cValueError"


@pytest.mark.parametrize("stored", [b"jbig", None])
def test_a_result_that_is_dask_data_is_told_by_reference(ledger, stored):
    steps, edges = chain(2)
    ledger.submitted(*steps, edges=edges)

    (call,) = ledger.run(steps[0], result=stored, key="key-1", size=99).ready

    reference = (steps[0].id, "key-1", "tcp://127.0.0.1:9", 99)
    assert load_reference(call.inputs[0]) == reference
    assert call.near == "tcp://127.0.0.1:9"
    row = ledger.fetch(steps[0])
    assert (row.key, row.size, row.result) == ("key-1", 99, stored)
    (pulled,), total = ledger.desk.inputs(steps[1].id, 0, 100)
    assert total == 1
    assert pulled == stored if stored else load_reference(pulled) == reference
    ledger.claim(steps[1])
    assert ledger.desk.in_flight()[0].call.inputs == call.inputs


def test_a_call_is_near_the_largest_of_its_inputs(ledger):
    header, body, edges = chord(3)
    ledger.submitted(*header, body, edges=edges)
    sizes = [10, 30, 20]
    calls = []
    for place, (each, size) in enumerate(zip(header, sizes, strict=True)):
        ledger.write(claims=[claim_on(each, f"tcp://w{place}")])
        calls += ledger.end(each, key=f"k{place}", size=size, result=None).ready

    (call,) = calls
    assert (call.near, call.inputs) == ("tcp://w1", ())


def claim_on(of, worker):
    return claim(of)._replace(worker=worker)


def test_references_are_pulled_behind_what_comes_from_upstream(ledger):
    upstream, other = job(), job()
    child = job(shape=Shape.FIRST | Shape.REFERENCES)
    edges = [Edge(other.id, child.id, 1, True), Edge(upstream.id, child.id, 0, True)]
    ledger.submitted(upstream, other, child, edges=edges)

    ledger.run(other, result=b"j2")
    (call,) = ledger.run(upstream, result=b"j1").ready

    assert (call.inputs, call.near) == ((), "")
    assert ledger.desk.inputs(child.id, 0, 100) == ([b"j1", b"j2"], 2)


def test_a_body_with_references_fails_as_a_body(ledger):
    parent, body = job(), job(shape=Shape.LIST | Shape.REFERENCES)
    ledger.submitted(parent, body, edges=[edge(parent, body)])

    ledger.run(parent, state=FAILURE)

    assert type(load_exception(ledger.fetch(body).result)) is ChordError


def test_a_parent_that_is_gone_gives_none(ledger):
    child = job(shape=Shape.LIST)
    ledger.submit(child, edges=[Edge("nobody", child.id, 0, True)])

    assert ledger.desk.inputs(child.id, 0, 100) == ([NONE], 1)


def test_a_job_that_is_scheduled_again_is_told_without_what_was_forgotten(ledger):
    first = job()
    second = job(shape=Shape.FIRST, due=4e9)
    ledger.submitted(first, second, edges=[edge(first, second)])
    ledger.run(first)
    ledger.desk.end(ledger.epoch, [Ending(second.id, FAILURE, b"cValueError", "no", None)])
    ledger.desk.forget(ledger.epoch, [first.id])
    ledger.desk.reopen(ledger.epoch, [second.id])

    (call,) = ledger.desk.later(10)

    assert (call.id, call.inputs) == (second.id, (NONE,))
