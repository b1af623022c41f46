"""Celery's ways with ids, names and functions."""

from __future__ import annotations

from functools import cached_property

from dask_facade.celery.utils.functional import chunks, memoize, noop
from dask_facade.celery.utils.nodenames import nodename, nodesplit
from dask_facade.ids import new_id


def uuid() -> str:
    """Return a new id for a task."""
    return new_id()


gen_unique_id = uuid

__all__ = [
    "cached_property",
    "chunks",
    "gen_unique_id",
    "memoize",
    "nodename",
    "nodesplit",
    "noop",
    "uuid",
]
