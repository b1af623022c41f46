"""What travels on the lines, as tuples that msgpack writes and reads.

They are named tuples, not dataclasses: tens of thousands pass each second, and making one from
what msgpack returns costs a quarter of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from dask_facade.exceptions import MalformedMessage

VERSION = 1

CLIENT = "client"
RUNNER = "runner"


class Shape:
    """How the results of the jobs a call depends on enter its arguments."""

    NOTHING = 0  # it has none, or takes none of them (an immutable signature)
    FIRST = 1  # one result, before the other positional arguments
    LIST = 2  # a list of results, before the other positional arguments; pulled by the runner


class Call(NamedTuple):
    """One attempt of a job that is ready to run: what a runner needs to run it."""

    id: str
    task: str
    attempt: int  # from 1; a retry is the next
    hand: int  # how often it has been claimed; on its way to a runner, the number of its own claim
    queue: str
    priority: int  # larger goes first
    created: float  # seconds since the epoch; orders calls of one priority
    due: float | None  # seconds since the epoch; None: at once
    acks_late: bool
    ignore_result: bool
    lost: int  # how often a worker died with it
    root_id: str
    parent_id: str | None
    group_id: str | None
    shape: int  # of Shape
    payload: bytes  # arguments, as serialization.dump_arguments wrote them
    inputs: Sequence[bytes]  # with Shape.FIRST: that one result
    marked: bool = False  # its runner says when it begins


class Outcome(NamedTuple):
    """How one attempt ended."""

    id: str
    attempt: int
    hand: int
    state: str
    result: bytes | None  # the value, or the exception, as serialization wrote it
    preview: str  # for people
    traceback: str | None
    started: float | None  # seconds since the epoch, on the worker's clock; None: it never began
    finished: float
    runtime: float  # seconds, monotonic


class Held(NamedTuple):
    """A call that a runner has in hand when it dials again."""

    id: str
    attempt: int
    hand: int
    begun: bool


class Hello(NamedTuple):
    """The first message of who dials."""

    version: int
    role: str
    identity: str
    token: str
    instance: str = ""  # of a runner: made when it starts, so that one started twice is known
    worker: str = ""  # of a runner: its Dask worker's address
    queues: Sequence[str] = ()  # what a runner serves; none named: every queue
    held: Sequence[Held] = ()


class Welcome(NamedTuple):
    """The answer to Hello."""

    version: int
    epoch: int
    lease: float  # seconds for which hearing the dispatcher allows a runner to begin calls


class Refusal(NamedTuple):
    """The other answer to Hello; the line ends after it."""

    reason: str


class Beat(NamedTuple):
    """The leader lives."""


class Offer(NamedTuple):
    """Calls whose rows are committed and that wait for nothing."""

    calls: Sequence[Call]


class Wait(NamedTuple):
    """Tell me of the ends of these jobs."""

    ids: Sequence[str]


class Unwait(NamedTuple):
    """Do not tell me of these jobs any more."""

    ids: Sequence[str]


class Unsure(NamedTuple):
    """Jobs of a Wait that are not in flight here: the ledger tells what they are."""

    ids: Sequence[str]


class Push(NamedTuple):
    """Committed ends of jobs that the client waits for."""

    outcomes: Sequence[Outcome]


class Hand(NamedTuple):
    """Calls for a runner; their claims are committed."""

    calls: Sequence[Call]


class Recall(NamedTuple):
    """Give back what you have not begun."""


class Returned(NamedTuple):
    """(id, hand) of calls that were not begun and never will be by this runner."""

    calls: Sequence[tuple[str, int]]


class Begun(NamedTuple):
    """This call is about to begin."""

    id: str
    hand: int


class Report(NamedTuple):
    """Ends of calls, kept by the runner until Ack names them."""

    outcomes: Sequence[Outcome]


class Ack(NamedTuple):
    """(id, hand) of outcomes that the ledger has taken or refused for good."""

    calls: Sequence[tuple[str, int]]


class Pull(NamedTuple):
    """Send the results that this call takes as a list, from *start* on."""

    id: str
    start: int


class Inputs(NamedTuple):
    """Results in the order of their positions; those after them want another Pull."""

    id: str
    start: int
    results: Sequence[bytes]
    total: int


class Leave(NamedTuple):
    """End when you have nothing in hand."""


Message = (
    Hello
    | Welcome
    | Refusal
    | Beat
    | Offer
    | Wait
    | Unwait
    | Unsure
    | Push
    | Hand
    | Recall
    | Returned
    | Begun
    | Report
    | Ack
    | Pull
    | Inputs
    | Leave
)

_KINDS: tuple[type[Message], ...] = (
    Hello,
    Welcome,
    Refusal,
    Beat,
    Offer,
    Wait,
    Unwait,
    Unsure,
    Push,
    Hand,
    Recall,
    Returned,
    Begun,
    Report,
    Ack,
    Pull,
    Inputs,
    Leave,
)
_TAGS = {kind: tag for tag, kind in enumerate(_KINDS)}
_MEMBERS: dict[type[Message], tuple[int, type[Call] | type[Outcome] | type[Held]]] = {
    Offer: (0, Call),
    Hand: (0, Call),
    Push: (0, Outcome),
    Report: (0, Outcome),
    Hello: (7, Held),
}


def pack(message: Message) -> bytes:
    """Return *message* as bytes."""
    return msgpack.packb((_TAGS[type(message)], *message))  # type: ignore[no-any-return]


def unpack(data: bytes | bytearray) -> Message:
    """Return the message in *data*; raise MalformedMessage where there is none."""
    try:
        tag, *fields = msgpack.unpackb(data, strict_map_key=True)
        kind = _KINDS[tag]
        members = _MEMBERS.get(kind)
        if members is not None:
            index, member = members
            fields[index] = [member(*each) for each in fields[index]]
        return _checked(kind(*fields))
    except (ValueError, TypeError, IndexError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"no message of version {VERSION}: {error}") from error


def _checked(message: Any) -> Message:
    """Refuse the types that would do harm further in: ids are keys, hands are compared."""
    match message:
        case Hello():
            sound = all(type(each) is str for each in message[1:6])
        case Wait(ids) | Unwait(ids):
            sound = all(type(each) is str for each in ids)
        case Offer(calls) | Hand(calls):
            sound = all(type(each.id) is str and type(each.hand) is int for each in calls)
        case Report(outcomes) | Push(outcomes):
            sound = all(type(each.id) is str and type(each.hand) is int for each in outcomes)
        case Returned(calls) | Ack(calls):
            sound = all(type(id) is str and type(hand) is int for id, hand in calls)
        case Begun() | Pull():
            sound = type(message[0]) is str and type(message[1]) is int
        case _:
            sound = True
    if not sound:
        raise MalformedMessage(f"fields of the wrong type in {type(message).__name__}")
    return message  # type: ignore[no-any-return]  # one of the kinds by construction
