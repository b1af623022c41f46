"""A list whose items are taken from an iterator when they are asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class LazyList(list[Any]):
    """What a generator gives, as a list: iterating takes one item after the other, and keeps it.

    Everything else that a list can do takes all items first.
    """

    def __init__(self, source: Iterable[Any]) -> None:
        super().__init__()
        self._source: Iterator[Any] | None = iter(source)

    @property
    def is_complete(self) -> bool:
        """Whether all items were taken."""
        return self._source is None

    def _take(self) -> bool:
        """Take one item; tell whether there was one. What the source raises ends it."""
        source = self._source
        if source is None:
            return False
        try:
            item = next(source)
        except StopIteration:
            self._source = None
            return False
        super().append(item)
        return True

    def _all(self) -> LazyList:
        while self._take():
            pass
        return self

    def __iter__(self) -> Iterator[Any]:
        place = 0
        while place < super().__len__() or self._take():
            yield super().__getitem__(place)
            place += 1

    def __bool__(self) -> bool:
        return super().__len__() > 0 or self._take()

    def __len__(self) -> int:
        self._all()
        return super().__len__()

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, int) and index >= 0:
            while super().__len__() <= index and self._take():
                pass
        else:
            self._all()
        return super().__getitem__(index)

    def __setitem__(self, index: Any, value: Any) -> None:
        self._all()
        super().__setitem__(index, value)

    def __delitem__(self, index: Any) -> None:
        self._all()
        super().__delitem__(index)

    def __eq__(self, other: object) -> bool:
        self._all()
        return super().__eq__(other._all() if isinstance(other, LazyList) else other)

    __hash__ = None

    def __add__(self, other: Any) -> list[Any]:
        return [*self, *other]

    def __contains__(self, item: object) -> bool:
        return any(each == item for each in self)

    def __reversed__(self) -> Iterator[Any]:
        return iter(list(self)[::-1])

    def __repr__(self) -> str:
        self._all()
        return super().__repr__()

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def append(self, item: Any) -> None:
        """Add an item behind all that the source has."""
        self._all()
        super().append(item)

    def extend(self, items: Iterable[Any]) -> None:
        """Add items behind all that the source has."""
        self._all()
        super().extend(items)

    def insert(self, index: Any, item: Any) -> None:
        """Insert an item, as into a list."""
        self._all()
        super().insert(index, item)

    def pop(self, index: Any = -1) -> Any:
        """Remove an item and return it."""
        self._all()
        return super().pop(index)

    def map(self, change: Any) -> None:
        """Let *change* be called with each item, those still to come when they come."""
        for item in super().__iter__():
            change(item)
        source = self._source
        if source is not None:
            self._source = (changed(change, item) for item in source)


def changed(change: Any, item: Any) -> Any:
    """Return *item* once *change* was called with it."""
    change(item)
    return item
