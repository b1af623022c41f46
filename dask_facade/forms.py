"""What signatures and their options look like as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def as_list(value: Any) -> list[Any]:
    """Return what an option says that takes one signature or a list of them."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def said_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options but for those that are None, which say nothing."""
    return {name: value for name, value in options.items() if value is not None}


def plain(value: Any) -> Any:
    """Return a signature as JSON would give it back: plain dicts and lists, all the way down."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, list) or type(value) is tuple:
        return [plain(each) for each in value]
    return value


def copied_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options whose links and lists are their own; a chord's body is shared."""
    return {name: value if name == "chord" else copied(value) for name, value in options.items()}


def copied(value: Any) -> Any:
    """Return a copy of lists, dicts and signatures, all the way down."""
    if isinstance(value, dict):
        clone = getattr(value, "clone", None)  # a signature has one
        return {name: copied(each) for name, each in value.items()} if clone is None else clone()
    if isinstance(value, list):
        return [copied(each) for each in value]
    return set(value) if isinstance(value, set) else value
