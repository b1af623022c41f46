"""What the broker is told, what it answers, and the numbers that it goes by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dask_facade.jobs import Batch, InFlight, Written
from dask_facade.messages import Call, Held, Message


class Instant(NamedTuple):
    """A reading of both clocks, in seconds."""

    steady: float  # monotonic: for waiting
    wall: float  # since the epoch: for due times and for people


# Events


class RunnerUp(NamedTuple):
    """A runner has dialled, for the first time or again."""

    runner: str
    worker: str
    queues: Collection[str]
    held: Sequence[Held]


class LineEnded(NamedTuple):
    """The line of a client or a runner is gone. *whole*: by EOF, so all that was sent arrived."""

    peer: str
    whole: bool


class WorkerGone(NamedTuple):
    """Dask has removed the worker with this server id."""

    worker: str


class Heard(NamedTuple):
    """A message of a client or a runner."""

    peer: str
    message: Message


class Taken(NamedTuple):
    """Calls that the leader found in the ledger."""

    calls: Sequence[Call]


class Found(NamedTuple):
    """Calls that an earlier leader had handed out."""

    in_flight: Sequence[InFlight]


class Wrote(NamedTuple):
    """The ledger's answer to a batch of `Write`."""

    batch: Batch
    written: Written


class Tick(NamedTuple):
    """Time has passed."""


class Drain(NamedTuple):
    """Hand out nothing more, and let the runners go."""


Event = RunnerUp | LineEnded | WorkerGone | Heard | Taken | Found | Wrote | Tick | Drain


# Instructions


class Write(NamedTuple):
    """Commit this, then say `Wrote`."""

    batch: Batch


class Send(NamedTuple):
    """Send this to a client or a runner."""

    peer: str
    message: Message


class Refuse(NamedTuple):
    """The event was none that can happen; say so in the log."""

    reason: str


Instruction = Write | Send | Refuse


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers that the broker goes by."""

    window: float = 0.02  # seconds of work that a runner has in hand
    window_calls: int = 500
    overrun: float = 0.05  # seconds after which what waits behind a call is recalled
    worker_gone: float = 60.0  # seconds without its line, or without Dask knowing its worker,
    # after which a runner counts as dead
    max_lost: int = 3
    high_water: int = 20_000  # calls that may be ready here; the others stay in the ledger
