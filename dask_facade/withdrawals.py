"""Stamps by which calls are revoked: none begins that has one of their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dask_facade.serialization import plain_value

_SIGNS = (b'"stamps"', b'"stamped_headers"')


def listed(value: Any) -> list[Any]:
    """Return a value as a list of values; None: of none."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def stamps_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a call was stamped with, by the names of its stamps."""
    stamps = options.get("stamps") or {}
    headers = options.get("headers") or {}
    names = options.get("stamped_headers") or stamps
    return {name: stamps.get(name, headers.get(name)) for name in names}


def has_stamp(options: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a call was stamped, under one of these names, with one of its values."""
    return any(
        each in listed(wanted[name])
        for name, value in stamps_of(options).items()
        if name in wanted
        for each in listed(value)
    )


def is_stamped(data: bytes, wanted: Mapping[str, Any]) -> bool:
    """Tell the same of options as they are stored; False where JSON does not say them.

    Whoever wrote them may have written what are no stamps: that is False, too.
    """
    if not any(sign in data for sign in _SIGNS):
        return False
    options = plain_value(data)
    try:
        return isinstance(options, Mapping) and has_stamp(options, wanted)
    except (AttributeError, TypeError):
        return False
