from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import math
import pickle
import threading
from collections import OrderedDict, defaultdict

import pytest
import tblib.pickling_support
from hypothesis import given
from hypothesis import strategies as st

from dask_facade.exceptions import DecodeError, EncodeError, UnpickleableExceptionWrapper
from dask_facade.serialization import (
    NONE,
    PREVIEW_LIMIT,
    Reference,
    as_json,
    count_references,
    dump_arguments,
    dump_exception,
    dump_referring,
    dumps,
    load_arguments,
    load_exception,
    loads,
    preview,
    preview_arguments,
    resolve,
    storable,
)

CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)
DEEP: list[object] = []
for _ in range(100):
    DEEP = [DEEP]


class Colour(enum.IntEnum):
    RED = 1


class Words(str):
    pass


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        False,
        0,
        -(2**70),
        0.1,
        -0.0,
        1e308,
        "",
        "é ü 漢 😀",
        "\x00\x1f\u2028",
        [],
        {},
        [1, [2, [3, {"a": None}]]],
        {"": {"b": [True, 1, 1.0]}},
        DEEP,
    ],
)
def test_what_json_says_without_loss_is_json(value):
    data = dumps(value)

    assert data[:1] == b"j"
    assert repr(loads(data)) == repr(value)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        [(1,)],  # also far inside
        {"a": {"b": [()]}},
        {1: "int key"},
        {None: 1},
        {True: 1},
        {1, 2},
        frozenset({1}),
        b"bytes",
        bytearray(b"bytes"),
        math.inf,
        -math.inf,
        1j,
        decimal.Decimal("1.10"),
        datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC),
        datetime.timedelta(days=1),
        Colour.RED,
        [Colour.RED],
        {Colour.RED: 1},
        Words("a str of another kind"),
        OrderedDict(a=1),
        defaultdict(list, a=[1]),
        pytest.param(10**5000, id="more digits than json writes"),
        "\ud800",  # a surrogate alone
        "\ud83d\ude00",  # two, which json would read as one character
        {"\ud83d\ude00": 1},
        range(3),
        len,
    ],
)
def test_what_json_would_change_or_refuse_is_pickled(value):
    data = dumps(value)
    back = loads(data)

    assert data[:1] == b"c"
    assert back == value
    assert type(back) is type(value)


def test_nan_comes_back_as_nan():
    assert math.isnan(loads(dumps({"a": [math.nan]}))["a"][0])


def test_an_element_keeps_its_type():
    (back,) = loads(dumps([Colour.RED]))

    assert type(back) is Colour


def test_a_list_that_holds_itself_comes_back_so():
    back = loads(dumps(CIRCLE))

    assert back[0] is back


def test_functions_made_on_the_spot_come_back():
    two = 2

    assert loads(dumps(lambda x: x * two))(21) == 42


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=()))  # surrogates too
    | st.binary()
    | st.datetimes(timezones=st.none() | st.just(datetime.UTC))
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.just(Colour.RED)
)
KEYS = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner) | st.sets(KEYS)
    ),
    max_leaves=20,
)


def typed(value):
    """The value with the type of every part of it, for 1 == 1.0 == True."""
    match value:
        case dict():
            parts = [(typed(key), typed(each)) for key, each in value.items()]
        case list() | tuple():
            parts = [typed(each) for each in value]
        case set():
            parts = {(type(each), each) for each in value}
        case _:
            parts = repr(value)
    return type(value), parts


@given(VALUES)
def test_every_value_comes_back_as_it_was(value):
    assert typed(loads(dumps(value))) == typed(value)


@given(st.lists(VALUES, max_size=3), st.dictionaries(st.text(), VALUES, max_size=3))
def test_arguments_come_back_as_they_were(args, kwargs):
    back = load_arguments(dump_arguments(tuple(args), kwargs))

    assert typed(back) == typed((args, kwargs))


def test_none_is_written_as_the_constant_says():
    assert dumps(None) == NONE


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (threading.Lock(), "lock"),
        ((each for each in ()), "generator"),
        ([threading.Lock()], "lock"),
    ],
)
def test_what_cannot_be_said_is_named_with_its_type(value, kind):
    with pytest.raises(EncodeError, match=kind) as caught:
        dumps(value)

    assert isinstance(caught.value, TypeError)


def test_whatever_a_reduce_method_raises_is_an_encode_error():
    class Stubborn:
        def __reduce__(self):
            raise ZeroDivisionError("no")

    with pytest.raises(EncodeError, match=r"Stubborn cannot be serialised: ZeroDivisionError: no"):
        dumps(Stubborn())


class Traitor:
    def __reduce__(self):
        return divmod, (1, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"j",
        b"j[1",
        b"j\xff",
        b"c",
        b"c\x80\x05garbage",
        b"cno_such_module\nname\n.",
        b"?1",
        b'xnever ["a value"]',
        pickle.dumps(1),
        dumps(Traitor()),
    ],
)
def test_bytes_that_are_no_value_are_a_decode_error(data):
    with pytest.raises(DecodeError):
        loads(data)


@given(st.binary().map(lambda data: b"j" + data) | st.binary().map(lambda data: b"x" + data))
def test_bytes_from_elsewhere_raise_nothing_but_a_decode_error(data):
    for load in (loads, load_exception, load_arguments):
        with contextlib.suppress(DecodeError):
            load(data)


@pytest.mark.parametrize("data", [b"j1", b"j[1]", b"j[[],{},1]", b"j[1,2]", b'j[{},"ab"]'])
def test_bytes_that_are_no_arguments_are_a_decode_error(data):
    with pytest.raises(DecodeError):
        load_arguments(data)


# Exceptions


class Plain(Exception):
    pass


class Telling(Exception):
    def __init__(self, code, *, hint=""):
        super().__init__(code)
        self.code = code
        self.hint = hint


class Demanding(Exception):
    def __init__(self, one, two):
        super().__init__("only words")


class Locked(Exception):
    def __init__(self):
        super().__init__(threading.Lock(), "and words")


class Shifty(Exception):
    def __reduce__(self):
        return ValueError, ("somebody else",)


class Argless(Exception):
    @property
    def args(self):
        raise ZeroDivisionError

    def __reduce__(self):
        raise ZeroDivisionError


class Mute(Exception):
    def __reduce__(self):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError

    __str__ = __repr__


@pytest.mark.parametrize(
    "error",
    [
        ValueError("wrong", 3),
        KeyError("key"),
        Plain(),
        OSError(2, "no such file", "name"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "why"),
        ExceptionGroup("several", [ValueError(1), TypeError(2)]),
    ],
)
def test_an_exception_comes_back_as_itself(error):
    back = load_exception(dump_exception(error))

    assert type(back) is type(error)
    assert repr(back) == repr(error)


def test_an_exception_keeps_its_attributes_and_notes():
    error = Telling(404, hint="look elsewhere")
    error.add_note("a note")

    back = load_exception(dump_exception(error))

    assert (back.code, back.hint, back.__notes__) == (404, "look elsewhere", ["a note"])


def test_an_exception_made_on_the_spot_comes_back():
    class Local(Exception):
        pass

    back = load_exception(dump_exception(Local("here")))

    assert isinstance(back, Local)
    assert back.args == ("here",)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Demanding(1, 2), "Demanding('only words')"),
        (Shifty("a"), "Shifty('a')"),
        (Argless(), "Argless()"),
        (Mute("a"), "Mute('a')"),
    ],
)
def test_an_exception_that_cannot_be_rebuilt_leaves_its_words(error, words):
    back = load_exception(dump_exception(error))

    assert type(back) is UnpickleableExceptionWrapper
    assert str(back) == f"{__name__}.{words}"


def test_the_arguments_of_one_that_cannot_be_pickled_are_told_in_short():
    back = load_exception(dump_exception(Locked()))

    assert back.exc_cls_name == "Locked"
    assert back.exc_args[0].startswith("<unlocked _thread.lock")
    assert back.exc_args[1] == "and words"


def test_an_exception_is_kept_without_its_traceback_and_cause():
    """Dask teaches pickle to keep both: whatever hangs on them would decide what can be kept."""
    tblib.pickling_support.install()
    try:
        try:
            raise Locked
        except Locked as locked:
            raise Plain("words") from locked
    except Plain as error:
        data = dump_exception(error)
        grouped = dump_exception(ExceptionGroup("several", [error]))

    back = load_exception(data)
    assert type(back) is Plain
    assert back.args == ("words",)
    assert (back.__traceback__, back.__cause__, back.__context__) == (None, None, None)
    assert type(load_exception(grouped)) is ExceptionGroup


def test_an_exception_larger_than_the_limit_leaves_its_words():
    back = load_exception(dump_exception(ValueError("x" * 10_000), limit=5_000))

    assert type(back) is UnpickleableExceptionWrapper
    assert (back.exc_module, back.exc_cls_name) == ("builtins", "ValueError")
    assert len(back.exc_args[0]) < 300


def test_the_wrapper_itself_survives():
    wrapper = UnpickleableExceptionWrapper("module", "Name", ("1",))

    back = load_exception(dump_exception(wrapper))

    assert str(back) == "module.Name('1')"


def test_a_value_where_an_exception_belongs_is_a_decode_error():
    with pytest.raises(DecodeError, match="a list is stored where an exception belongs"):
        load_exception(dumps([1]))


# Previews


class Silent:
    def __repr__(self):
        raise ZeroDivisionError


class Secretive(dict):
    pass


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1, "1"),
        ("text", "'text'"),
        ([1, (2,)], "[1, (2,)]"),
        ({"a": 1}, "{'a': 1}"),
        (Silent(), "<Silent instance at"),
        ([Silent()], "[<Silent instance at"),
        pytest.param(10**5000, "<int>", id="more digits than are shown"),
        (CIRCLE, "[[[["),
    ],
)
def test_a_preview_is_the_repr(value, shown):
    assert preview(value).startswith(shown)


@pytest.mark.parametrize(
    "value",
    [
        {"password": "hunter2"},
        {"DB_PASSWORD": "hunter2"},
        {"user": {"ApiKey": "hunter2"}},
        {"a": {"b": {"secret": "hunter2"}}},
        [{"token": "hunter2"}],
        ({"authorization": "hunter2"},),
        {"users": [{"password": "hunter2"}]},
        OrderedDict(password="hunter2"),
        defaultdict(str, password="hunter2"),
        Secretive(password="hunter2"),
        {"password": ["hunter2"]},
        {"password": {"is": "hunter2"}},
        {"credentials": "hunter2", 1: 2},
        {b"a": 1, "passwd": "hunter2"},
    ],
)
def test_a_preview_tells_no_secret(value):
    assert "hunter2" not in preview(value)
    assert "********" in preview(value)
    assert "hunter2" not in preview_arguments([value], {})
    assert "hunter2" not in preview_arguments([], {"value": value})


@pytest.mark.parametrize("name", ["password", "token", "new_password", "api_key", "AUTHORIZATION"])
def test_keyword_arguments_with_a_secret_name_are_masked(name):
    assert preview_arguments([1], {"a": 2, name: "hunter2"}) == f"1, a=2, {name}='********'"


def test_a_preview_is_short():
    many = {f"key {number}": "x" * 10_000 for number in range(10_000)}

    assert len(preview(many)) <= PREVIEW_LIMIT
    assert len(preview([many] * 100)) <= PREVIEW_LIMIT
    assert len(preview_arguments([many] * 100, many)) <= PREVIEW_LIMIT


def test_a_preview_that_was_cut_says_so():
    assert preview_arguments(["x" * 300] * 10, {}).endswith("…")


def test_a_large_value_is_not_read_to_its_end():
    class Counting(dict):
        read = 0

        def items(self):
            for item in super().items():
                self.read += 1
                yield item

    value = Counting(dict.fromkeys(range(1_000)))

    preview(value)

    assert value.read < 50


def test_a_dict_that_holds_itself_has_a_preview():
    circle: dict[str, object] = {}
    circle["self"] = circle

    assert "..." in preview(circle)


def test_what_databases_refuse_is_escaped():
    class Odd:
        def __repr__(self):
            return "a\x00b\ud800c é"

    assert preview(Odd()) == "a\\x00b\\ud800c é"
    assert storable("a\x00b\ud800c é") == "a\\x00b\\ud800c é"


def test_a_preview_is_short_after_escaping():
    class Odd:
        def __repr__(self):
            return "\x00" * 200

    assert len(preview_arguments([Odd()] * 10, {})) <= PREVIEW_LIMIT


@given(VALUES)
def test_every_value_has_a_preview_that_can_be_stored(value):
    text = preview(value)

    assert len(text) <= PREVIEW_LIMIT
    assert "\x00" not in text
    text.encode()


# References


class Result:
    def __init__(self, id):
        self.id = id


def refer(value):
    return value.id if isinstance(value, Result) else None


def test_results_within_arguments_become_references():
    one, two = Result("one"), Result("two")

    data, ids = dump_referring((one, [two], {"x": (one,)}), {"y": two}, refer)

    assert ids == ["one", "two"]
    args, kwargs = load_arguments(data)
    assert args == [Reference(0), [Reference(1)], {"x": (Reference(0),)}]
    assert kwargs == {"y": Reference(1)}
    assert count_references([args, kwargs]) == 2
    assert resolve([args, kwargs], ["a", "b"]) == [["a", ["b"], {"x": ("a",)}], {"y": "b"}]


def test_arguments_without_references_are_left_as_they_are():
    for args in [(1, "x", [None]), ({1, 2}, (3,))]:
        data, ids = dump_referring(args, {}, refer)

        assert (data, ids) == (dump_arguments(args, {}), [])
        loaded = load_arguments(data)[0]
        assert count_references(loaded) == 0
        assert resolve(loaded, []) is loaded


def test_a_list_within_itself_is_left_as_it_is():
    items = [Result("one")]
    items.append(items)

    data, ids = dump_referring((items, object), {}, refer)

    assert ids == ["one"]
    assert load_arguments(data)[0][0][0] == Reference(0)


def test_subclasses_of_containers_are_not_looked_into():
    class Own(list):
        pass

    assert dump_referring((Own([Result("one")]),), {}, refer)[1] == []


# JSON as Celery has it


@pytest.mark.parametrize(
    ("value", "back"),
    [
        ((1, (2,)), [1, [2]]),
        ({1: "x", None: 1, False: 2}, {"1": "x", "null": 1, "false": 2}),
        (
            datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
            datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
        ),
        (decimal.Decimal("1.5"), decimal.Decimal("1.5")),
        (Colour.RED, 1),
        (b"bytes", b"bytes"),
    ],
)
def test_json_is_what_celerys_gives_back(value, back):
    assert as_json(value) == back


@pytest.mark.parametrize("value", [{1}, object(), [object()], {(1,): 2}, lambda: None])
def test_what_json_cannot_say_is_refused(value):
    with pytest.raises(EncodeError, match="JSON has no"):
        as_json(value)


def test_a_list_within_itself_is_refused_as_json():
    items = []
    items.append(items)

    with pytest.raises(EncodeError):
        as_json(items)


def test_an_object_may_say_itself_in_json():
    class Point:
        def __json__(self):
            return {"x": (1,)}

    assert as_json([Point()]) == [{"x": [1]}]


def test_a_lazy_translation_is_its_text():
    from django.utils.functional import lazystr

    assert as_json([lazystr("hello")]) == ["hello"]
