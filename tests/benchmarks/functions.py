"""What the jobs do: nothing that takes time."""

from __future__ import annotations

from collections.abc import Iterable


def echo(value: int) -> int:
    return value


def add(x: int, y: int) -> int:
    return x + y


def total(numbers: Iterable[int]) -> int:
    return sum(numbers)
