from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_facade.canvas import Signature, chain, chord, group, signature
from dask_facade.endings import Many, leaves
from dask_facade.exceptions import EncodeError, InvalidTaskId, PayloadTooLarge
from dask_facade.groups import is_empty_chain
from dask_facade.messages import Shape
from dask_facade.options import Defaults
from dask_facade.serialization import load_arguments, loads
from tests.unit.plans import plan_of, task_of

NOW = datetime(2024, 2, 29, 12, tzinfo=UTC)
NOTHING, FIRST, LIST = Shape.NOTHING, Shape.FIRST, Shape.LIST


def call(name, *args, **options):
    return Signature(name, args, {}, options)


def si(name):
    return Signature(name, immutable=True)


A, B, C, D, E = (call(name) for name in "abcde")


@pytest.fixture
def compiled():
    """Compile with ids id-1, id-2 ... and *known* tasks; other options are those of a Submitter."""
    return partial(plan_of, now=NOW.timestamp)


def drawn(plan):
    """Each job as 'task<shape-or->parents', and the end as nested as it is."""
    task = {job.id: job.task for job in plan.jobs}
    arrow = {NOTHING: "-", FIRST: "<", LIST: "<<"}
    lines = []
    for job in plan.jobs:
        edges = [edge for edge in plan.edges if edge.child_id == job.id]
        assert [edge.position for edge in edges] == list(range(len(edges)))
        assert job.shape != NOTHING or not any(edge.takes_result for edge in edges)
        parents = "".join(task[edge.parent_id] for edge in edges)
        lines.append(f"{job.task}{arrow[job.shape]}{parents}" if parents or job.shape else job.task)
    return " ".join(lines), ended(plan.ending, task)


def ended(ending, task):
    if isinstance(ending, Many):
        return "[" + "".join(ended(member, task) for member in ending.members) + "]"
    return task[ending.id]


@pytest.mark.parametrize(
    ("made", "jobs", "end"),
    [
        (A, "a", "a"),
        (si("a"), "a", "a"),
        (chain(A), "a", "a"),
        (A | B, "a b<a", "b"),
        (A | B | C, "a b<a c<b", "c"),
        (A | chain(B, C) | D, "a b<a c<b d<c", "d"),
        (A | si("b") | C, "a b-a c<b", "c"),  # .si waits, and takes nothing
        (group(), "", "[]"),
        (group(A), "a", "[a]"),
        (group(A, B), "a b", "[ab]"),
        (group(A | B, C), "a b<a c", "[bc]"),
        (A | group(B, C), "a b<a c<a", "[bc]"),
        (A | group(B, si("c")), "a b<a c-a", "[bc]"),
        (A | group(B), "a b<a", "b"),  # a group of one behind a task is that one
        (A | group(B) | C, "a b<a c<b", "c"),
        (A | group(B | C, D), "a b<a c<b d<a", "[cd]"),
        (group(A, B) | C, "a b c<<ab", "c"),  # a chord
        (group(A) | B, "a b<<a", "b"),  # also of one
        (group(A, B) | si("c"), "a b c-ab", "c"),
        (group(A, B) | C | D, "a b c<<ab d<c", "d"),
        (A | group(B, C) | D, "a b<a c<a d<<bc", "d"),
        (A | group(B, C) | D | E, "a b<a c<a d<<bc e<d", "e"),
        (group(A, B) | group(C, D), "a b c<<ab d<<ab", "[cd]"),
        (group(A, B) | group(C, D) | E, "a b c<<ab d<<ab e<<cd", "e"),
        (chord([A, B], C), "a b c<<ab", "c"),
        (chord(A, B), "a b<<a", "b"),
        (chord([A, B]), "a b", "[ab]"),  # without a body yet
        (chord([A | B, C], D), "a b<a c d<<bc", "d"),  # chains in the header
        (chord([A, B], C | D), "a b c<<ab d<c", "d"),
        (chord([A, B], group(C, D)), "a b c<<ab d<<ab", "[cd]"),
        (chord([A, B], C) | D, "a b c<<ab d<c", "d"),
        (chord([A], B) | group(C, D), "a b<<a c<b d<b", "[cd]"),
        (A | chord([B, C], D), "a b<a c<a d<<bc", "d"),
        (A | chord([B, C], D) | E, "a b<a c<a d<<bc e<d", "e"),
        (chord([chord([A, B], C), D], E), "a b c<<ab d e<<cd", "e"),
        (chord([group(A, B), C], D), "a b c d<<abc", "d"),  # nested groups become one
        (group(group(A, B), C), "a b c", "[abc]"),
        (group(A, group(group(B), C)), "a b c", "[abc]"),
        (group(A | group(B, C), D), "a b<a c<a d", "[[bc]d]"),  # not behind a task
        (group(A | group(B, C)), "a b<a c<a", "[bc]"),  # but alone
        (chord([A | group(B, C), D], E), "a b<a c<a d e<<bcd", "e"),  # as [[b, c], d]
        (chord([], A), "a<<", "a"),  # the body gets an empty list
        (group() | A, "a<<", "a"),
        (group(A, group()), "a", "[a]"),
    ],
)
def test_signatures_compile_as_celerys_rules_say(compiled, made, jobs, end):
    plan = compiled(made)

    assert drawn(plan) == (jobs, end)


@pytest.mark.parametrize(
    ("made", "layout"),
    [
        (chord([A, B], E), None),
        (chord([A, group(B, C)], E), None),  # groups of groups are one
        (chord([A | group(B, C), D], E), [[0, 0], 0]),
        (chord([A | group(B, C)], E), [[0, 0]]),
        (chord([chord([A], group(B, C | group(D, D)))], E), [[0, [0, 0]]]),
        (chord([A | group(B, C), D], si("e")), None),
    ],
)
def test_a_body_gets_the_results_of_groups_in_its_header_as_lists(compiled, made, layout):
    body = compiled(made).jobs[-1]

    assert body.task == "e"
    options = loads(body.options) if body.options else {}
    assert options.get("layout") == layout


def test_what_follows_an_empty_header_waits_for_what_is_before_that(compiled):
    plan = compiled(A | chord([], B))

    (edge,) = plan.edges
    first, second = plan.jobs
    assert (edge.parent_id, edge.child_id) == (first.id, second.id)
    assert (second.shape, edge.takes_result) == (LIST, False)  # so it gets an empty list


def test_a_step_in_a_dict_form_compiles_like_the_signature(compiled):
    made = chord([A | B, C], D)

    assert compiled(signature(json.loads(json.dumps(made)))) == compiled(made)


def test_an_empty_chain_cannot_be_submitted(compiled):
    with pytest.raises(ValueError, match="empty chain"):
        compiled(chain())


# Every signature there may be

CALLS = st.builds(
    lambda name, args, immutable, options: Signature(name, args, {}, options, immutable=immutable),
    st.sampled_from("abcde"),
    st.lists(st.integers(), max_size=2),
    st.booleans(),
    st.dictionaries(st.sampled_from(["queue", "other"]), st.sampled_from(["one", "two"])),
)
SIGNATURES = st.recursive(
    CALLS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4).map(chain)
        | st.lists(inner, max_size=4).map(group)
        | st.builds(chord, st.lists(inner, max_size=3), inner)
        | st.tuples(inner, inner).map(lambda pair: pair[0] | pair[1])
    ),
    max_leaves=8,
).filter(lambda made: not is_empty_chain(made))


def compile_with(new_id, made):
    return plan_of(made, new_id=new_id, now=NOW.timestamp)


def numbered():
    numbers = itertools.count(1)
    return lambda: f"id-{next(numbers)}"


@settings(max_examples=50)
@given(SIGNATURES)
def test_compiling_changes_no_signature(made):
    before = copy.deepcopy(made)

    compile_with(numbered(), made)

    assert made == before


@settings(max_examples=50)
@given(SIGNATURES)
def test_a_signature_compiled_twice_gives_the_same_plan_with_other_ids(made):
    new_id = numbered()
    first, second = compile_with(new_id, made), compile_with(new_id, made)

    assert drawn(first) == drawn(second)
    assert not {job.id for job in first.jobs} & {job.id for job in second.jobs}
    assert compile_with(numbered(), made) == first


@settings(max_examples=50)
@given(SIGNATURES)
def test_a_signature_compiles_the_same_after_a_trip_through_json(made):
    back = signature(json.loads(json.dumps(made)))

    assert compile_with(numbered(), back) == compile_with(numbered(), made)


@settings(max_examples=50)
@given(SIGNATURES)
def test_a_clone_compiles_the_same(made):
    assert compile_with(numbered(), made.clone()) == compile_with(numbered(), made)


@settings(max_examples=50)
@given(SIGNATURES)
def test_each_job_depends_only_on_jobs_that_stand_before_it(made):
    plan = compile_with(numbered(), made)
    place = {job.id: number for number, job in enumerate(plan.jobs)}

    assert len(place) == len(plan.jobs)
    assert all(place[edge.parent_id] < place[edge.child_id] for edge in plan.edges)
    assert set(leaves(plan.ending)) <= set(place)


@settings(max_examples=50)
@given(SIGNATURES)
def test_each_shape_has_as_many_inputs_as_it_takes(made):
    plan = compile_with(numbered(), made)

    for job in plan.jobs:
        taken = [edge for edge in plan.edges if edge.child_id == job.id and edge.takes_result]
        assert job.shape == LIST or len(taken) == job.shape


# Ids


def test_an_id_of_ones_own_is_that_of_the_job(compiled):
    assert compiled(call("a", task_id="mine")).jobs[0].id == "mine"


@pytest.mark.parametrize(
    "made",
    [
        chain(A, B, task_id="mine"),
        chord([A], B, task_id="mine"),
        chain(A, chord([B], C), task_id="mine"),
        chain(A, chain(B, C, queue="q"), task_id="mine"),
        A | chain(B, C, task_id="mine"),
        A | call("b", task_id="mine"),
    ],
)
def test_the_id_of_a_canvas_is_that_of_its_last_job(compiled, made):
    plan = compiled(made)

    assert plan.ending.id == plan.jobs[-1].id == "mine"
    assert [job.id for job in plan.jobs].count("mine") == 1


@pytest.mark.parametrize(
    "made", [group(A, B, task_id="mine"), A | group(B, C, task_id="mine"), chord([A, B])]
)
def test_the_id_of_a_group_is_that_of_all_its_members(compiled, made):
    made = made.set(task_id="mine")
    plan = compiled(made)

    assert plan.ending.group_id == "mine"
    assert {job.group_id for job in plan.jobs if job.id in leaves(plan.ending)} == {"mine"}
    assert "mine" not in {job.id for job in plan.jobs}


@pytest.mark.parametrize("good", ["x", "x" * 255, "é" * 255, "with spaces/and ☃"])
def test_an_id_may_be_any_text_of_1_to_255_characters(compiled, good):
    assert compiled(call("a", task_id=good)).jobs[0].id == good


@pytest.mark.parametrize("bad", ["", "x" * 256, 5, b"bytes", ("a",), "a\x00", "\ud800"])
def test_any_other_id_is_refused(compiled, bad):
    with pytest.raises(InvalidTaskId):
        compiled(call("a", task_id=bad))
    with pytest.raises(InvalidTaskId):
        compiled(group(A, task_id=bad))


def test_members_of_a_group_carry_its_id(compiled):
    plan = compiled(group(A | B, C))

    groups = {job.task: job.group_id for job in plan.jobs}
    assert groups == {"a": None, "b": plan.ending.group_id, "c": plan.ending.group_id}


def test_members_of_nested_groups_carry_the_id_of_the_whole(compiled):
    plan = compiled(group(group(A, B), C))

    assert {job.group_id for job in plan.jobs} == {plan.ending.group_id}


def test_a_header_is_a_group_and_the_body_stands_outside(compiled):
    plan = compiled(chord([A, B], C))

    first, second, body = plan.jobs
    assert first.group_id == second.group_id == plan.ending.parent.group_id is not None
    assert body.group_id is None


def test_a_chord_in_a_group_ends_as_its_member(compiled):
    plan = compiled(group(chord([A], B), C))

    groups = {job.task: job.group_id for job in plan.jobs}
    assert groups["b"] == groups["c"] == plan.ending.group_id != groups["a"]


def test_the_first_job_is_the_root_of_all(compiled):
    plan = compiled(A | group(B, C) | D)

    assert {job.root_id for job in plan.jobs} == {plan.jobs[0].id}


def test_what_a_job_submits_has_its_root_and_it_as_parent(compiled):
    plan = compiled(group(A, B), parent_id="p", root_id="r")

    assert {(job.parent_id, job.root_id) for job in plan.jobs} == {("p", "r")}


def test_a_step_has_the_step_before_it_as_parent(compiled):
    plan = compiled(A | B | C, parent_id="p", root_id="r")

    ids = [job.id for job in plan.jobs]
    assert [job.parent_id for job in plan.jobs] == ["p", *ids[:2]]


def test_the_end_of_a_chain_leads_back_through_all_of_it(compiled):
    plan = compiled(A | group(B, C) | D)

    first, second, third, fourth = (job.id for job in plan.jobs)
    assert plan.ending.id == fourth
    assert [member.id for member in plan.ending.parent.members] == [second, third]
    assert plan.ending.parent.parent.id == first


# Arguments


def test_arguments_are_stored_and_shown(compiled):
    (job,) = compiled(Signature("a", (1, (2,)), {"password": "x"})).jobs

    assert load_arguments(job.payload) == ([1, (2,)], {"password": "x"})
    assert job.preview == "1, (2,), password='********'"


def test_a_task_that_is_not_known_here_is_allowed(compiled):
    assert compiled(call("of.another.project", 1, 2, 3)).jobs[0].task == "of.another.project"


@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), ((1, 2, 3), {}), ((1, 2), {"z": 3}), ((1,), {"x": 1})]
)
def test_arguments_that_the_function_does_not_take_are_a_type_error(compiled, args, kwargs):
    def add(x, y):
        return x + y

    with pytest.raises(TypeError, match=r"add\(x, y\)"):
        compiled(Signature("add", args, kwargs), task_of(add))
    with pytest.raises(TypeError, match=r"add\(x, y\)"):  # also where the result goes nowhere
        compiled(A | Signature("add", args, kwargs, immutable=True), task_of(add))


def test_where_a_result_enters_the_arguments_need_not_be_complete(compiled):
    def add(x, y):
        return x + y

    assert compiled(A | call("add", 1), task_of(add)).jobs
    assert compiled(group(A, B) | call("add", 1), task_of(add)).jobs


def test_a_task_without_typing_takes_anything(compiled):
    def add(x, y):
        return x + y

    assert compiled(call("add"), task_of(add, typing=False)).jobs


def test_arguments_larger_than_the_limit_are_refused(compiled):
    compiled(call("a", "x" * 9_000))

    with pytest.raises(PayloadTooLarge, match="the argument list of a takes 10,0"):
        compiled(call("a", "x" * 10_000))


def test_options_much_larger_than_the_limit_are_refused(compiled):
    compiled(call("a", "x" * 9_000).set(headers={"note": "x" * 9_000}))

    with pytest.raises(PayloadTooLarge, match="all that is said of a takes 2"):
        compiled(call("a").set(headers={"note": "x" * 20_000}))


def test_arguments_that_cannot_be_stored_are_refused(compiled):
    with pytest.raises(EncodeError):
        compiled(call("a", (each for each in ())))


# Options


def only(plan, task):
    (job,) = [job for job in plan.jobs if job.task == task]
    return job


def test_options_of_the_signature_come_before_those_of_canvas_task_and_settings(compiled):
    def a():
        pass

    def queues(made, *known):
        return [job.queue for job in compiled(made, *known).jobs]

    silent, speaking = task_of(a), task_of(a, queue="task")
    assert queues(call("a"), silent) == ["celery"]
    assert queues(call("a"), speaking) == ["task"]
    assert queues(group(call("a"), queue="canvas"), speaking) == ["canvas"]
    assert queues(group(call("a", queue="own"), queue="canvas"), speaking) == ["own"]


@pytest.mark.parametrize(
    ("made", "queues"),
    [
        (chain(A, B, queue="q"), "a:q b:q"),
        (group(A, B, queue="q"), "a:q b:q"),
        (chord([A], B, queue="q"), "a:q b:q"),
        (chord([call("a", queue="r")], B, queue="q"), "a:r b:q"),
        (group(A, queue="q") | B, "a:q b:celery"),  # those of a header are not the body's
        (chain(A, B, queue="q") | C, "a:q b:q c:celery"),
        (chain(A, chain(B, C, queue="q")), "a:celery b:q c:q"),
        (group(chain(A, B, queue="q"), C, queue="r"), "a:q b:q c:r"),
    ],
)
def test_options_of_a_canvas_hold_for_what_is_in_it(compiled, made, queues):
    assert " ".join(f"{job.task}:{job.queue}" for job in compiled(made).jobs) == queues


@pytest.mark.parametrize(
    ("name", "value"), [("priority", 5), ("acks_late", True), ("ignore_result", True)]
)
def test_an_option_is_written_to_the_job(compiled, name, value):
    def a():
        pass

    assert getattr(compiled(call("a", **{name: value})).jobs[0], name) == value
    assert getattr(compiled(call("a"), task_of(a, **{name: value})).jobs[0], name) == value
    defaults = replace(Defaults(), **{name: value})
    assert getattr(compiled(call("a"), defaults=defaults).jobs[0], name) == value


def test_a_signature_may_take_back_what_its_task_says(compiled):
    def a():
        pass

    task = task_of(a, acks_late=True, ignore_result=True, priority=9)
    (job,) = compiled(call("a", acks_late=False, ignore_result=False, priority=0), task).jobs

    assert (job.acks_late, job.ignore_result, job.priority) == (False, False, 0)


def test_options_that_only_a_message_broker_knows_mean_nothing(compiled):
    assert compiled(call("a", routing_key="r", exchange="e", serializer="json")).jobs


# When


def test_a_countdown_counts_from_now(compiled):
    assert compiled(call("a", countdown=90)).jobs[0].due == NOW.timestamp() + 90
    assert compiled(call("a", countdown=0.5)).jobs[0].due == NOW.timestamp() + 0.5


def test_an_eta_is_kept(compiled):
    eta = datetime(2030, 1, 1, tzinfo=timezone(timedelta(hours=2)))

    assert compiled(call("a", eta=eta)).jobs[0].due == eta.timestamp()


def test_a_countdown_comes_before_an_eta(compiled):
    made = call("a", countdown=1, eta=NOW + timedelta(days=1))

    assert compiled(made).jobs[0].due == NOW.timestamp() + 1


@pytest.mark.parametrize("eta", [datetime(2030, 1, 1), "2030-01-01", 5])  # noqa: DTZ001
def test_an_eta_without_a_time_zone_is_refused(compiled, eta):
    with pytest.raises(ValueError, match="time zone"):
        compiled(call("a", eta=eta))


@pytest.mark.parametrize(
    ("made", "delayed"),
    [
        (group(A, B, countdown=5), "ab"),
        (chain(A, B, countdown=5), "a"),
        (chain(group(A, B), C, countdown=5), "ab"),
        (chord([A, B], C, countdown=5), "ab"),  # the header, as Celery 5.7 has it
        (group(A | B, C, countdown=5), "ac"),
        (chain(chain(A, B, queue="q"), C, countdown=5), "a"),
        (call("a", countdown=5) | B, "a"),
    ],
)
def test_the_countdown_of_a_canvas_delays_what_comes_first_in_it(compiled, made, delayed):
    due = NOW.timestamp() + 5

    assert "".join(job.task for job in compiled(made).jobs if job.due == due) == delayed


def test_a_countdown_on_a_step_that_waits_begins_when_it_waits_no_more(compiled):
    first, second = compiled(A | call("b", countdown=5)).jobs

    assert (first.due, first.delay) == (None, 0)
    assert (second.due, second.delay) == (None, 5)


# Ids that were given before, and places that were said


def test_a_call_may_say_where_it_stands(compiled):
    (job,) = compiled(call("a", root_id="r", parent_id="p", group_id="g")).jobs

    assert (job.root_id, job.parent_id, job.group_id) == ("r", "p", "g")


def test_the_body_of_a_chord_comes_from_the_last_member_of_its_header(compiled):
    plan = compiled(chain(A, chord([B, C], D), E))

    parents = {job.task: job.parent_id for job in plan.jobs}
    ids = {job.task: job.id for job in plan.jobs}
    assert parents == {
        "a": None,
        "b": ids["a"],
        "c": ids["a"],
        "d": ids["c"],
        "e": ids["d"],
    }


def test_what_is_told_of_a_frozen_header_is_the_id_of_its_body(compiled, app):
    made = chord([call("a")], call("b"))
    result = made.freeze()

    first, body = compiled(made).jobs

    assert loads(first.options)["chord"] == body.id == result.id


# Generators


def test_members_of_a_generator_may_be_taken_as_they_come(compiled):
    taken = []

    def take(jobs, edges):
        taken.append([job.task for job in jobs])
        return True

    plan = compiled(chord((call(name) for name in "abc"), D), early=take)

    assert taken == [["a"], ["b"], ["c"]]
    assert [job.task for job in plan.jobs] == ["d"]
    assert len(plan.edges) == 3


def test_members_of_a_list_are_not(compiled):
    plan = compiled(chord([A, B], C), early=lambda jobs, edges: 1 / 0)

    assert len(plan.jobs) == 3


def test_what_a_generator_raises_is_raised_by_the_one_who_submits(compiled):
    def broken():
        yield A
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        compiled(chord(broken(), B))


# What cannot be submitted


def itself_as_step():
    made = chain(call("a"), call("b"))
    made.tasks.append(made)
    return made


def itself_as_callback():
    made = call("a")
    made.options["link"] = [made]
    return made


def itself_in_a_header():
    made = group(call("a"))
    made.tasks.append(chord(made, call("b"), options={"queue": "q"}))
    return made


@pytest.mark.parametrize("make", [itself_as_step, itself_as_callback, itself_in_a_header])
def test_a_canvas_within_itself_cannot_be_submitted(compiled, make):
    with pytest.raises(ValueError, match="itself among its parts"):
        compiled(make())


@pytest.mark.parametrize(
    "made",
    [
        lambda: group([A, 5]),
        lambda: group(A, "b"),
        lambda: chord([A], ["b"]),
        lambda: chord([A], 5),
    ],
    ids=["number", "text", "list", "body"],
)
def test_what_is_no_signature_cannot_be_part_of_a_canvas(compiled, made):
    with pytest.raises(TypeError, match="made of signatures"):
        compiled(made())


@pytest.mark.parametrize("option", ["link", "link_error"])
def test_what_is_no_signature_cannot_be_linked(compiled, option):
    with pytest.raises(TypeError, match="take signatures"):
        compiled(call("a").set(**{option: [5]}))
