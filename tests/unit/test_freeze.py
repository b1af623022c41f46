from __future__ import annotations

import json

import pytest

from dask_facade.canvas import Signature, _chain, chain, chord, group, signature
from dask_facade.endings import leaves
from dask_facade.ids import new_id
from dask_facade.result import GroupResult
from tests.unit.plans import plan_of

pytestmark = pytest.mark.usefixtures("app")


def call(name, *args):
    return Signature(name, args)


def compiled(made):
    return plan_of(made, new_id=new_id)


def ids_of(result):
    """The ids of all that a result leads back to, as nested as it is."""
    if result is None:
        return None
    if isinstance(result, GroupResult):
        return ([ids_of(each) for each in result.results], ids_of(result.parent))
    return (result.id, ids_of(result.parent))


def ended(ending):
    if ending is None:
        return None
    if hasattr(ending, "members"):
        return (
            [ids_of_member(each, ending.parent) for each in ending.members],
            ended(ending.parent),
        )
    return (ending.id, ended(ending.parent))


def ids_of_member(ending, until):
    if ending is until or ending is None:
        return None
    if hasattr(ending, "members"):
        inner = ending.parent if ending.parent is not None else until
        return (
            [ids_of_member(each, inner) for each in ending.members],
            ids_of_member(ending.parent, until),
        )
    return (ending.id, ids_of_member(ending.parent, until))


SHAPES = {
    "call": lambda: call("a"),
    "chain": lambda: chain(call("a"), call("b"), call("c")),
    "group": lambda: group(call("a"), call("b")),
    "chord": lambda: chord([call("a"), call("b")], call("c")),
    "chain-of-group": lambda: chain(call("a"), group(call("b"), call("c")), call("d"), call("e")),
    "steps-of-group": lambda: _chain(call("a"), group(call("b"), call("c")), call("d"), call("e")),
    "chord-of-chains": lambda: chord(
        [call("a"), chain(call("b"), call("c"))], chain(call("d"), call("e"))
    ),
    "body-group": lambda: chord([call("a")], group(call("b"), call("c"))),
    "body-chord": lambda: chord([call("a")], chord([call("b")], call("c"))),
    "group-of-chord": lambda: group(chord([call("a")], call("b")), call("c")),
    "chain-of-chords": lambda: chain(chord([call("a")], call("b")), chord([call("c")], call("d"))),
}
EACH = pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)


@EACH
def test_a_frozen_canvas_is_submitted_with_the_ids_it_was_given(make):
    made = make()

    result = made.freeze()
    plan = compiled(made)

    assert ids_of(result) == ended(plan.ending)
    assert {job.id for job in plan.jobs} == plan.frozen & {job.id for job in plan.jobs}


@EACH
def test_a_frozen_canvas_keeps_its_ids_through_json(make):
    made = make()

    result = made.freeze()
    back = signature(json.loads(json.dumps(made)))

    assert ids_of(result) == ended(compiled(back).ending)


@EACH
def test_freezing_twice_changes_no_id(make):
    made = make()

    assert ids_of(made.freeze()) == ids_of(made.freeze())


@pytest.mark.parametrize("name", ["call", "chain", "chord", "chain-of-group", "body-chord"])
def test_an_id_of_ones_own_is_that_of_the_end(name):
    made = SHAPES[name]()

    assert made.freeze("mine").id == "mine"
    (end,) = leaves(compiled(made).ending)
    assert end == "mine"


def test_the_id_of_a_chain_is_that_of_its_last_step():
    made = chain(call("a"), call("b"))

    assert made.freeze().id == made.id == made.tasks[-1].id


def test_a_member_knows_the_body_that_waits_for_it():
    made = chord([call("a"), call("b")], call("c"))

    made.freeze()

    assert [each.options["chord"].id for each in made.members] == [made.body.id] * 2
    assert [each.options["group_index"] for each in made.members] == [0, 1]


def test_where_a_signature_stands_is_said_in_its_options():
    made = call("a")

    made.freeze("id", group_id="g", chord="c", root_id="r", parent_id="p", group_index=1)

    assert made.options == {
        "task_id": "id",
        "group_id": "g",
        "chord": "c",
        "root_id": "r",
        "parent_id": "p",
        "group_index": 1,
        "frozen": True,
    }
    (job,) = compiled(made).jobs
    assert (job.id, job.group_id, job.root_id, job.parent_id) == ("id", "g", "r", "p")


def test_the_group_that_a_signature_belongs_to_stays():
    made = call("a").set(group_id="first")

    assert made.clone(group_id="second").options["group_id"] == "first"


def test_an_empty_chain_has_no_ids():
    with pytest.raises(ValueError, match="empty chain"):
        chain().freeze()


@pytest.mark.parametrize(
    "made",
    [
        lambda: _chain(group(), call("a"), call("b")),
        lambda: _chain(chain(), call("a"), call("b")),
        lambda: _chain(_chain(group(), call("a")), call("b")),
        lambda: _chain(call("a"), group(), call("b")),
        lambda: _chain(call("a"), call("b"), group()),
        lambda: _chain(group(call("a")), call("b")),
    ],
    ids=["group", "chain", "inner-group", "in-the-middle", "at-the-end", "group-of-one"],
)
def test_what_is_nothing_is_no_step(made):
    steps, results = made().prepare_steps((1,), {}, made().tasks)

    assert [(each.task, each.args) for each in steps] == [("b", ()), ("a", (1,))]
    assert [result.id for result in results] == [each.id for each in steps]
    jobs = compiled(made().clone((1,))).jobs
    assert [job.task for job in jobs] == ["a", "b"]
    assert jobs[0].preview == "1"


def test_the_body_of_a_chord_in_a_chain_is_taken_apart():
    inner = chord([call("a")], chain(call("b"), call("c")))

    steps, _ = chain(call("x"), inner, call("d")).prepare_steps((), {}, [call("x"), inner])

    assert [each.task for each in steps] == ["c", "celery.chord", "x"]
    assert steps[1].body.task == "b"
