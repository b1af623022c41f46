"""Messages as bytes, and back: what is read is what it says it is, or no message at all."""

from __future__ import annotations

from collections.abc import Sequence
from operator import contains
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgpack

from dask_facade.exceptions import MalformedMessage
from dask_facade.messages import (
    KINDS,
    VERSION,
    Ack,
    Again,
    Call,
    Edge,
    Hand,
    Held,
    Hello,
    Message,
    NewJob,
    Offer,
    Outcome,
    Push,
    Rate,
    Report,
    Returned,
    Spawn,
)

_BUFFER = 4096  # bytes to begin with; the packer's own 256 KiB cost more than most messages
_TAGS = {kind: tag for tag, kind in enumerate(KINDS)}


class _Handed(NamedTuple):
    id: str
    hand: int


_MEMBERS: dict[type, tuple[tuple[int, type], ...]] = {
    Hello: ((7, Held), (10, Rate)),
    Offer: ((0, Call),),
    Push: ((0, Outcome),),
    Hand: ((0, Call),),
    Returned: ((0, _Handed),),
    Report: ((0, Outcome),),
    Ack: ((0, _Handed),),
    Spawn: ((5, NewJob), (6, Edge)),
    Again: ((2, NewJob), (3, NewJob), (4, Edge)),
}
"""Where a message has others within it, and what they are."""


def pack(message: Message) -> bytes:
    """Return *message* as bytes."""
    data: bytes = msgpack.packb((_TAGS[type(message)], *message), buf_size=_BUFFER)
    return data


def unpack(data: bytes | bytearray) -> Message:
    """Return the message in *data*; raise MalformedMessage where there is none."""
    try:
        array = msgpack.unpackb(data)
        if type(array) is not list or type(array[0]) is not int or array[0] < 0:
            raise TypeError("not an array that begins with the number of a kind")
        return _whole(KINDS[array[0]], array[1:])  # type: ignore[no-any-return]  # one of the kinds
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"no message of version {VERSION}: {error}") from error


def pack_again(again: Again) -> bytes:
    """Return how a job goes on as bytes."""
    data: bytes = msgpack.packb(again)
    return data


def unpack_again(data: bytes) -> Again:
    """Return what `pack_again` got; raise MalformedMessage."""
    try:
        return _whole(Again, msgpack.unpackb(data))  # type: ignore[no-any-return]  # it is one
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"not how a job goes on: {error}") from error


def pack_jobs(jobs: Sequence[NewJob]) -> bytes:
    """Return jobs as bytes; b"" for none."""
    data: bytes = msgpack.packb(jobs) if jobs else b""
    return data


def unpack_jobs(data: bytes) -> list[NewJob]:
    """Return what `pack_jobs` got; raise MalformedMessage."""
    try:
        return _made(NewJob, msgpack.unpackb(data)) if data else []
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise MalformedMessage(f"no jobs: {error}") from error


def _whole(kind: Any, fields: list[Any]) -> Any:
    """Return the message of *kind* with *fields*, and those within it."""
    for place, member in _MEMBERS.get(kind, ()):
        fields[place] = _made(member, fields[place])
    return _made(kind, [fields])[0]


def _made(kind: Any, rows: Any) -> list[Any]:
    """Return a *kind* for each of *rows*; raise TypeError where a field has not its type.

    Whoever has a token may say anything, and what is said is hashed, compared and written further
    on: one text among the times of a heap stops all who use it.
    """
    sequences, known = _DECLARED[kind][1:]
    made = []
    for fields in rows:
        types = tuple(map(type, fields))
        if types not in known:
            _check(kind, fields, types)
        for place, element in sequences:
            if fields[place] and not all(type(each) is element for each in fields[place]):
                raise TypeError(f"not the fields of {kind.__name__}")
        made.append(tuple.__new__(kind, fields))
    return made


def _check(kind: Any, fields: Any, types: tuple[type, ...]) -> None:
    declared, _, known = _DECLARED[kind]
    sound = type(fields) is list and len(types) == len(declared)
    if not sound or not all(map(contains, declared, types)):
        raise TypeError(f"not the fields of {kind.__name__}")
    known.add(types)


class _Declaration(NamedTuple):
    types: tuple[frozenset[type], ...]  # what each field may be
    sequences: tuple[tuple[int, type], ...]  # where plain values stand in a list, and their type
    known: set[tuple[type, ...]]  # combinations that were found sound


def _declaration(kind: type) -> _Declaration:
    types: list[frozenset[type]] = []
    sequences: list[tuple[int, type]] = []
    for place, hint in enumerate(get_type_hints(kind).values()):
        if get_origin(hint) is Sequence:
            types.append(frozenset({list}))
            if get_args(hint)[0] in (str, bytes):
                sequences.append((place, get_args(hint)[0]))
        else:
            accepted = set(get_args(hint)) or {hint}
            types.append(frozenset(accepted | {int} if float in accepted else accepted))
    return _Declaration(tuple(types), tuple(sequences), set())


_DECLARED = {
    kind: _declaration(kind)
    for kind in (*KINDS, Again, NewJob, Edge, Call, Outcome, Held, Rate, _Handed)
}
