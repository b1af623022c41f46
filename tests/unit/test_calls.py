"""Calls as jobs: many of one task are written as each of them alone would be."""

from __future__ import annotations

import pytest

from dask_facade.canvas import Signature, chord, group
from dask_facade.options import Defaults
from dask_facade.routes import router_of
from dask_facade.serialization import loads
from tests.unit.plans import NOW, plan_of, task_of

TASK = {
    "acks_late": True,
    "expires": 60,
    "ignore_result": True,
    "keep": "cluster",
    "priority": 7,
    "queue": "slow",
    "soft_time_limit": 2,
    "time_limit": 3,
}


def anything(*args):
    return args


def jobs_of(made, task, defaults):
    return plan_of(made, task, defaults=defaults, owner="7", origin="here").jobs


def terms(job):
    """All that a job says but for who it is, where it stands and what it gets."""
    options = {name: each for name, each in loads(job.options).items() if name not in PLACE}
    return job._replace(
        id="", root_id="", parent_id=None, group_id=None, shape=0, payload=b"", preview="",
        options=options,
    )  # fmt: skip


PLACE = ("chord", "group_index", "layout")


@pytest.mark.parametrize(
    "defaults",
    [
        Defaults(),
        Defaults(queue="other", priority=3, zero_first=True, time_limit=9.0, acks_late=True),
        Defaults(route=router_of({"a": {"queue": "routed"}})),
    ],
)
@pytest.mark.parametrize("attributes", [{}, TASK, {"reject_on_worker_lost": False}])
def test_members_of_which_nothing_is_said_are_written_as_each_would_be_alone(attributes, defaults):
    task = task_of(anything, "a", **attributes)
    (alone,) = jobs_of(Signature("a", (1,)), task, defaults)

    jobs = jobs_of(group(Signature("a", (number,)) for number in range(3)), task, defaults)

    assert [terms(job) for job in jobs] == [terms(alone)] * 3
    assert [job.preview for job in jobs] == ["0", "1", "2"]
    assert [loads(job.options)["group_index"] for job in jobs] == [0, 1, 2]


def test_what_one_member_says_is_not_that_of_the_others():
    task = task_of(anything, "a", **TASK)
    first, second, third = jobs_of(
        group(Signature("a"), Signature("a", priority=1, countdown=5), Signature("a")),
        task,
        Defaults(),
    )

    assert terms(first) == terms(third)
    assert (second.priority, second.due) == (1, NOW + 5)
    assert (third.priority, third.due) == (7, None)


def test_members_of_a_header_know_their_place_and_the_body():
    made = chord([Signature("a"), Signature("a")], Signature("a"))
    *header, body = jobs_of(made, task_of(anything, "a"), Defaults())

    told = [loads(job.options) for job in header]
    assert [(each["group_index"], each["chord"]) for each in told] == [(0, body.id), (1, body.id)]
    assert "chord" not in loads(body.options)


def test_a_route_is_asked_about_each_call():
    def by_first_argument(name, args, kwargs, options, task=None, **others):
        return {"queue": f"q{args[0]}"}

    jobs = jobs_of(
        group(Signature("a", (number,)) for number in range(3)),
        task_of(anything, "a"),
        Defaults(route=router_of((by_first_argument,))),
    )

    assert [job.queue for job in jobs] == ["q0", "q1", "q2"]
