"""What running calls submit: whether it can be kept, and what becomes of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from dask_facade.exceptions import LedgerRefused
from dask_facade.messages import (
    DUPLICATE,
    INVALID,
    SUPERSEDED,
    Edge,
    NewJob,
    Spawn,
    Spawned,
)
from dask_facade.serialization import storable
from dask_facade.states import IN_FLIGHT_STATES

YEAR_10000 = 253402300800.0  # seconds since the epoch
LONGEST_DELAY = 1e10  # seconds, 300 years
_LONGEST = 255  # characters of an id, a name or an address


class Known(NamedTuple):
    """What the ledger has of a job that somebody names."""

    state: str
    attempt: int
    hand: int
    parent_id: str | None
    created: float


def check_jobs(jobs: Sequence[NewJob], edges: Sequence[Edge]) -> None:
    """Raise LedgerRefused for jobs of a runner that no ledger can keep."""
    try:
        for job in jobs:
            for name in (job.id, job.task, job.queue, job.root_id):
                check_name(name)
            for text in (job.parent_id, job.group_id, job.owner):
                if text:
                    check_name(text)
            if b"\0" in job.preview.encode():
                raise ValueError("a text has a NUL in it")
            if not all(0 <= (time or 0) < YEAR_10000 for time in (job.due, job.expires)):
                raise ValueError("a time is none of this age")
            if not 0 <= job.delay < LONGEST_DELAY:
                raise ValueError("its delay is out of range")
            if not (abs(job.priority) < 2**31 and 0 <= job.shape < 2**15):
                raise ValueError("its priority or shape is out of range")
        for edge in edges:
            check_name(edge.parent_id)
            check_name(edge.child_id)
            if not 0 <= edge.position < 2**31:
                raise ValueError("a position is out of range")
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerRefused(f"jobs cannot be stored: {error}") from error


def check_name(text: str) -> None:
    """Raise ValueError for what no column of names can keep."""
    if not 0 < len(text) <= _LONGEST or b"\0" in text.encode():
        raise ValueError("a name is empty, too long, or has a NUL in it")


def refusal_of(spawn: Spawn) -> Spawned | None:
    """Return the answer to jobs that no ledger can keep; None for others."""
    try:
        check_name(spawn.parent_id)
        check_jobs(spawn.jobs, spawn.edges)
    except (ValueError, LedgerRefused) as error:
        return Spawned(spawn.number, 0.0, INVALID, storable(str(error)))
    return None


def joins_of(spawn: Spawn) -> list[Edge]:
    """Return the edges by which jobs that are there already wait for more."""
    if not spawn.edges:
        return []
    own = {job.id for job in spawn.jobs}
    return [edge for edge in spawn.edges if edge.child_id not in own]


def without_known(spawn: Spawn, kin: Collection[tuple[str, str]]) -> list[Edge]:
    """Return the edges of *spawn* but those that are there already, of one told twice."""
    joins = {edge for edge in joins_of(spawn) if (edge.parent_id, edge.child_id) in kin}
    return [edge for edge in spawn.edges if edge not in joins] if joins else list(spawn.edges)


def answer_to(
    spawn: Spawn, known: Mapping[str, Known], kin: Collection[tuple[str, str]] = ()
) -> Spawned | None:
    """Return the answer to *spawn* if nothing is to be inserted, else None.

    *known* has those of its parent and its jobs that the ledger knows, *kin* the pairs (parent,
    child) of edges that begin at them. A job that is there already may wait for more as long as it
    waits for the one that says so: it cannot have begun.
    """
    parent = known.get(spawn.parent_id)
    ids = [job.id for job in spawn.jobs]
    if spawn.again and ids and all(_is_same(job, known.get(job.id)) for job in spawn.jobs):
        return Spawned(spawn.number, known[ids[0]].created, "", "")
    if (
        parent is None
        or parent.state not in IN_FLIGHT_STATES
        or (parent.attempt, parent.hand) != (spawn.attempt, spawn.hand)
    ):
        return Spawned(spawn.number, 0.0, SUPERSEDED, spawn.parent_id)
    for edge in joins_of(spawn):
        if (spawn.parent_id, edge.child_id) not in kin:
            words = f"job {edge.child_id!r} does not wait for {spawn.parent_id!r}"
            return Spawned(spawn.number, 0.0, INVALID, words)
    seen: set[str] = set()
    for id in ids:
        if id in known or id in seen:
            return Spawned(spawn.number, 0.0, DUPLICATE, id)
        seen.add(id)
    return None


def _is_same(job: NewJob, known: Known | None) -> bool:
    return known is not None and job.parent_id is not None and known.parent_id == job.parent_id
