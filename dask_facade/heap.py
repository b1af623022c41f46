"""A heap whose members have names, by which they can be taken out before their turn."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_SPARE = 64  # dead places up to which a heap is never cleared of them


class Heap(Generic[T]):
    """Values in the order of their keys; of equal keys, the first that came is the first."""

    def __init__(self) -> None:
        self._members: dict[str, tuple[int, T]] = {}
        self._places: list[tuple[Any, int, str]] = []  # dead ones too: those not of a member
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._members)

    def push(self, name: str, key: Any, value: T) -> None:
        """Add a value, in the place of the one that has this name."""
        self._pushed += 1
        self._members[name] = (self._pushed, value)
        heapq.heappush(self._places, (key, self._pushed, name))

    def values(self) -> Iterator[T]:
        """Return the values, in no order."""
        return (value for _, value in self._members.values())

    def first(self) -> tuple[Any, T]:
        """Return the first key and its value; there must be one."""
        while True:
            key, number, name = self._places[0]
            member = self._members.get(name)
            if member is not None and member[0] == number:
                return key, member[1]
            heapq.heappop(self._places)

    def pop(self) -> T:
        """Remove and return the first value; there must be one."""
        while True:
            _, number, name = heapq.heappop(self._places)
            member = self._members.get(name)
            if member is not None and member[0] == number:
                del self._members[name]
                return member[1]

    def discard(self, name: str) -> bool:
        """Remove the value of this name; tell whether there was one."""
        if self._members.pop(name, None) is None:
            return False
        self._clear_places()
        return True

    def _clear_places(self) -> None:
        """Drop dead places once they are more than the others."""
        if len(self._places) > 2 * len(self._members) + _SPARE:
            self._places = [
                place
                for place in self._places
                if (member := self._members.get(place[2])) is not None and member[0] == place[1]
            ]
            heapq.heapify(self._places)
