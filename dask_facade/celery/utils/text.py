"""Celery's helpers for what people read."""

from __future__ import annotations

from collections.abc import Sequence


def truncate(value: str, maxlen: int = 128, suffix: str = "...") -> str:
    """Return at most *maxlen* characters, cut between words, then *suffix*."""
    return value[:maxlen].rsplit(" ", 1)[0] + suffix if len(value) > maxlen else value


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """Return *text* as it is for one, or for *n*."""
    return text if n == 1 else text + suffix


def indent(value: str, n: int = 0, sep: str = "\n") -> str:
    """Return *value* with *n* spaces before each line."""
    return sep.join(" " * n + line for line in value.splitlines())


def abbr(value: str | None, max: int, ellipsis: str | bool = "...") -> str:
    """Return at most *max* characters; "???" for nothing."""
    if value is None:
        return "???"
    if len(value) <= max:
        return value
    return value[: max - len(ellipsis)] + ellipsis if isinstance(ellipsis, str) else value[:max]


def str_to_list(value: str | Sequence[str]) -> list[str]:
    """Return the names in a text that has commas between them."""
    return value.split(",") if isinstance(value, str) else list(value)
