"""What follows from an end: dependants become ready, or fail, exactly once."""

from __future__ import annotations

import itertools

import pytest

from dask_facade.exceptions import ChordError
from dask_facade.messages import Edge, Shape
from dask_facade.serialization import NONE, load_exception
from dask_facade.states import FAILURE, PENDING, RECEIVED, REVOKED, SUCCESS
from tests.db.plans import chain, chord, edge, end, failed, job, ready


def test_each_step_of_a_chain_gets_the_result_before_it(ledger):
    steps, edges = chain(3)
    ledger.submit(*steps, edges=edges)

    assert ledger.take_up() == [steps[0].id]
    (second,) = ledger.run(steps[0], result=b"j1").ready
    (third,) = ledger.run(steps[1], result=b"j2").ready
    last = ledger.run(steps[2])

    assert (second.id, second.inputs) == (steps[1].id, (b"j1",))
    assert (third.id, third.inputs) == (steps[2].id, (b"j2",))
    assert (second.attempt, second.hand, second.shape) == (1, 0, Shape.FIRST)
    assert last.ready == ()


def test_a_result_that_was_not_kept_comes_as_none(ledger):
    steps, edges = chain(2)
    ledger.submitted(*steps, edges=edges)

    (call,) = ledger.run(steps[0], result=None).ready

    assert call.inputs == (NONE,)


def test_a_child_that_takes_no_result_gets_none(ledger):
    steps, edges = chain(2, shape=Shape.NOTHING)
    ledger.submitted(*steps, edges=edges)

    (call,) = ledger.run(steps[0]).ready

    assert call.inputs == ()


def test_of_several_dependencies_one_may_bring_the_result(ledger):
    gives, only_first, child = job(), job(), job(shape=Shape.FIRST)
    edges = [Edge(only_first.id, child.id, 0, False), Edge(gives.id, child.id, 1, True)]
    ledger.submitted(gives, only_first, child, edges=edges)

    ledger.run(gives, result=b"j7")
    (call,) = ledger.run(only_first, result=b"j8").ready

    assert call.inputs == (b"j7",)


def diamond():
    top, left, right, bottom = job(), job(), job(), job()
    edges = [edge(top, left), edge(top, right), edge(left, bottom), edge(right, bottom, 1)]
    return [top, left, right, bottom], edges


def test_a_diamond_closes_once(ledger):
    (top, left, right, bottom), edges = diamond()
    ledger.submit(top, left, right, bottom, edges=edges)

    assert ledger.take_up() == [top.id]
    assert sorted(ready(ledger.run(top))) == sorted([left.id, right.id])
    assert ready(ledger.run(right)) == []
    assert ready(ledger.run(left)) == [bottom.id]
    assert ledger.take_up() == []


@pytest.mark.parametrize("split", [1, 2, 3, 5])
@pytest.mark.parametrize("taken_up", [True, False])
def test_a_chord_is_ready_once_whatever_the_batches(ledger, split, taken_up):
    header, body, edges = chord(5)
    ledger.submit(*header, body, edges=edges)
    if taken_up:
        ledger.take_up()
    ledger.claim(*header)
    called = []

    for start in range(0, 5, split):
        batch = [end(each) for each in header[start : start + split]]
        called += ready(ledger.write(outcomes=batch))
        called += ready(ledger.write(outcomes=batch))  # the same, again

    assert called == [body.id]
    assert ledger.take_up() == []
    assert ledger.claim(body).claimed == ((body.id, 1),)


@pytest.mark.parametrize("order", list(itertools.permutations(["take up", "left", "right"])))
def test_no_wake_up_is_lost_whenever_a_child_is_counted(ledger, order):
    left, right, child = job(), job(), job()
    ledger.submit(left, right, child, edges=[edge(left, child), edge(right, child, 1)])
    ledger.claim(left, right)
    called = []

    for step in order:
        if step == "take up":
            called += ledger.take_up()
        else:
            called += ready(ledger.end({"left": left, "right": right}[step]))

    assert called == [child.id]
    assert ledger.take_up() == []


def test_a_child_submitted_after_its_parents_ended_is_ready(ledger):
    parent = job()
    ledger.submit(parent)
    ledger.run(parent, result=b"j5")
    child = job(shape=Shape.FIRST)
    ledger.submit(child, edges=[edge(parent, child)])

    (call,) = ledger.calls()

    assert (call.id, call.inputs) == (child.id, (b"j5",))


def test_a_child_waits_for_a_parent_that_is_committed_later(ledger):
    parent, child = job(), job()
    ledger.submit(child, edges=[edge(parent, child)])

    assert ledger.take_up() == []
    ledger.submit(parent)
    assert ready(ledger.run(parent)) == [child.id]


def test_a_parent_that_is_named_twice_counts_twice_and_ends_once(ledger):
    parent, child = job(), job(shape=Shape.LIST)
    ledger.submitted(parent, child, edges=[edge(parent, child, 0), edge(parent, child, 1)])

    assert ready(ledger.run(parent, result=b"j4")) == [child.id]
    assert ledger.desk.inputs(child.id, 0, 1_000) == ([b"j4", b"j4"], 2)


@pytest.mark.parametrize("state", [FAILURE, REVOKED])
@pytest.mark.parametrize("taken_up", [True, False])
def test_a_chain_fails_to_its_end_with_the_first_exception(ledger, state, taken_up):
    steps, edges = chain(4)
    ledger.submit(*steps, edges=edges)
    if taken_up:
        ledger.take_up()
    ledger.claim(steps[0])

    written = ledger.end(steps[0], state=state, result=b"cX", preview="X('no')", traceback="T")

    assert failed(written) == [step.id for step in steps[1:]]
    assert {outcome[3:8] for outcome in written.failed} == {(FAILURE, b"cX", "X('no')", "T", None)}
    assert ledger.states(*steps) == [state, FAILURE, FAILURE, FAILURE]
    row = ledger.fetch(steps[3])
    assert (row.result, row.result_preview, row.traceback) == (b"cX", "X('no')", "T")
    assert (row.started, row.attempt) == (None, 1)
    assert row.finished is not None


def test_a_chord_fails_once_though_several_headers_do(ledger):
    header, body, edges = chord(4)
    after = job(shape=Shape.FIRST)
    ledger.submitted(*header, body, after, edges=[*edges, edge(body, after)])
    ledger.claim(*header)

    first = ledger.write(outcomes=[end(each, FAILURE) for each in header[:2]])
    second = ledger.end(header[2], state=FAILURE)
    late = ledger.end(header[3])

    assert failed(first) == [body.id, after.id]
    assert failed(second) == failed(late) == []
    assert late.ready == ()
    assert ledger.states(*header, body, after) == [FAILURE] * 3 + [SUCCESS] + [FAILURE] * 2


def test_a_chord_says_which_header_failed(ledger):
    header, body, edges = chord(2)
    after = job(shape=Shape.FIRST)
    ledger.submitted(*header, body, after, edges=[*edges, edge(body, after)])

    ledger.run(header[1], state=FAILURE, preview="ValueError('no')", traceback="its traceback")

    words = f"Dependency {header[1].id} raised ValueError('no')"
    for row in (ledger.fetch(body), ledger.fetch(after)):
        error = load_exception(row.result)
        assert type(error) is ChordError
        assert str(error) == words
        assert row.result_preview.startswith("ChordError(")
        assert "its traceback" in row.traceback
        assert words in row.traceback


def test_late_successes_change_nothing_after_a_failure(ledger):
    left, right, child = job(), job(), job()
    ledger.submitted(left, right, child, edges=[edge(left, child), edge(right, child, 1)])
    ledger.claim(left, right)

    written = ledger.write(outcomes=[end(left), end(right, FAILURE)])

    assert written.ready == ()
    assert failed(written) == [child.id]
    assert ledger.states(child) == [FAILURE]


def test_a_dependency_that_failed_before_is_found_when_taking_up(ledger):
    parent = job()
    ledger.submit(parent)
    ledger.run(parent, state=FAILURE)
    child, grandchild, other = job(), job(shape=Shape.LIST), job()
    ledger.submit(child, grandchild, other, edges=[edge(parent, child), edge(child, grandchild)])

    assert ledger.take_up() == [other.id]

    assert ledger.states(child, grandchild) == [FAILURE, FAILURE]
    assert ledger.fetch(child).result == ledger.fetch(parent).result
    assert str(load_exception(ledger.fetch(grandchild).result)).startswith(
        f"Dependency {child.id} raised"
    )


def test_a_dependency_that_failed_unseen_is_found_by_the_next_end(ledger):
    lost, parent = job(), job()
    ledger.submit(lost, parent)
    ledger.run(lost, state=FAILURE)
    child = job()
    ledger.submit(child, edges=[edge(lost, child), edge(parent, child, 1)])

    written = ledger.run(parent)

    assert (written.ready, failed(written)) == ((), [child.id])
    assert ledger.states(child) == [FAILURE]


def test_a_child_with_an_eta_waits_for_it_too(ledger):
    parent, child = job(), job()
    ledger.submit(parent)
    eta = ledger.fetch(parent).created.replace(year=2100)
    child = child._replace(due=eta.timestamp())
    ledger.submit(child, edges=[edge(parent, child)])

    written = ledger.run(parent)

    assert written.ready == ()
    assert ledger.take_up() == []
    assert ledger.take_up(horizon=1e10) == [child.id]


def test_a_child_whose_eta_was_near_first_is_ready_with_its_parent(ledger):
    parent = job()
    ledger.submit(parent)
    child = job(due=ledger.fetch(parent).created.timestamp())
    ledger.submit(child, edges=[edge(parent, child)])
    ledger.take_up()

    (call,) = ledger.run(parent).ready

    assert call.id == child.id
    assert call.due == pytest.approx(child.due, abs=1e-5)


def test_a_failure_does_not_wait_for_an_eta(ledger):
    parent = job()
    ledger.submit(parent)
    child = job(due=ledger.fetch(parent).created.replace(year=2100).timestamp())
    ledger.submit(child, edges=[edge(parent, child)])

    assert failed(ledger.run(parent, state=FAILURE)) == [child.id]


def test_children_are_ready_once_across_a_change_of_leader(ledger):
    header, body, edges = chord(3)
    ledger.submitted(*header, body, edges=edges)
    ledger.run(header[0])

    lease = ledger.desk.lead("second", (), b"", ledger.store.lease())
    ledger.epoch = lease.epoch
    ledger.desk.forget_taken(ledger.epoch)

    assert sorted(ledger.take_up()) == sorted([header[1].id, header[2].id])
    assert ready(ledger.run(header[1])) == []
    assert ready(ledger.run(header[2])) == [body.id]


def test_a_running_child_is_left_alone(ledger):
    parent, child = job(), job()
    ledger.submit(parent, child)
    ledger.claim(child)
    ledger.submit(edges=[edge(parent, child)])

    written = ledger.run(parent, state=FAILURE)

    assert written.failed == ()
    assert ledger.states(child) == [RECEIVED]


def test_a_wide_fan_of_children_is_taken_in_one_batch(ledger):
    parent = job()
    children = [job() for _ in range(2_500)]
    ledger.submit(parent, *children, edges=[edge(parent, child) for child in children])
    assert ledger.take_up(limit=5_000) == [parent.id]

    written = ledger.run(parent)

    assert set(ready(written)) == {child.id for child in children}
    assert ledger.states(children[-1]) == [PENDING]
