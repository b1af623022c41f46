from __future__ import annotations

import typing
from collections.abc import Sequence
from contextlib import suppress

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dask_facade.exceptions import MalformedMessage
from dask_facade.messages import (
    Abort,
    Ack,
    Again,
    Answer,
    Ask,
    Asked,
    Beat,
    Begun,
    Call,
    Edge,
    Hand,
    Held,
    Hello,
    Inputs,
    Kill,
    Leave,
    Look,
    Message,
    NewJob,
    Nudge,
    Offer,
    Outcome,
    Pull,
    Push,
    Rate,
    Recall,
    Refusal,
    Report,
    Returned,
    Serve,
    Spawn,
    Spawned,
    Unsure,
    Unwait,
    Update,
    Wait,
    Welcome,
)
from dask_facade.packing import pack, pack_again, pack_jobs, unpack, unpack_again, unpack_jobs

CALL = Call(
    id="a",
    task="tasks.add",
    attempt=1,
    hand=0,
    queue="celery",
    priority=0,
    created=1.5,
    due=None,
    acks_late=False,
    ignore_result=False,
    lost=0,
    root_id="a",
    parent_id=None,
    group_id=None,
    shape=0,
    payload=b"j[[],{}]",
    expires=None,
    graph=False,
    options=b"",
    near="",
    inputs=[],
)
OUTCOME = Outcome(
    id="a",
    attempt=1,
    hand=1,
    state="SUCCESS",
    result=b"jnull",
    preview="None",
    traceback=None,
    started=1.0,
    finished=2.0,
    runtime=1.0,
)

TEXT = st.text()  # without surrogates
NUMBERS = st.integers(-(2**63), 2**63 - 1)
SECONDS = st.floats(allow_nan=False)
ENDS = st.lists(st.tuples(TEXT, NUMBERS))
CALLS = st.builds(
    Call,
    id=TEXT,
    task=TEXT,
    attempt=NUMBERS,
    hand=NUMBERS,
    queue=TEXT,
    priority=NUMBERS,
    created=SECONDS,
    due=st.none() | SECONDS,
    acks_late=st.booleans(),
    ignore_result=st.booleans(),
    lost=NUMBERS,
    root_id=TEXT,
    parent_id=st.none() | TEXT,
    group_id=st.none() | TEXT,
    shape=NUMBERS,
    payload=st.binary(),
    expires=st.none() | SECONDS,
    graph=st.booleans(),
    options=st.binary(),
    near=TEXT,
    inputs=st.lists(st.binary()),
    marked=st.booleans(),
)
NEW_JOBS = st.builds(
    NewJob,
    id=TEXT,
    task=TEXT,
    queue=TEXT,
    priority=NUMBERS,
    payload=st.binary(),
    preview=TEXT,
    due=st.none() | SECONDS,
    expires=st.none() | SECONDS,
    delay=SECONDS,
    acks_late=st.booleans(),
    ignore_result=st.booleans(),
    graph=st.booleans(),
    owner=TEXT,
    root_id=TEXT,
    parent_id=st.none() | TEXT,
    group_id=st.none() | TEXT,
    shape=NUMBERS,
    options=st.binary(),
    errbacks=st.binary(),
)
EDGES = st.builds(Edge, TEXT, TEXT, NUMBERS, st.booleans())
AGAIN = st.builds(
    Again,
    delay=SECONDS,
    options=st.binary(),
    becomes=st.lists(NEW_JOBS, max_size=1),
    jobs=st.lists(NEW_JOBS, max_size=2),
    edges=st.lists(EDGES, max_size=2),
)
OUTCOMES = st.builds(
    Outcome,
    id=TEXT,
    attempt=NUMBERS,
    hand=NUMBERS,
    state=TEXT,
    result=st.none() | st.binary(),
    preview=TEXT,
    traceback=st.none() | TEXT,
    started=st.none() | SECONDS,
    finished=SECONDS,
    runtime=SECONDS,
    key=TEXT,
    size=NUMBERS,
    again=st.binary(),
    cut=st.booleans(),
)
HELLOS = st.builds(
    Hello,
    version=NUMBERS,
    role=TEXT,
    identity=TEXT,
    token=TEXT,
    instance=TEXT,
    worker=TEXT,
    queues=st.lists(TEXT),
    held=st.lists(st.builds(Held, TEXT, NUMBERS, NUMBERS, st.booleans())),
    node=TEXT,
    pid=NUMBERS,
    rates=st.lists(st.builds(Rate, TEXT, SECONDS)),
)
MESSAGES: dict[type, st.SearchStrategy[Message]] = {
    Hello: HELLOS,
    Welcome: st.builds(Welcome, NUMBERS, NUMBERS, SECONDS),
    Refusal: st.builds(Refusal, TEXT),
    Beat: st.just(Beat()),
    Offer: st.builds(Offer, st.lists(CALLS, max_size=3)),
    Wait: st.builds(Wait, st.lists(TEXT)),
    Unwait: st.builds(Unwait, st.lists(TEXT)),
    Unsure: st.builds(Unsure, st.lists(TEXT)),
    Push: st.builds(Push, st.lists(OUTCOMES, max_size=3)),
    Hand: st.builds(Hand, st.lists(CALLS, max_size=3)),
    Recall: st.just(Recall()),
    Returned: st.builds(Returned, ENDS),
    Begun: st.builds(Begun, TEXT, NUMBERS),
    Report: st.builds(Report, st.lists(OUTCOMES, max_size=3)),
    Ack: st.builds(Ack, ENDS),
    Pull: st.builds(Pull, TEXT, NUMBERS),
    Inputs: st.builds(Inputs, TEXT, NUMBERS, st.lists(st.binary()), NUMBERS),
    Leave: st.just(Leave()),
    Spawn: st.builds(
        Spawn,
        NUMBERS,
        st.booleans(),
        TEXT,
        NUMBERS,
        NUMBERS,
        st.lists(NEW_JOBS, max_size=2),
        st.lists(EDGES, max_size=2),
    ),
    Spawned: st.builds(Spawned, NUMBERS, SECONDS, TEXT, TEXT),
    Update: st.builds(Update, TEXT, NUMBERS, NUMBERS, TEXT, st.binary(), TEXT),
    Kill: st.builds(Kill, TEXT, NUMBERS),
    Abort: st.builds(Abort, TEXT, NUMBERS),
    Nudge: st.just(Nudge()),
    Ask: st.builds(Ask, NUMBERS, TEXT, st.binary(), st.lists(TEXT), TEXT),
    Asked: st.builds(Asked, NUMBERS, st.lists(TEXT)),
    Answer: st.builds(Answer, NUMBERS, TEXT, st.binary()),
    Serve: st.builds(Serve, st.lists(TEXT)),
    Look: st.builds(Look, st.lists(TEXT)),
}
ANY_MESSAGE = st.one_of(*MESSAGES.values())
EVERY_KIND = typing.get_args(Message)
NAMED = (*EVERY_KIND, Again, NewJob, Edge, Call, Outcome, Held, Rate)


def typed(value: object) -> object:
    """The value with its named tuples told apart; pairs come back as lists."""
    if isinstance(value, (list, tuple)):
        kind = type(value).__name__ if type(value) in NAMED else "sequence"
        return kind, [typed(each) for each in value]
    return value


@pytest.mark.parametrize("kind", EVERY_KIND)
@settings(max_examples=30)
@given(st.data())
def test_every_kind_of_message_comes_back_as_it_was(kind, data):
    message = data.draw(MESSAGES[kind])

    back = unpack(pack(message))

    assert type(back) is kind
    assert typed(back) == typed(message)


def test_a_message_is_read_from_any_buffer():
    data = pack(Wait(["a"]))

    assert unpack(bytearray(data)) == unpack(data) == Wait(["a"])


def test_numbers_without_a_fraction_pass_for_seconds():
    call = CALL._replace(created=1, due=2)

    assert unpack(pack(Offer([call]))) == Offer([call])


def packed(kind: type, *fields: object) -> bytes:
    return msgpack.packb((EVERY_KIND.index(kind), *fields))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",  # never used by msgpack
        b"\x93\x01",  # ends too early
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million
        b"\xdb\xff\xff\xff\xff",  # a text of four thousand million
        b"\x91" * 100_000,  # arrays in arrays
        pack(Beat()) + b"\x00",
        msgpack.packb(3),
        msgpack.packb(None),
        msgpack.packb([]),
        msgpack.packb("abc"),
        msgpack.packb(b"\x03"),  # a Beat, were bytes an array
        msgpack.packb({3: 1}),
        msgpack.packb({"a": 1}),
        msgpack.packb(["a"]),
        msgpack.packb([None]),
        msgpack.packb([1.0]),
        msgpack.packb([True, 1, 1, 1.0]),
        msgpack.packb([-1]),  # not the last kind
        msgpack.packb([len(EVERY_KIND)]),
        msgpack.packb([2**63]),
        msgpack.packb([[3]]),
        msgpack.packb(msgpack.ExtType(5, b"")),
        b"\xd7\xff\xff\xff\xff\xff\xff\xff\xff\xff",  # a time that is none
        b"\xa1\xff",  # a text that is no UTF-8
        packed(Beat, 1),
        packed(Wait),
        packed(Wait, ["a"], 1),
        packed(Wait, 5),
        packed(Wait, "abc"),
        packed(Wait, [1]),
        packed(Wait, [["a"]]),
        packed(Unwait, [None]),
        packed(Unsure, [1]),
        packed(Begun, "a"),
        packed(Begun, 1, 1),
        packed(Begun, "a", "1"),
        packed(Begun, "a", 1.0),
        packed(Pull, "a", None),
        packed(Returned, ["ab"]),
        packed(Returned, [["a", 1, 1]]),
        packed(Returned, [["a", "1"]]),
        packed(Returned, [[[], 1]]),
        packed(Ack, [["a"]]),
        packed(Ack, 1),
        packed(Refusal, 1),
        packed(Welcome, 1, 1, "5"),
        packed(Inputs, "a", 0, ["text"], 1),
        packed(Inputs, "a", 0, b"bytes", 1),
        packed(Hello),
        packed(Hello, 1, "client", "me"),
        packed(Hello, "1", "client", "me", "token", "", "", [], [], "", 0, []),
        packed(Hello, 1, "client", "me", "token", "", "", [1], [], "", 0, []),
        packed(Hello, 1, "client", "me", "token", "", "", [], [["a", 1, 1]], "", 0, []),
        packed(Hello, 1, "client", "me", "token", "", "", [], [["a", "1", 1, True]], "", 0, []),
        packed(Hello, 1, "client", "me", "token", "", "", [], [], "", 0, [["a", "1"]]),
        packed(Hello, 1, "client", "me", "token", "", "", [], 5, "", 0, []),
        packed(Offer, [CALL[:5]]),
        packed(Offer, ["a" * len(CALL)]),
        packed(Offer, CALL),
        packed(Offer, [None]),
        packed(Report, [OUTCOME[:-1]]),
        packed(Report, [{}]),
        packed(Spawn, 1, False, "a", 1, 1, [["b"]], []),
        packed(Spawn, 1, False, "a", 1, 1, [], [["a", "b", "0", True]]),
        packed(Spawn, 1, False, "a", 1, 1, 5, []),
        packed(Spawn, 1, False),
        packed(Look, [1]),
        packed(Kill, "a", "1"),
    ],
)
def test_bytes_that_are_no_message_are_malformed(data):
    with pytest.raises(MalformedMessage):
        unpack(data)


def wrong_values(sound: object) -> list[object]:
    """Values that may not stand in the place of a sound one; unhashable and odd ones among them."""
    values: list[object] = ["text", b"bytes", 7, 1.5, None, [], {}, ["a"], True]
    numbers = (int, float)
    return [
        value
        for value in values
        if type(value) is not type(sound)
        and not (isinstance(value, bool) and type(sound) is int)  # true is one
        and not (type(sound) is float and isinstance(value, numbers))
        and not (type(sound) is list and value == [])
    ]


MAY_BE_NONE = {"due", "expires", "parent_id", "group_id", "result", "traceback", "started"}
WHOLE_CALL = CALL._replace(due=2.5, expires=3.5, parent_id="b", group_id="c")
WHOLE_OUTCOME = OUTCOME._replace(traceback="words")


@pytest.mark.parametrize(
    ("kind", "member", "field"),
    [
        *((kind, WHOLE_CALL, field) for kind in (Offer, Hand) for field in Call._fields),
        *((kind, WHOLE_OUTCOME, field) for kind in (Report, Push) for field in Outcome._fields),
    ],
    ids=lambda value: value if isinstance(value, str) else getattr(value, "__name__", ""),
)
def test_a_member_with_a_field_of_the_wrong_type_is_malformed(kind, member, field):
    """What gets in is compared, hashed and written further on: a str among floats stops a heap."""
    for value in wrong_values(getattr(member, field)):
        if value is None and field in MAY_BE_NONE:
            continue
        data = pack(kind([member, member._replace(**{field: value})]))

        with pytest.raises(MalformedMessage):
            unpack(data)


def test_a_malformed_message_says_what_it_was():
    with pytest.raises(MalformedMessage, match="Begun"):
        unpack(packed(Begun, 1, 1))


@given(st.binary())
def test_random_bytes_raise_nothing_but_malformed_message(data):
    with suppress(MalformedMessage):
        unpack(data)


ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=3) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=18) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=30,
)


@given(st.integers(-1, len(EVERY_KIND)), st.lists(ANYTHING, max_size=9))
def test_random_fields_raise_nothing_but_malformed_message(tag, fields):
    with suppress(MalformedMessage):
        unpack(msgpack.packb([tag, *fields]))


@given(ANY_MESSAGE, st.data())
def test_a_message_cut_short_is_malformed(message, data):
    whole = pack(message)
    cut = data.draw(st.integers(0, len(whole) - 1))

    with pytest.raises(MalformedMessage):
        unpack(whole[:cut])


@given(ANY_MESSAGE, st.data())
def test_a_message_with_a_flipped_byte_raises_nothing_but_malformed_message(message, data):
    spoilt = bytearray(pack(message))
    place = data.draw(st.integers(0, len(spoilt) - 1))
    spoilt[place] = data.draw(st.integers(0, 255))

    with suppress(MalformedMessage):
        assert isinstance(unpack(spoilt), EVERY_KIND)


@given(AGAIN)
def test_how_a_job_goes_on_comes_back_as_it_was(again):
    assert typed(unpack_again(pack_again(again))) == typed(again)


@given(st.lists(NEW_JOBS, max_size=3))
def test_jobs_that_are_kept_for_later_come_back_as_they_were(jobs):
    assert unpack_jobs(pack_jobs(jobs)) == jobs


def test_no_jobs_take_no_bytes():
    assert pack_jobs([]) == b""


@given(ANYTHING)
def test_whatever_else_is_kept_for_later_is_malformed(value):
    data = msgpack.packb(value)

    with suppress(MalformedMessage):
        assert isinstance(unpack_again(data), Again)
    with suppress(MalformedMessage):
        assert all(isinstance(job, NewJob) for job in unpack_jobs(data))


def test_sequences_are_the_only_fields_without_a_plain_type():
    """What the checks of a field go by: the types as they are declared."""
    plain = {str, int, float, bool, bytes, str | None, float | None, bytes | None}
    for kind in NAMED:
        for hint in typing.get_type_hints(kind).values():
            assert hint in plain or typing.get_origin(hint) is Sequence
