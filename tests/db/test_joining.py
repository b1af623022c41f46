"""What a running member adds to the header of its chord: the body waits for it, too."""

from __future__ import annotations

import pytest

from dask_facade.messages import BEHIND, INVALID, Edge, Spawn
from dask_facade.serialization import dumps, loads
from dask_facade.states import FAILURE, PENDING
from tests.db.plans import chord, job, ready


def _chord(ledger, *, taken_up=True):
    """Return the two members and the body of a chord whose members run."""
    members, body, edges = chord(2)
    ledger.submit(*members, body, edges=edges)
    if taken_up:
        ledger.take_up()
    for each in members:
        ledger.claim(each)
    return *members, body


def _adding(member, child, body, *, again=False):
    edges = [Edge(child.id, body.id, BEHIND, True)]
    return Spawn(1, again, member.id, 1, 1, [child], edges)


def _child_of(parent):
    return job(parent_id=parent.id, root_id=parent.id)


@pytest.mark.parametrize("taken_up", [True, False])
def test_a_body_waits_for_what_a_member_adds_and_takes_its_result_last(ledger, taken_up):
    first, second, body = _chord(ledger, taken_up=taken_up)
    child = _child_of(first)

    (answer,) = ledger.desk.spawn(ledger.epoch, [_adding(first, child, body)])

    assert answer.refusal == ""
    assert ledger.take_up() == [child.id]
    ledger.end(first, result=dumps(1))
    ledger.end(second, result=dumps(2))
    assert ledger.fetch(body).state == PENDING
    assert ready(ledger.run(child, result=dumps(3))) == [body.id]
    inputs, total = ledger.desk.inputs(body.id, 0, 2**20)
    assert ([loads(each) for each in inputs], total) == ([1, 2, 3], 3)


def test_what_is_told_twice_is_added_once(ledger):
    first, second, body = _chord(ledger)
    child = _child_of(first)
    said = _adding(first, child, body)
    lazy = said._replace(jobs=[], edges=[Edge("later", body.id, BEHIND, True)])

    ledger.desk.spawn(ledger.epoch, [said, said._replace(again=True)])
    ledger.desk.spawn(ledger.epoch, [lazy, lazy._replace(again=True)])
    ledger.desk.spawn(ledger.epoch, [lazy._replace(again=True)])

    ledger.end(first, second)
    later = job(id="later")
    ledger.submit(later)
    assert sorted(ledger.take_up()) == sorted([child.id, "later"])
    assert ready(ledger.run(child)) == []
    assert ready(ledger.run(later)) == [body.id]
    assert ledger.desk.inputs(body.id, 0, 2**20)[1] == 4


def test_a_body_fails_with_what_was_added(ledger):
    first, _, body = _chord(ledger)
    child = _child_of(first)
    ledger.desk.spawn(ledger.epoch, [_adding(first, child, body)])
    ledger.take_up()

    ledger.run(child, state=FAILURE)

    assert ledger.fetch(body).state == FAILURE
    late = _child_of(first)
    (answer,) = ledger.desk.spawn(ledger.epoch, [_adding(first, late, body)])
    assert answer.refusal == ""
    assert ledger.take_up() == [late.id]


def test_only_what_waits_for_a_call_is_made_to_wait_for_more(ledger):
    first, _, _ = _chord(ledger)
    stranger = job()
    ledger.submit(stranger)
    child = _child_of(first)

    (answer,) = ledger.desk.spawn(ledger.epoch, [_adding(first, child, stranger)])

    assert answer.refusal == INVALID
    assert ledger.store.fetch([child.id]) == {}
    assert ledger.take_up() == [stranger.id]
