from __future__ import annotations

import re

import pytest

from dask_facade.routes import router_of


def to_queue(name, args, kwargs, options, task=None, **more):
    return {"queue": "called"} if name == "called" else None


class Older:
    def route_for_task(self, task, args=None, kwargs=None):
        return "older" if task == "older" else None


@pytest.mark.parametrize(
    ("routes", "name", "queue"),
    [
        ({"a.b": "q"}, "a.b", "q"),
        ({"a.b": {"queue": "q"}}, "a.b", "q"),
        ({"a.b": "q"}, "a.c", None),
        ({"a.*": "q"}, "a.b.c", "q"),
        ({"*": "all"}, "x", "all"),
        ({"a.*": "glob", "a.b": "exact"}, "a.b", "exact"),  # whatever comes first
        ({"a.*": "first", "*": "second"}, "a.b", "first"),
        ({re.compile(r"a\.(b|c)"): "q"}, "a.c", "q"),
        ([("a.*", "q"), ("b.*", "r")], "b.x", "r"),  # pairs, in order
        ([{"a": "q"}, {"a": "r", "b": "s"}], "a", "q"),
        ([{"a": "q"}, {"a": "r", "b": "s"}], "b", "s"),
        (to_queue, "called", "called"),
        ([to_queue, {"*": "rest"}], "other", "rest"),
        (f"{__name__}.to_queue", "called", "called"),
        ((f"{__name__}:to_queue",), "called", "called"),
        (Older, "older", "older"),
        ([Older()], "newer", None),
    ],
)
def test_the_first_route_that_answers_says_the_queue(routes, name, queue):
    answer = router_of(routes)(name, (), {}, {})

    assert (answer or {}).get("queue") == queue


@pytest.mark.parametrize("nothing", [None, {}, [], ()])
def test_there_may_be_no_routes(nothing):
    assert router_of(nothing) is None
