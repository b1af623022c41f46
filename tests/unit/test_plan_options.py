"""What options of a call become: of the job, of its runner, of who waits for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from dask_facade.canvas import Signature, chain, chord, group
from dask_facade.errbacks import ERRBACK
from dask_facade.exceptions import EncodeError
from dask_facade.messages import Shape
from dask_facade.options import Defaults
from dask_facade.packing import unpack_jobs
from dask_facade.serialization import Reference, load_arguments, loads
from dask_facade.task import Task
from tests.unit.plans import NOW, plan_of, task_of

BERLIN = ZoneInfo("Europe/Berlin")


def call(name, *args, **options):
    return Signature(name, args, {}, options)


A, B, C, D = (call(name) for name in "abcd")


@pytest.fixture
def compiled():
    """Compile with ids id-1, id-2 ...; keyword arguments are those of a Submitter or Defaults."""

    def compiled(made, *known, defaults=None, **options):
        return plan_of(made, *known, defaults=replace(Defaults(), **(defaults or {})), **options)

    return compiled


def task(name, **attributes):
    return task_of(lambda *args, **kwargs: None, name, **attributes)


def options(job):
    return loads(job.options) if job.options else {}


def by_task(plan):
    return {job.task: job for job in plan.jobs}


# What only the runner reads


def test_a_call_of_which_nothing_is_said_has_no_options(compiled):
    (job,) = compiled(A, task("a")).jobs

    assert job.options == job.errbacks == b""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"retries": 3}, {"retries": 3}),
        ({"retries": 0}, {}),
        ({"headers": {"x": 1}}, {"headers": {"x": 1}}),
        ({"headers": {}}, {}),
        ({"time_limit": 5, "soft_time_limit": 3.5}, {"time_limit": 5, "soft_time_limit": 3.5}),
        ({"argsrepr": "(...)", "kwargsrepr": "{}"}, {"argsrepr": "(...)", "kwargsrepr": "{}"}),
        ({"replaced_task_nesting": 2}, {"replaced": 2}),
        ({"keep": "cluster"}, {"keep": "cluster"}),
        ({"origin": "me"}, {"origin": "me"}),
        # what only a message broker knows
        ({"compression": "zlib", "connection": 1, "producer": 2}, {}),
        ({"exchange": "e"}, {"exchange": "e"}),
    ],
)  # fmt: skip
def test_the_runner_is_told_what_it_needs(compiled, said, told):
    assert options(compiled(call("a", **said)).jobs[0]) == told


@pytest.mark.parametrize("name", ["time_limit", "soft_time_limit"])
def test_a_limit_is_the_signatures_or_the_tasks_or_that_of_the_settings(compiled, name):
    defaults = {name: 30}

    def limit(made, *known):
        return options(compiled(made, *known, defaults=defaults).jobs[0])[name]

    assert limit(call("a", **{name: 10}), task("a", **{name: 20})) == 10
    assert limit(A, task("a", **{name: 20})) == 20
    assert limit(A, task("a")) == 30


def test_arguments_may_be_shown_in_words_of_ones_own(compiled):
    (job,) = compiled(call("a", "secret", argsrepr="('***',)", kwargsrepr="{}")).jobs

    assert job.preview == "('***',), {}"


def test_members_of_a_group_know_their_place(compiled):
    plan = compiled(group(A, group(B, C), chain(A, D)))

    places = [(job.task, options(job).get("group_index")) for job in plan.jobs]
    assert places == [("a", 0), ("b", 1), ("c", 2), ("a", None), ("d", 3)]


def test_members_of_a_header_know_the_body(compiled):
    plan = compiled(chord([A, chain(B, C)], D))

    told = {name: options(job).get("chord") for name, job in by_task(plan).items()}
    assert told == {"a": plan.ending.id, "b": None, "c": plan.ending.id, "d": None}


def test_a_step_knows_the_next_one(compiled):
    plan = compiled(A | call("b", 1, queue="q") | chord([C], D))

    following = {name: options(job).get("chain") for name, job in by_task(plan).items()}
    assert (following["a"]["task"], following["a"]["args"]) == ("b", [1])
    assert following["a"]["options"] == {"queue": "q"}
    assert following["b"]["task"] == "celery.chord"
    assert following["c"] is following["d"] is None


def test_the_body_of_a_chord_knows_the_step_behind_it(compiled):
    jobs = by_task(compiled(chord([A], B) | C))

    assert "chain" not in options(jobs["a"])
    assert options(jobs["b"])["chain"]["task"] == "c"


def test_arguments_of_a_next_step_that_json_cannot_say_are_left_out(compiled):
    plan = compiled(A | call("b", {1, 2}))

    assert options(plan.jobs[0])["chain"]["args"] == []


# When


def test_an_eta_of_a_step_is_kept_as_it_is(compiled):
    eta = datetime(2030, 1, 1, tzinfo=UTC)

    second = compiled(A | call("b", eta=eta)).jobs[1]

    assert (second.due, second.delay) == (eta.timestamp(), 0)


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_seconds_that_lead_to_no_date_are_refused(compiled, seconds):
    countdown, expiry = call("b", countdown=seconds), call("b", expires=seconds)

    for made in (countdown, expiry, chain(A, countdown), chain(A, expiry)):
        with pytest.raises(ValueError, match="number of seconds that leads to a date"):
            compiled(made)


def test_a_countdown_of_a_body_begins_when_the_header_has_ended(compiled):
    assert by_task(compiled(chord([A, B], call("c", countdown=7))))["c"].delay == 7


@pytest.mark.parametrize(
    "eta", ["2030-01-01T00:00:00+00:00", datetime(2030, 1, 1, 1, tzinfo=BERLIN)]
)
def test_an_eta_may_be_text_or_in_any_zone(compiled, eta):
    at = datetime(2030, 1, 1, tzinfo=UTC).timestamp()

    assert compiled(call("a", eta=eta)).jobs[0].due == at


def test_a_time_without_a_zone_is_refused(compiled):
    naive = datetime(2030, 1, 1)  # noqa: DTZ001

    for made in (call("a", eta=naive), call("a", expires=naive)):
        with pytest.raises(ValueError, match=r"with a time zone.*timezone\.now\(\)"):
            compiled(made)


def test_a_time_without_a_zone_is_read_in_the_zone_of_the_settings(compiled):
    naive = datetime(2030, 1, 1, 1)  # noqa: DTZ001
    zoned = datetime(2030, 1, 1, 1, tzinfo=BERLIN).timestamp()

    assert compiled(call("a", eta=naive), defaults={"zone": BERLIN}).jobs[0].due == zoned


@pytest.mark.parametrize(
    ("expires", "at"),
    [
        (60, NOW + 60),
        (0.5, NOW + 0.5),
        (0, NOW),
        (timedelta(minutes=1), NOW + 60),
        (datetime.fromtimestamp(NOW + 5, UTC), NOW + 5),
        ("2030-01-01T00:00:00+00:00", datetime(2030, 1, 1, tzinfo=UTC).timestamp()),
        (None, None),
    ],
)
def test_a_call_may_expire(compiled, expires, at):
    assert compiled(call("a", expires=expires)).jobs[0].expires == at
    assert compiled(A, task("a", expires=expires)).jobs[0].expires == at


@pytest.mark.parametrize("nonsense", ["tomorrow", object()])
def test_a_time_that_is_none_is_refused(compiled, nonsense):
    with pytest.raises(ValueError, match="expires must be"):
        compiled(call("a", expires=nonsense))


# Where, and whose


@pytest.mark.parametrize(
    ("said", "of_task", "queue"),
    [
        ({"queue": "own", "routing_key": "key"}, "task", "own"),
        ({"routing_key": "key"}, "task", "task"),
        ({"routing_key": "key"}, None, "routed"),
        ({}, None, "routed"),
        ({"queue": SimpleNamespace(name="of kombu")}, None, "of kombu"),
    ],
)
def test_the_queue_is_what_is_said_first(compiled, said, of_task, queue):
    route = lambda name, args, kwargs, options, task: {"queue": "routed"}  # noqa: E731

    plan = compiled(call("a", **said), task("a", queue=of_task), defaults={"route": route})

    assert plan.jobs[0].queue == queue


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"queue": "q" * 256}, "a queue has a name of 1 to 255 characters"),
        ({"queue": ""}, "a queue has a name"),
        ({"priority": 2**31}, "priority must be a number of 32 bits"),
        ({"priority": -(2**31) - 1}, "priority must be"),
    ],
)
def test_what_no_ledger_keeps_is_refused(compiled, said, words):
    with pytest.raises(ValueError, match=words):
        compiled(call("a", **said))


def test_without_a_route_the_routing_key_is_the_queue(compiled):
    assert compiled(call("a", routing_key="key")).jobs[0].queue == "key"


@pytest.mark.parametrize(
    ("said", "owner"),
    [
        ({}, "of the parent"),
        ({"user": SimpleNamespace(pk=7)}, "7"),
        ({"owner": "x"}, "x"),
        ({"user": 3}, "3"),
    ],
)
def test_a_job_has_an_owner(compiled, said, owner):
    assert compiled(call("a", **said), owner="of the parent").jobs[0].owner == owner


# serializer


def test_json_is_strict_where_it_is_asked_for(compiled):
    for made, known in [
        (call("a", {1}, serializer="json"), task("a")),
        (call("a", {1}), task("a", serializer="json")),
    ]:
        with pytest.raises(EncodeError, match="JSON has no set"):
            compiled(made, known)
    with pytest.raises(EncodeError, match="JSON has no set"):
        compiled(call("a", {1}), defaults={"serializer": "json"})
    assert compiled(call("a", {1}, serializer="pickle"), defaults={"serializer": "json"}).jobs


def test_json_gives_back_what_celerys_gives_back(compiled):
    when, number = datetime(2030, 1, 1, tzinfo=UTC), UUID(int=1)

    (job,) = compiled(call("a", (1, 2), {3: when}, number, serializer="json")).jobs

    assert load_arguments(job.payload) == ([[1, 2], {"3": when}, number], {})


# Results as arguments


class Future:
    def __init__(self, id):
        self.id = id


def refer(value):
    return value.id if isinstance(value, Future) else None


def test_a_result_as_an_argument_is_a_dependency(compiled):
    one, two = Future("one"), Future("two")

    plan = compiled(call("a", one, [two, {"x": (one, 5)}]), refer=refer)

    (job,) = plan.jobs
    assert job.shape == Shape.NOTHING | Shape.REFERENCES
    args, _ = load_arguments(job.payload)
    assert args == [Reference(0), [Reference(1), {"x": (Reference(0), 5)}]]
    edges = [(edge.parent_id, edge.position, edge.takes_result) for edge in plan.edges]
    assert edges == [("one", 0, True), ("two", 1, True)]


@pytest.mark.parametrize(
    ("made", "shape", "positions"),
    [
        (A | call("b", Future("x")), Shape.FIRST, [0, 1]),
        (group(A, C) | call("b", Future("x")), Shape.LIST, [0, 1, 2]),
        (A | call("b", Future("x")).set(immutable=True), Shape.NOTHING, [0, 1]),
    ],
)
def test_references_stand_behind_other_inputs(compiled, made, shape, positions):
    plan = compiled(made, refer=refer)

    job = by_task(plan)["b"]
    edges = [edge for edge in plan.edges if edge.child_id == job.id]
    assert job.shape == shape | Shape.REFERENCES
    assert [edge.position for edge in edges] == positions
    assert (edges[-1].parent_id, edges[-1].takes_result) == ("x", True)


def test_a_countdown_of_a_call_that_refers_begins_when_it_waits_no_more(compiled):
    (job,) = compiled(call("a", Future("x"), countdown=3), refer=refer).jobs

    assert (job.due, job.delay) == (None, 3)


def test_nobody_is_asked_about_arguments_that_are_json(compiled):
    def refuse(value):
        raise AssertionError(value)

    assert compiled(call("a", [1, {"x": [None, "y"]}]), refer=refuse).jobs


# link


def test_a_link_waits_for_its_call_and_takes_the_result(compiled):
    plan = compiled(call("a", link=[B, C.clone().set(immutable=True)]))

    jobs = by_task(plan)
    assert (jobs["b"].shape, jobs["c"].shape) == (Shape.FIRST, Shape.NOTHING)
    assert [(edge.parent_id, edge.takes_result) for edge in plan.edges] == [
        (jobs["a"].id, True),
        (jobs["a"].id, False),
    ]
    assert jobs["b"].parent_id == jobs["a"].id
    assert [each["task"] for each in options(jobs["a"])["link"]] == ["b", "c"]
    assert plan.ending.id == jobs["a"].id


@pytest.mark.parametrize("form", [B, dict(B), [B], (dict(B),)])
def test_a_link_may_be_a_signature_its_dict_or_a_list(compiled, form):
    assert [job.task for job in compiled(call("a", link=form)).jobs] == ["a", "b"]


def test_links_may_be_canvases_and_have_links(compiled):
    plan = compiled(call("a", link=call("b", link=C) | D))

    jobs = by_task(plan)
    parents = {(edge.parent_id, edge.child_id) for edge in plan.edges}
    assert parents == {
        (jobs["a"].id, jobs["b"].id),
        (jobs["b"].id, jobs["c"].id),
        (jobs["b"].id, jobs["d"].id),
    }


@pytest.mark.parametrize(
    ("made", "linked_to"),
    [
        (chain(A, B, link=D), "b"),
        (chord([A, B], C, link=D), "c"),
        (chain(A, chord([B], C), link=D), "c"),
        (chain(call("a", link=D), B), "a"),
    ],
)
def test_the_link_of_a_canvas_is_that_of_its_end(compiled, made, linked_to):
    plan = compiled(made)

    jobs = by_task(plan)
    links = [edge.parent_id for edge in plan.edges if edge.child_id == jobs["d"].id]
    assert links == [jobs[linked_to].id]


def test_a_link_must_be_a_signature(compiled):
    for name in ("link", "link_error"):
        with pytest.raises(TypeError, match=r"task\.s\(\)"):
            compiled(call("a", **{name: 5}))


# link_error


def errbacks(job):
    return unpack_jobs(job.errbacks)


def test_an_error_callback_is_written_with_its_call(compiled):
    plan = compiled(call("a", link_error=call("e", 1, queue="errors")))

    (job,) = plan.jobs
    (errback,) = errbacks(job)
    assert (errback.task, errback.queue, errback.shape) == ("e", "errors", Shape.ERROR)
    assert (errback.root_id, errback.parent_id) == (job.id, None)
    assert load_arguments(errback.payload) == ([1], {})
    (form,) = options(job)["link_error"]
    assert (form["task"], form["options"]) == ("e", {"queue": "errors"})


def test_an_immutable_one_takes_nothing(compiled):
    (job,) = compiled(call("a", link_error=call("e").set(immutable=True))).jobs

    assert errbacks(job)[0].shape == Shape.NOTHING


@pytest.mark.parametrize("canvas", [chain(A, B), group(A, B), call("e", link=B)])
def test_one_that_is_more_than_a_job_submits_itself(compiled, canvas):
    (job,) = compiled(call("a", link_error=canvas)).jobs

    (errback,) = errbacks(job)
    ((form,), _) = load_arguments(errback.payload)
    assert (errback.task, errback.shape) == (ERRBACK, Shape.ERROR)
    assert form["task"] == canvas["task"]
    assert "task_id" not in form["options"]


@pytest.mark.parametrize(
    ("made", "who"),
    [
        (chain(A, B, C), "aBC"),  # in capitals: not where it fails because of one before it
        (chain(A, group(B, C)), "aBC"),
        (chord([A, B], C), "c"),  # what fails in the header fails the body
        (chain(A, chord([B], C), D), "acD"),
        (chain(chord([A], B), chord([C], D)), "bd"),
        (chord([A], group(B, C)), "bc"),
        (chord([A], B | C), "bC"),
    ],
)
def test_an_error_callback_of_a_canvas_is_that_of_each_of_its_jobs(compiled, made, who):
    plan = compiled(made.clone(link_error=call("e")))

    found = {job.task: errbacks(job) for job in plan.jobs}
    assert (
        "".join(
            name.upper() if ids[0].shape & Shape.OWN else name for name, ids in found.items() if ids
        )
        == who
    )
    assert all(len(each) <= 1 for each in found.values())


def test_that_of_a_group_is_one_for_each_member(compiled):
    plan = compiled(group(A, B, link_error=call("e")))

    ids = [each.id for job in plan.jobs for each in errbacks(job)]
    assert len(ids) == len(set(ids)) == 2


def test_a_header_has_only_the_error_callbacks_that_are_linked_to_it(compiled):
    plan = compiled(chord([call("a", link_error=D)], B, link_error=C))

    assert [[each.task for each in errbacks(job)] for job in plan.jobs] == [["d"], ["c"]]


def test_error_callbacks_of_steps_and_chain_add_up(compiled):
    plan = compiled(chain(call("a", link_error=C), B, link_error=D))

    found = {job.task: [each.task for each in errbacks(job)] for job in plan.jobs}
    assert found == {"a": ["c", "d"], "b": ["d"]}


def test_an_error_callback_may_have_one_itself(compiled):
    (job,) = compiled(call("a", link_error=call("e", link_error=call("f")))).jobs

    assert [each.task for each in errbacks(errbacks(job)[0])] == ["f"]


# Tasks that have something to say


def test_a_class_with_its_own_apply_async_is_asked(compiled):
    class Tenant(Task):
        def apply_async(self, args=None, kwargs=None, **options):
            return super().apply_async(args, kwargs, **options)

    tenant = Tenant()
    tenant.name, tenant.run = "a", lambda *args, **kwargs: None
    asked = []

    def rewrite(task, signature):
        asked.append((task.name, signature.args, signature.options))
        return signature.clone(queue="changed").replace(args=("changed",))

    plan = compiled(B | call("a", 1, priority=5), tenant, task("b"), rewrite=rewrite)

    job = by_task(plan)["a"]
    assert (job.queue, job.preview, job.priority) == ("changed", "'changed'", 5)
    assert asked == [("a", (1,), {"priority": 5, "task_id": job.id})]


def test_who_publishes_says_the_headers(compiled):
    told = []

    def publish(signature, job):
        told.append((signature.task, job.id))
        return {"traced": True}

    (job,) = compiled(call("a", headers={"x": 1}), publish=publish).jobs

    assert told == [("a", job.id)]
    assert options(job) == {"headers": {"traced": True}}


def test_zero_may_be_the_first_of_priorities(compiled):
    (job,) = compiled(call("a", priority=3), defaults={"zero_first": True}).jobs

    assert job.priority == -3


@pytest.mark.parametrize(
    ("attributes", "defaults", "runs_again"),
    [
        ({"acks_late": True}, {}, True),
        ({"acks_late": True, "reject_on_worker_lost": True}, {}, True),
        ({"acks_late": True, "reject_on_worker_lost": False}, {}, False),
        ({"acks_late": True}, {"reject_on_worker_lost": False}, False),
        ({"reject_on_worker_lost": True}, {}, False),  # it was acknowledged
    ],
)
def test_a_call_whose_worker_dies_runs_again_as_its_task_says(
    compiled, attributes, defaults, runs_again
):
    plan = compiled(call("late"), task("late", **attributes), defaults=defaults)

    assert plan.jobs[0].acks_late is runs_again
