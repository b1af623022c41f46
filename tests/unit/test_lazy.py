from __future__ import annotations

import json
import pickle

import pytest

from dask_facade import submitting
from dask_facade.canvas import Signature, chord, group
from dask_facade.lazy import LazyList


@pytest.fixture
def counting():
    """A generator of numbers, and a list of those that it has given."""
    given = []

    def numbers(count):
        for number in range(count):
            given.append(number)
            yield number

    return numbers, given


def test_items_are_taken_when_they_are_asked_for(counting):
    numbers, given = counting
    items = LazyList(numbers(3))

    assert given == []
    assert items[0] == 0
    assert given == [0]
    assert next(iter(items)) == 0
    assert given == [0]
    assert list(items) == [0, 1, 2]
    assert given == [0, 1, 2]


@pytest.mark.parametrize(
    "look",
    [
        len,
        lambda items: items[-1],
        lambda items: items == [0],
        lambda items: items.append(3),
        lambda items: items[1:],
        repr,
        json.dumps,
    ],
    ids=["length", "last", "equal", "append", "slice", "text", "json"],
)
def test_whoever_looks_at_the_whole_gets_all_of_it(counting, look):
    numbers, given = counting

    look(LazyList(numbers(3)))

    assert given == [0, 1, 2]


def test_it_is_a_list_to_all_who_take_one():
    items = LazyList(iter("abc"))

    assert json.dumps(items) == '["a", "b", "c"]'
    assert pickle.loads(pickle.dumps(LazyList(iter("abc")))) == ["a", "b", "c"]
    assert items == ["a", "b", "c"]
    assert items + ["d"] == ["a", "b", "c", "d"]  # noqa: RUF005  # that is what is tested
    assert items
    assert not LazyList(iter(()))


def test_the_length_may_be_asked_for_while_it_is_iterated(counting):
    numbers, _ = counting
    items = LazyList(numbers(3))

    assert [(item, len(items)) for item in items] == [(0, 3), (1, 3), (2, 3)]


def test_what_is_to_be_done_to_each_is_done_to_those_to_come_when_they_come():
    done = []
    items = LazyList(iter("abc"))
    first = items[0]

    items.map(done.append)

    assert (first, done) == ("a", ["a"])
    assert list(items) == list("abc")
    assert done == list("abc")


def test_what_the_generator_raises_is_raised_where_its_items_are_taken():
    def broken():
        yield 1
        raise OSError("the file is gone")

    items = LazyList(broken())

    assert items[0] == 1
    with pytest.raises(OSError, match="the file is gone"):
        len(items)


def test_a_group_of_a_generator_takes_its_members_later(counting):
    numbers, given = counting

    made = group(Signature("a", (number,)) for number in numbers(2))
    whole = chord((Signature("a", (number,)) for number in numbers(2)), Signature("b"))

    assert given == []
    assert [each.args for each in made.tasks] == [(0,), (1,)]
    assert [each.args for each in whole.clone().tasks] == [(0,), (1,)]


def test_members_of_a_slow_generator_are_submitted_while_it_works(app, store, monkeypatch):
    monkeypatch.setattr(submitting, "SLOW", 0)
    seen = []

    def slow():
        for number in range(3):
            seen.append(len(store.fetch([f"id-{each}" for each in range(3)])))
            yield Signature("a", (number,), task_id=f"id-{number}")

    result = chord(slow(), Signature("b", task_id="body")).apply_async()

    assert seen == [0, 1, 2]
    assert [member.id for member in result.parent] == ["id-0", "id-1", "id-2"]
    assert store.fetch(["body"])["body"].parent_id == "id-2"
