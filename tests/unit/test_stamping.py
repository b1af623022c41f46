from __future__ import annotations

import json

import pytest

from dask_facade.canvas import Signature, StampingVisitor, chain, chord, group, signature
from dask_facade.stamps import _merge_dictionaries, stamps_of


class Marking(StampingVisitor):
    """Says of each part what it is asked as."""

    def on_signature(self, sig, **headers):
        return {"mark": "call", "seen": sorted(headers.get("stamped_headers", ()))}

    def on_group_start(self, group, **headers):
        return {"in_group": True}

    def on_chain_start(self, chain, **headers):
        return {"in_chain": True}

    def on_chord_body(self, sig, **header):
        return {"is_body": True}

    def on_callback(self, callback, **header):
        return {"is_callback": True}

    def on_errback(self, errback, **header):
        return {"is_errback": True}


def call(name):
    return Signature(name)


def names(made):
    return sorted(stamps_of(made.options))


def test_stamps_are_options_that_are_named():
    made = call("a")

    made.stamp(color="red", size=3)

    assert made.options == {"color": "red", "size": 3, "stamped_headers": ["color", "size"]}
    assert stamps_of(made.options) == {"color": "red", "size": 3}


def test_a_stamp_that_is_there_stays_unless_a_new_one_is_given():
    made = call("a")
    made.stamp(color="red")

    made.stamp(size=3)

    assert stamps_of(made.options) == {"color": "red", "size": 3}
    assert sorted(made.options["stamped_headers"]) == ["color", "size"]


def test_stamps_may_be_added_to_those_that_are_there():
    made = call("a")
    made.stamp(color="red")

    made.stamp(append_stamps=True, color="blue")

    assert made.options["color"] == ["blue", "red"]


def test_stamps_outlast_clones_json_and_other_options():
    made = call("a")
    made.stamp(color="red")

    back = signature(json.loads(json.dumps(made.clone(color="blue", queue="q"))))

    assert stamps_of(back.options) == {"color": "red"}
    assert back.options["queue"] == "q"


@pytest.mark.parametrize(
    ("made", "parts", "stamps"),
    [
        (chain(call("a"), call("b")), lambda made: made.tasks, ["in_chain", "mark", "seen"]),
        (group(call("a"), call("b")), lambda made: made.tasks, ["in_group", "mark", "seen"]),
        (
            group(call(each) for each in "ab"),
            lambda made: list(made.tasks),
            ["in_group", "mark", "seen"],
        ),
        (chord([call("a")], call("b")), lambda made: made.members, ["in_group", "mark", "seen"]),
        (
            chord([call("a")], call("b")),
            lambda made: [made.body],
            ["in_group", "is_body", "mark", "seen"],
        ),
        (
            group(chain(call("a"), call("b")), call("c")),
            lambda made: made.tasks[0].tasks,
            ["in_chain", "in_group", "mark", "seen"],
        ),
    ],
    ids=["chain", "group", "generator", "header", "body", "chain-in-group"],
)
def test_a_visitor_is_asked_for_every_part_of_a_canvas(made, parts, stamps):
    made.stamp(visitor=Marking())

    assert [names(each) for each in parts(made)] == [stamps] * len(parts(made))
    assert all(each.options["mark"] == "call" for each in parts(made))


@pytest.mark.parametrize(
    ("option", "stamp"), [("link", "is_callback"), ("link_error", "is_errback")]
)
@pytest.mark.parametrize("form", [lambda made: made, dict])
def test_what_is_linked_is_stamped_too(option, stamp, form):
    made = call("a")
    made.options[option] = form(call("b"))

    made.stamp(visitor=Marking())

    (linked,) = made.options[option]
    assert stamp in names(linked)
    assert "mark" in names(linked)
    assert stamp not in names(made)


@pytest.mark.parametrize(
    ("mine", "other", "merged"),
    [
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": 1}, {"a": 2}, {"a": [1, 2]}),
        ({"a": [1]}, {"a": [2]}, {"a": [1, 2]}),
        ({"a": [1]}, {"a": 2}, {"a": [1, 2]}),
        ({"a": 1}, {"a": [2]}, {"a": [1, 2]}),
        ({"a": None}, {"a": 2}, {"a": [2]}),
        ({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, {"a": {"b": [1, 2], "c": 3}}),
        ({"a": 1}, None, {"a": 1}),
    ],
)
def test_two_sayings_become_one(mine, other, merged):
    _merge_dictionaries(mine, other)

    assert mine == merged


def test_of_two_sayings_the_first_may_count():
    mine = {"a": 1, "b": [1], "c": {"d": 1}}

    _merge_dictionaries(mine, {"a": 2, "b": [2], "c": {"d": 2}}, aggregate_duplicates=False)

    assert mine == {"a": 1, "b": [1, 2], "c": {"d": 1}}
