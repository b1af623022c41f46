"""Stamps: what is said of a call for those who watch it, and how two sayings become one.

They are options of a signature; its option ``stamped_headers`` has their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAMES = "stamped_headers"


def stamps_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stamps among options, by name."""
    return {name: options[name] for name in options.get(NAMES) or () if name in options}


def merged_stamps(
    given: Mapping[str, Any],
    visited: dict[str, Any] | None,
    own: Mapping[str, Any] | None,
    *,
    append: bool,
) -> dict[str, Any]:
    """Return what a signature is stamped with.

    *given* are stamps from outside, *visited* those that a visitor says (it is completed by
    their names), *own* the options that the signature has. Of one name the first of outside,
    visitor, signature counts, but lists are joined; with *append* all are put into a list.
    """
    stamps = dict(given)
    stamps.setdefault(NAMES, list(given))
    if visited is not None:
        visited.setdefault(NAMES, list(visited))
        _merge_dictionaries(stamps, visited, aggregate_duplicates=append)
        stamps[NAMES] = sorted(set(stamps[NAMES]))
    if own is not None:
        names = {*stamps[NAMES], *(own.get(NAMES) or ())}
        stamps[NAMES] = sorted(names)
        _merge_dictionaries(
            stamps, {name: own[name] for name in names if name in own}, aggregate_duplicates=append
        )
        stamps[NAMES] = sorted(set(stamps[NAMES]))
    return stamps


def _merge_dictionaries(
    into: dict[str, Any], other: Mapping[str, Any] | None, aggregate_duplicates: bool = True
) -> None:
    """Add what *other* says to *into*, also in dicts within them.

    Lists are joined. Of other values that both have, *into* has a list of both where duplicates
    are to be aggregated, else its own.
    """
    for key, value in (other or {}).items():
        if key not in into:
            into[key] = value
            continue
        mine = into[key]
        if isinstance(mine, dict):
            _merge_dictionaries(mine, value, aggregate_duplicates)
        elif isinstance(mine, list) and isinstance(value, list):
            into[key] = [*mine, *value]
        elif aggregate_duplicates:
            into[key] = [*_several(mine), *(value if _joins(mine, value) else [value])]


def _several(value: Any) -> list[Any]:
    """Return one value, or several, as a list."""
    if value is None:
        return []
    return [value] if isinstance(value, int | float | str) else list(value)


def _joins(mine: Any, value: Any) -> bool:
    """Tell whether a list is added item by item."""
    return isinstance(value, list) and isinstance(mine, int | float | str)
