"""A job as the ledger knows it, and what moves it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from dask_facade.elsewhere import future_at
from dask_facade.messages import Call, Outcome
from dask_facade.states import PENDING, READY_STATES


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
    said: str = ""  # a state of the task's own, while it runs
    meta: bytes | None = None  # what it said with it, as serialization wrote it
    key: str = ""  # the result is also Dask data, named by Variable("job:<id>"); "" it is not
    size: int = 0  # bytes of the result, where it has a key
    ignore_result: bool = False
    graph: bool = False
    owner: str = ""  # primary key of the user whose it is
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

    @property
    def future_at(self) -> str | None:
        """The address of the scheduler that knows a future of it; see `elsewhere.future_at`."""
        return future_at(graph=self.graph, queue=self.queue, key=self.key)


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
    left: list[str] = field(default_factory=list)  # jobs that wait, to be taken up another time

    def __len__(self) -> int:
        return len(self.outcomes) + len(self.releases) + len(self.claims) + len(self.left)

    def extend(self, other: Batch) -> None:
        """Add what *other* has."""
        self.outcomes.extend(other.outcomes)
        self.releases.extend(other.releases)
        self.claims.extend(other.claims)
        self.left.extend(other.left)


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch changed. What is not named here was late, repeated or superseded."""

    outcomes: tuple[Outcome, ...]  # those that moved their job
    failed: tuple[Outcome, ...]  # dependants that fail with them, in the order of their failing
    released: tuple[tuple[str, int], ...]  # (id, hand) that moved
    claimed: tuple[tuple[str, int], ...]  # (id, hand) that moved
    ready: tuple[Call, ...]  # dependants and error callbacks that now wait for nothing
    more: bool = False  # `take_up` may find others


class Asked(NamedTuple):
    """A request that somebody wrote for the leader."""

    number: int
    kind: str  # one of REVOKE ...
    name: str  # a job's id, or a queue's name
    arguments: Mapping[str, object]


REVOKE = "revoke"  # a job; {"terminate": bool}
REOPEN = "retry"  # a job that failed or was revoked, with what failed because of it
FORGET = "forget"  # a job that has ended
ABORT = "abort"  # a job that has not ended; its task ends it, if it likes
REVOKE_STAMPED = "revoke_stamped"  # calls with a stamp of this name; {"values": list}
END = "end"  # likewise; {"state", "result": base64, "preview", "traceback"}
SAY = "say"  # a job that has not ended; {"state": str, "meta": base64, "preview": str}
PAUSE = "pause"  # a queue
RESUME = "resume"  # a queue
PRUNE = "prune"  # jobs that ended long ago; {"older": seconds}


class Ending(NamedTuple):
    """How others than its own worker let a job end."""

    id: str
    state: str  # a ready one
    result: bytes | None  # as in Outcome
    preview: str
    traceback: str | None


class Saying(NamedTuple):
    """What others than its own task say of the state of a job."""

    id: str
    state: str
    meta: bytes  # as serialization.dumps wrote it; b"": nothing
    preview: str


class InFlight(NamedTuple):
    """A call that the ledger believes to be with a runner."""

    call: Call
    runner: str
    worker: str


def end_of(job: Job) -> Outcome:
    """Return how a job ended, as its runner told."""
    return Outcome(
        id=job.id,
        attempt=job.attempt,
        hand=0,
        state=job.state,
        result=job.result,
        preview=job.result_preview,
        traceback=job.traceback,
        started=_seconds(job.started),
        finished=_seconds(job.finished) or 0.0,
        runtime=0.0,
        key=job.key,
        size=job.size,
    )


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()
