"""A heap whose members have names, by which they can be taken out before their turn."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_SPARE = 64  # dead places up to which a heap is never cleared of them


class Heap(Generic[T]):
    """Values in the order of their keys; of equal keys, the first that came is the first.

    Its *weight* is that of all values together, as *weigh* tells.
    """

    def __init__(self, weigh: Callable[[T], int]) -> None:
        self.weight = 0
        self._members: dict[str, tuple[int, T]] = {}
        self._places: list[tuple[Any, int, str]] = []  # dead ones too: those not of a member
        self._pushed = 0
        self._weigh = weigh

    def __len__(self) -> int:
        return len(self._members)

    def push(self, name: str, key: Any, value: T) -> None:
        """Add a value, in the place of the one that has this name."""
        self.discard(name)
        self._pushed += 1
        self.weight += self._weigh(value)
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
                self.weight -= self._weigh(member[1])
                return member[1]

    def discard(self, name: str) -> bool:
        """Remove the value of this name; tell whether there was one."""
        member = self._members.pop(name, None)
        if member is None:
            return False
        self.weight -= self._weigh(member[1])
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
