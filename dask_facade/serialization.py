"""Values as bytes and back, and as text for people.

The first byte names the form: ``j`` JSON, where it says the value without loss; ``c`` cloudpickle;
``x`` an exception of which only words are left; ``k`` the key of Dask data. Nobody reads what is
not theirs: the dispatcher passes bytes on and never loads them.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import reprlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from typing import Any

import cloudpickle

from dask_facade.exceptions import DecodeError, EncodeError, UnpickleableExceptionWrapper

_JSON = b"j"
_PICKLE = b"c"
_WORDS = b"x"
_KEY = b"k"

NONE = b"jnull"
"""None, as `dumps` writes it."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, ensure_ascii=False).encode
_decode = json.JSONDecoder().decode
_MASK = "********"
_SECRETS = (
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "credential",
)
_PLAIN = frozenset({str, int, float, bool, bytes, type(None)})
_SAID_BY_CELERY = (
    str, int, float, bool, bytes, datetime, date, time, timedelta, Decimal, uuid.UUID,
)  # fmt: skip
_SHOWN = 10  # elements of a collection in a preview
_SHOWN_LETTERS = 200  # of an argument of an exception
PREVIEW_LIMIT = 1024
"""Characters of a preview, at most."""


def dumps(value: Any) -> bytes:
    """Return *value* as bytes; raise EncodeError, with its type, where that cannot be."""
    try:
        said = _said_in_json(value)
        return _PICKLE + _pickle(value) if said is None else _JSON + said
    except Exception as error:  # reduce methods are the user's code and raise what they like
        raise _unencodable(value, error) from error


def loads(data: bytes) -> Any:
    """Return the value in *data*; raise DecodeError where it cannot be rebuilt in this process."""
    form, body = data[:1], data[1:]
    try:
        if form == _JSON:
            return _decode(str(body, "utf-8"))
        if form == _PICKLE:
            return pickle.loads(body)
    except Exception as error:  # unpickling runs the user's code
        reason = f"{type(error).__name__}: {error}"
        raise DecodeError(f"stored bytes cannot be read here: {reason}") from error
    raise DecodeError(f"stored bytes of an unknown form {form!r}")


@dataclass(frozen=True, slots=True)
class Reference:
    """Stands in arguments for the result of a job: which of those that the call refers to."""

    index: int


@dataclass(frozen=True, slots=True)
class Known:
    """What a value in arguments means, where that is known already."""

    value: Any


class Tupled:
    """A value of which the tuple is stored, not itself: what finds it again, as a job's id does."""

    def as_tuple(self) -> tuple[Any, Any]:
        """Return what stands for it."""
        raise NotImplementedError


Refer = Callable[[Any], str | Known | None]
"""Tells which job's result a value in arguments means, or what else than itself; None: itself."""


def dump_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Return positional and keyword arguments as bytes; raise EncodeError."""
    return dumps([list(args), dict(kwargs)])


def dump_referring(
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    refer: Refer,
    form: Callable[[Any], Any] | None = None,
) -> tuple[bytes, list[str]]:
    """Return arguments as `dump_arguments` does, and the ids of the jobs that they refer to.

    *refer* returns the id of the job whose result is meant by a value. Such values, also within
    lists, tuples and dicts, are stored as a Reference to a place in the list of ids. Where all is
    JSON nothing can be one, and *refer* is not asked; else *form* (such as `as_json`) decides what
    is stored. Raises EncodeError.
    """
    both = [list(args), dict(kwargs)]
    said = _said_in_json(both)
    if said is not None:
        return _JSON + said, []
    ids: dict[str, int] = {}

    def stand_in(each: Any) -> Any:
        meant = refer(each)
        if meant is None:
            return each
        if isinstance(meant, Known):
            return meant.value
        return Reference(ids.setdefault(meant, len(ids)))

    stored = _replaced(both, stand_in, ())
    return dumps(stored if form is None else form(stored)), list(ids)


def resolve(value: Any, results: Sequence[Any]) -> Any:
    """Return *value* with each Reference in it replaced by that one of *results*."""
    return _replaced(value, lambda each: results[each.index] if _refers(each) else each, ())


def count_references(value: Any) -> int:
    """Return how many results the References in *value* speak of."""
    seen = {-1}

    def note(each: Any) -> Any:
        if _refers(each):
            seen.add(each.index)
        return each

    _replaced(value, note, ())
    return max(seen) + 1


def as_json(value: Any) -> Any:
    """Return *value* as Celery's JSON gives it back: tuples as lists, names of keys as texts.

    Times, UUIDs and decimals stay what they are. Raises EncodeError for what it cannot say.
    """
    try:
        return _as_json(value)
    except RecursionError as error:
        raise _unencodable(value, error) from error


def load_arguments(data: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Return what `dump_arguments` got, References and all; raise DecodeError."""
    match loads(data):
        case [list(args), dict(kwargs)]:
            return args, kwargs
    raise DecodeError("something else is stored where arguments belong")


def plain_value(data: bytes) -> Any:
    """Return the value in *data* where that is JSON; None: only who unpickles can tell."""
    return loads(data) if data[:1] == _JSON else None


def plain_arguments(data: bytes) -> tuple[list[Any], dict[str, Any]] | None:
    """Return what `dump_arguments` got where that is JSON; None: only who unpickles can tell."""
    if data[:1] != _JSON:
        return None
    args, kwargs = load_arguments(data)
    return args, kwargs


def dump_exception(error: BaseException, *, limit: int | None = None) -> bytes:
    """Return *error* as bytes that can be read back: itself if it survives, else its words.

    Only its words are left, too, where it takes more than *limit* bytes.
    """
    try:
        buffer = io.BytesIO()
        _ExceptionPickler(buffer).dump(error)
        pickled = buffer.getvalue()
        small = limit is None or len(pickled) < limit
        if small and type(pickle.loads(pickled)) is type(error):
            return _PICKLE + pickled
    except BaseException:  # an exception of the user's own making may refuse in any way
        pass
    return _WORDS + _encode(_words(error)).encode()


def load_exception(data: bytes) -> BaseException:
    """Return the exception in *data*, or an UnpickleableExceptionWrapper that has its words.

    Raises DecodeError.
    """
    if data[:1] == _WORDS:
        match loads(_JSON + data[1:]):
            case [str(module), str(name), list(args)]:
                return UnpickleableExceptionWrapper(module, name, tuple(args))
        raise DecodeError("something else is stored where the words of an exception belong")
    error = loads(data)
    if not isinstance(error, BaseException):
        raise DecodeError(f"a {type(error).__qualname__} is stored where an exception belongs")
    return error


def dump_reference(job_id: str, key: str, worker: str, size: int) -> bytes:
    """Return what stands for a result that is Dask data: its key, where it was kept, its bytes."""
    return _KEY + _encode([job_id, key, worker, size]).encode()


def load_reference(data: bytes) -> tuple[str, str, str, int] | None:
    """Return what `dump_reference` got; None for bytes that are a value."""
    if data[:1] != _KEY:
        return None
    match loads(_JSON + data[1:]):
        case [str(job_id), str(key), str(worker), int(size)]:
            return job_id, key, worker, size
    raise DecodeError("something else is stored where the key of Dask data belongs")


def preview(value: Any) -> str:
    """Return *value* for people to read: short, and without secrets."""
    return shorten(_short(value))


def preview_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a call's arguments for people to read, as they stand between its parentheses."""
    parts = [_short(arg) for arg in args]
    parts += [f"{name}={_short(_masked(name, value))}" for name, value in kwargs.items()]
    return shorten(", ".join(parts))


class _ExceptionPickler(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Pickles an exception as it reduces itself, without its traceback and causes.

    Dask registers a way to keep those, which fails with whatever cannot be pickled among them.
    """

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, BaseException):
            return obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL)
        return super().reducer_override(obj)


def _pickle(value: Any) -> bytes:
    pickled: bytes = cloudpickle.dumps(value)
    return pickled


def _said_in_json(value: Any) -> bytes | None:
    try:
        return _encode(value).encode() if _is_lossless(value) else None
    except (ValueError, RecursionError):  # very long integers, lone surrogates; a list in itself
        return None


def _is_lossless(value: Any) -> bool:
    """Tell whether JSON gives back an equal value of the same types, all the way down."""
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is dict:
        if not all(type(key) is str for key in value):
            return False
        value = value.values()
    elif kind is not list:
        return False
    deeper = [each for each in value if type(each) not in _AS_THEY_ARE]  # most are leaves
    return all(map(_is_lossless, deeper))


_AS_THEY_ARE = frozenset({bool, int, str, type(None)})
"""Types of which JSON gives back each value."""


def is_json(value: Any) -> bool:
    """Tell whether JSON says *value* without loss."""
    return _is_lossless(value)


def _unencodable(value: Any, error: Exception) -> EncodeError:
    return EncodeError(
        f"a {type(value).__qualname__} cannot be serialised: {type(error).__name__}: {error}"
    )


def _refers(value: Any) -> bool:
    return type(value) is Reference


def _replaced(value: Any, replace: Callable[[Any], Any], around: tuple[Any, ...]) -> Any:
    """Return *value* with its leaves replaced: itself where none changes.

    *around* are the containers that it stands in, which one within itself is not followed into.
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is not list and kind is not tuple and kind is not dict:
        return replace(value)
    if any(value is each for each in around):
        return value
    inside = (*around, value)
    items = list(value.values()) if kind is dict else value
    new = [_replaced(each, replace, inside) for each in items]
    if all(one is other for one, other in zip(new, items, strict=True)):
        return value
    return dict(zip(value, new, strict=True)) if kind is dict else kind(new)


def _as_json(value: Any) -> Any:
    if isinstance(value, Enum):
        return _as_json(value.value)
    if value is None or _refers(value) or isinstance(value, _SAID_BY_CELERY):
        return value
    if isinstance(value, Mapping):
        return {_as_key(key): _as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(each) for each in value]
    if callable(getattr(value, "__json__", None)):
        return _as_json(value.__json__())
    if hasattr(value, "_proxy____cast"):  # a lazy translation of Django's
        return str(value)
    raise EncodeError(
        f"JSON has no {type(value).__qualname__}: pass what it is made of, or leave out "
        'serializer="json"'
    )


def _as_key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool | int | float):
        return _encode(key)
    raise EncodeError(f"JSON has no keys like {preview(key)}")


def _words(error: BaseException) -> list[Any]:
    kind = type(error)
    try:
        args = [_argument(arg) for arg in error.args[:_SHOWN]]
    except BaseException:  # it may have hidden its arguments
        args = []
    return [str(kind.__module__), kind.__qualname__, args]


def _argument(arg: Any) -> Any:
    """Return an argument of an exception as JSON can say it, in short."""
    if type(arg) in (bool, int, float, type(None)):
        return arg
    if type(arg) is str and len(arg) <= _SHOWN_LETTERS:
        return storable(arg)
    return storable(_short(arg))


def _masked(name: Any, value: Any) -> Any:
    secret = isinstance(name, str) and any(each in name.lower() for each in _SECRETS)
    return _MASK if secret else value


class _Repr(reprlib.Repr):
    """A repr of bounded length that masks what dicts have under the name of a secret."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 4
        self.maxstring = self.maxother = 200
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = _SHOWN

    def repr1(self, x: Any, level: int) -> str:
        return self.repr_dict(x, level) if isinstance(x, dict) else super().repr1(x, level)

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        first = islice(x.items(), self.maxdict + 1)
        return super().repr_dict({key: _masked(key, each) for key, each in first}, level)


_repr = _Repr()
_WIDE = 10**30  # of an integer that a preview shows whole


def _short(value: Any) -> str:
    if type(value) is int and -_WIDE < value < _WIDE:  # as are most
        return repr(value)
    try:
        return _repr.repr(value)
    except BaseException:  # __repr__ is the user's code, and may ask Python to end
        return f"<{type(value).__qualname__}>"


def shorten(text: str) -> str:
    """Return *text* as a preview may have it."""
    text = storable(text)
    return text if len(text) <= PREVIEW_LIMIT else text[: PREVIEW_LIMIT - 1] + "…"


def storable(text: str) -> str:
    """Return *text* with NUL and lone surrogates escaped: databases refuse both."""
    text = text.replace("\x00", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
