"""What the broker is told, what it answers, and the numbers that it goes by."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dask_facade.jobs import Batch, InFlight, Written
from dask_facade.messages import Held, Message, Outcome, Rate, Spawn, Update

GRAPHS = "graphs"  # the runner that follows Dask's futures, within the dispatcher


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
    rates: Sequence[Rate] = ()  # of the tasks that it knows


class LineEnded(NamedTuple):
    """The line of a client or a runner is gone. *whole*: by EOF, so all that was sent arrived."""

    peer: str
    whole: bool


class WorkerGone(NamedTuple):
    """Dask has removed the worker with this server id."""

    worker: str


class WorkersPaused(NamedTuple):
    """These workers, and no others, are paused by Dask: they lack memory."""

    workers: Collection[str]


class Placed(NamedTuple):
    """These runners have the places of a worker; any other one there ends what it runs."""

    worker: str
    runners: Collection[str]


class Heard(NamedTuple):
    """A message of a client or a runner."""

    peer: str
    message: Message


class Found(NamedTuple):
    """Calls that an earlier leader had handed out."""

    in_flight: Sequence[InFlight]


class Wrote(NamedTuple):
    """The ledger's answer to a `Write`, or what else it says by itself (to an empty batch)."""

    batch: Batch
    written: Written


class Tick(NamedTuple):
    """Time has passed."""


class Revoke(NamedTuple):
    """These jobs shall end as REVOKED: before they begin, and with *terminate* while they run.

    That goes for jobs which are not known here, too, until `Unrevoke`.
    """

    ids: Collection[str]
    terminate: bool


class Unrevoke(NamedTuple):
    """Nothing is left to be revoked of these jobs."""

    ids: Collection[str]


class Aborting(NamedTuple):
    """The tasks of these jobs shall know that they are to end, until the jobs have ended."""

    ids: Collection[str]


class Unabort(NamedTuple):
    """Nobody asks any more that these end."""

    ids: Collection[str]


class Paused(NamedTuple):
    """Nothing is handed out of these queues; of all others, calls are."""

    queues: Collection[str]


class Limited(NamedTuple):
    """Calls of these tasks begin so often, whatever runners say who come up later."""

    rates: Sequence[Rate]


class Stamped(NamedTuple):
    """Calls are revoked by other stamps than before."""


class LookedUp(NamedTuple):
    """The answer to `LookUp`: how jobs ended; of *unknown* ones the peer must look by itself."""

    peer: str
    outcomes: Sequence[Outcome]
    unknown: Sequence[str]


class Retire(NamedTuple):
    """These runners are needed no longer, unless they have something to run."""

    runners: Collection[str]


class Drain(NamedTuple):
    """Hand out nothing more, and let the runners go."""


Event = (
    RunnerUp
    | LineEnded
    | WorkerGone
    | WorkersPaused
    | Placed
    | Heard
    | Found
    | Wrote
    | Tick
    | Revoke
    | Unrevoke
    | Aborting
    | Unabort
    | Paused
    | Limited
    | Stamped
    | LookedUp
    | Retire
    | Drain
)


# Instructions


class Write(NamedTuple):
    """Commit this, then say `Wrote`."""

    batch: Batch


class Send(NamedTuple):
    """Send this to a client or a runner."""

    peer: str
    message: Message


class Insert(NamedTuple):
    """Commit what a running call submits, answer `Spawned`, and offer what is ready of it."""

    peer: str
    spawn: Spawn


class Note(NamedTuple):
    """Write what a running call says of its state, some time soon."""

    update: Update


class LookUp(NamedTuple):
    """Ask the ledger how these jobs ended, then say `LookedUp`."""

    peer: str
    ids: Sequence[str]


class Refuse(NamedTuple):
    """The event was none that can happen; say so in the log."""

    reason: str


Instruction = Write | Send | Insert | Note | LookUp | Refuse


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers that the broker goes by."""

    window: float = 0.02  # seconds of work that a runner has in hand
    window_calls: int = 500
    window_weight: int = 1_000  # of them, by `backlog.weight_of`, unless one alone has more
    heaviest: int = 15_000  # that is handed out at all: 58.6 MiB, where a message takes 64
    overrun: float = 0.05  # seconds after which what waits behind a call is recalled
    worker_gone: float = 60.0  # seconds without its line, or without Dask knowing its worker,
    # after which a runner counts as dead
    max_lost: int = 3
    high_water: int = 20_000  # calls of a queue that may be ready here, by `backlog.weight_of`;
    # others stay in the ledger
    horizon: float = 2.0  # seconds ahead of when they are due in which calls are known here
    far: float = 60.0  # seconds ahead of when they are due from which calls are left to the ledger
