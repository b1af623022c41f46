"""Values as bytes and back, and as text for people.

The first byte names the form: ``j`` JSON, where it says the value without loss; ``c`` cloudpickle;
``x`` an exception of which only words are left. Nobody reads what is not theirs: the dispatcher
passes bytes on and never loads them.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import reprlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

import cloudpickle

from dask_facade.exceptions import DecodeError, EncodeError, UnpickleableExceptionWrapper

_JSON = b"j"
_PICKLE = b"c"
_WORDS = b"x"

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
_SHOWN = 10  # elements of a collection in a preview
PREVIEW_LIMIT = 1024
"""Characters of a preview, at most."""


def dumps(value: Any) -> bytes:
    """Return *value* as bytes; raise EncodeError, with its type, where that cannot be."""
    try:
        said = _said_in_json(value)
        return _PICKLE + _pickle(value) if said is None else _JSON + said
    except Exception as error:  # reduce methods are the user's code and raise what they like
        raise EncodeError(
            f"a {type(value).__qualname__} cannot be serialised: {type(error).__name__}: {error}"
        ) from error


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


def dump_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> bytes:
    """Return positional and keyword arguments as bytes; raise EncodeError."""
    return dumps([list(args), dict(kwargs)])


def load_arguments(data: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Return what `dump_arguments` got; raise DecodeError."""
    match loads(data):
        case [list(args), dict(kwargs)]:
            return args, kwargs
    raise DecodeError("something else is stored where arguments belong")


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
    except Exception:  # an exception of the user's own making may refuse in any way
        pass
    return _WORDS + _encode(_words(error)).encode()


def load_exception(data: bytes) -> BaseException:
    """Return the exception in *data*, or an UnpickleableExceptionWrapper that has its words.

    Raises DecodeError.
    """
    if data[:1] == _WORDS:
        match loads(_JSON + data[1:]):
            case [str(module), str(name), list(args)]:
                return UnpickleableExceptionWrapper(module, name, tuple(map(str, args)))
        raise DecodeError("something else is stored where the words of an exception belong")
    error = loads(data)
    if not isinstance(error, BaseException):
        raise DecodeError(f"a {type(error).__qualname__} is stored where an exception belongs")
    return error


def preview(value: Any) -> str:
    """Return *value* for people to read: short, and without secrets."""
    return _printable(_short(value))


def preview_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a call's arguments for people to read, as they stand between its parentheses."""
    parts = [_short(arg) for arg in args]
    parts += [f"{name}={_short(_masked(name, value))}" for name, value in kwargs.items()]
    return _printable(", ".join(parts))


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
    if kind is str or kind is int or kind is bool or value is None:
        return True
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(_is_lossless, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(_is_lossless, value.values()))
    return False


def _words(error: BaseException) -> list[Any]:
    kind = type(error)
    try:
        args = [storable(_short(arg)) for arg in error.args[:_SHOWN]]
    except Exception:  # it may have hidden its arguments
        args = []
    return [str(kind.__module__), kind.__qualname__, args]


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


def _short(value: Any) -> str:
    try:
        return _repr.repr(value)
    except Exception:  # __repr__ is the user's code
        return f"<{type(value).__qualname__}>"


def _printable(text: str) -> str:
    text = storable(text)
    return text if len(text) <= PREVIEW_LIMIT else text[: PREVIEW_LIMIT - 1] + "…"


def storable(text: str) -> str:
    """Return *text* with NUL and lone surrogates escaped: databases refuse both."""
    text = text.replace("\x00", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
