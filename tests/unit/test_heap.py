from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_facade.heap import Heap


def drained(heap: Heap[str]) -> list[str]:
    """Take all out of *heap*; return it."""
    return [heap.pop() for _ in range(len(heap))]


def test_the_smallest_key_is_first_and_of_equal_ones_the_oldest() -> None:
    heap: Heap[str] = Heap(len)
    for name, key in (("c", 2), ("b", 1), ("a", 2), ("d", 1)):
        heap.push(name, key, name.upper())

    assert heap.first() == (1, "B")
    assert drained(heap) == ["B", "D", "C", "A"]


def test_what_is_taken_out_by_name_has_no_turn() -> None:
    heap: Heap[str] = Heap(len)
    for name in "abc":
        heap.push(name, 0, name)

    heap.discard("a")
    heap.discard("unknown")

    assert (len(heap), heap.first()) == (2, (0, "b"))
    assert drained(heap) == ["b", "c"]


def test_a_name_stands_in_one_place() -> None:
    heap: Heap[str] = Heap(len)
    heap.push("a", 1, "early")
    heap.push("b", 2, "b")

    heap.push("a", 3, "late")

    assert drained(heap) == ["b", "late"]


def test_nothing_is_kept_of_what_was_taken_out() -> None:
    heap: Heap[str] = Heap(len)
    for number in range(10_000):
        heap.push(str(number), number, "")
        heap.discard(str(number))

    assert len(heap._places) < 100


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 3), st.booleans())))
def test_it_is_a_sorted_list_of_names(steps: list[tuple[str, int, bool]]) -> None:
    heap: Heap[str] = Heap(len)
    known: dict[str, tuple[int, int]] = {}
    for number, (name, key, put) in enumerate(steps):
        if put:
            heap.push(name, key, name)
            known[name] = (key, number)
        else:
            heap.discard(name)
            known.pop(name, None)
        assert len(heap) == len(known)

    assert drained(heap) == sorted(known, key=known.__getitem__)


def test_an_empty_heap_has_no_first() -> None:
    with pytest.raises(IndexError):
        Heap[str](len).first()
