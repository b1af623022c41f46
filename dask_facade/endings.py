"""How what is submitted ends: in one job, or in those of a group."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dask_facade.messages import BEHIND, Edge


@dataclass(frozen=True, slots=True)
class One:
    """The end of a signature that is one job."""

    id: str
    parent: Ending | None


@dataclass(frozen=True, slots=True)
class Many:
    """The end of a signature that is a group."""

    group_id: str
    members: tuple[Ending, ...]
    parent: Ending | None


Ending = One | Many


def leaves(ending: Ending) -> Iterator[str]:
    """Return the ids of the jobs that end *ending*, in order; nested groups are flattened."""
    match ending:
        case One(id):
            yield id
        case Many(members=members):
            for member in members:
                yield from leaves(member)


def joins(ending: Ending, body_id: str) -> Iterator[Edge]:
    """Yield the edges by which a body takes the results of *ending*, behind those it takes."""
    for job_id in leaves(ending):
        yield Edge(job_id, body_id, BEHIND, takes_result=True)


Layout = list[Any]
"""How results stand in lists: 0 for one of them, a list for the results of a group."""


def layout_of(ending: Ending | None, *, counted: bool) -> Layout | None:
    """Return how the results of a header are nested; None where each is that of one member.

    It is told all the same if their number must be known (*counted*).
    """
    if not isinstance(ending, Many):
        return None
    if not counted and not any(isinstance(each, Many) for each in ending.members):
        return None
    return [_nested(each) for each in ending.members]


def _nested(ending: Ending) -> Any:
    return [_nested(each) for each in ending.members] if isinstance(ending, Many) else 0


def only_group(whole: Many) -> Many:
    """Return the group that is the only member of a group, else that itself."""
    if len(whole.members) == 1 and isinstance(whole.members[0], Many):
        return whole.members[0]
    return whole
