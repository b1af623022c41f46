"""What a round has left behind, to be judged: rows, their history, what ran, what was told."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from dask_facade.states import READY_STATES, RECEIVED
from tests.chaos.mix import Submission
from tests.chaos.trace import BEGUN, ENDED, Step


@dataclass(frozen=True, slots=True)
class Row:
    """What the ledger says of a job at the end."""

    id: str
    state: str
    attempt: int
    hand: int
    lost: int
    open: int | None
    acks_late: bool
    parent_id: str | None
    preview: str
    eta: float | None  # monotonic, as all times here


@dataclass(frozen=True, slots=True)
class Move:
    """A state that a job came to be in."""

    id: str
    state: str
    attempt: int
    hand: int
    time: float


@dataclass(frozen=True)
class Evidence:
    """All that is known of a round. *causes*: names of exceptions with which jobs may fail."""

    submissions: Sequence[Submission]  # those whose commit was confirmed
    rows: Mapping[str, Row]
    moves: Sequence[Move]
    steps: Sequence[Step]
    got: Mapping[str, Any]  # [value], or the name of an exception
    causes: Collection[str]
    left: Sequence[str] = field(default_factory=list)

    @cached_property
    def begun(self) -> Mapping[str, Sequence[Step]]:
        """By job, when it began."""
        return _by_job(step for step in self.steps if step.what == BEGUN)

    @cached_property
    def ended(self) -> Mapping[str, Sequence[Step]]:
        """By job, when it had done its work."""
        return _by_job(step for step in self.steps if step.what == ENDED)

    @cached_property
    def lives(self) -> Mapping[str, Sequence[Move]]:
        """By job, the states that it was in."""
        return _by_job(self.moves)

    def finished(self, id: str) -> float | None:
        """Return when a job came to its end."""
        return next((move.time for move in self.lives[id] if move.state in READY_STATES), None)

    def handed_out_after(self, moment: float, known: frozenset[int]) -> float | None:
        """Return when the first call began that was claimed after *moment*.

        Calls in the processes that are *known* do not count.
        """
        claimed = {
            move.id: move.time
            for move in reversed(self.moves)
            if move.state == RECEIVED and move.time > moment
        }
        return min(
            (
                step.time
                for step in self.steps
                if step.what == BEGUN
                and step.pid not in known
                and step.time > claimed.get(step.id, step.time)
            ),
            default=None,
        )


def _by_job(parts: Iterable[Any]) -> Mapping[str, Sequence[Any]]:
    sorted_out = defaultdict(list)
    for part in parts:
        sorted_out[part.id].append(part)
    return sorted_out
