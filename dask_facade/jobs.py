"""A job as the ledger knows it, what is written to make one, and what moves it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from dask_facade.messages import Call, Outcome
from dask_facade.states import PENDING, READY_STATES


class NewJob(NamedTuple):
    """What a submitter writes of a job. The ledger adds when: its own clock says it."""

    id: str
    task: str
    queue: str
    priority: int
    payload: bytes
    preview: str  # the arguments, for people
    eta: datetime | None  # aware; None: at once
    acks_late: bool
    ignore_result: bool
    root_id: str
    parent_id: str | None
    group_id: str | None
    shape: int  # how the results of what it depends on enter its arguments: messages.Shape


class Edge(NamedTuple):
    """A dependency: *child* begins when *parent* is SUCCESS, and fails when that fails."""

    parent_id: str
    child_id: str
    position: int  # among the child's inputs; from 0
    takes_result: bool


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the ledger, as readers see it."""

    id: str
    task: str = ""
    state: str = PENDING
    attempt: int = 1
    queue: str = ""
    priority: int = 0
    arguments: str = ""  # a preview
    result: bytes | None = None  # the value, or the exception, as serialization wrote it
    result_preview: str = ""
    traceback: str | None = None
    ignore_result: bool = False
    worker: str = ""
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    created: datetime | None = None
    eta: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None

    @property
    def ready(self) -> bool:
        """Whether the state is final."""
        return self.state in READY_STATES


class Claim(NamedTuple):
    """Write that *runner* gets the call: *hand* is one more than the row's."""

    id: str
    attempt: int
    hand: int
    runner: str
    worker: str


class Release(NamedTuple):
    """Write that nobody holds the call that was handed out as *hand*."""

    id: str
    attempt: int
    hand: int
    lost: int  # how often a worker died with it, this time counted


@dataclass(slots=True)
class Batch:
    """What the leader writes in one transaction: outcomes first, then releases, then claims."""

    outcomes: list[Outcome] = field(default_factory=list)
    releases: list[Release] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.outcomes) + len(self.releases) + len(self.claims)

    def extend(self, other: Batch) -> None:
        """Add what *other* has."""
        self.outcomes.extend(other.outcomes)
        self.releases.extend(other.releases)
        self.claims.extend(other.claims)


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch changed. What is not named here was late, repeated or superseded."""

    outcomes: tuple[Outcome, ...]  # those that moved their job
    failed: tuple[Outcome, ...]  # dependants that fail with them, in the order of their failing
    released: tuple[tuple[str, int], ...]  # (id, hand) that moved
    claimed: tuple[tuple[str, int], ...]  # (id, hand) that moved
    ready: tuple[Call, ...]  # dependants that now wait for nothing


class InFlight(NamedTuple):
    """A call that the ledger believes to be with a runner."""

    call: Call
    runner: str
    worker: str
