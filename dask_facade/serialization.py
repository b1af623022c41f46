"""Values as bytes and back, and as text for people.

The first byte names the form: ``j`` JSON, where it says the value without loss; ``c`` cloudpickle;
``x`` an exception of which only words are left. Nobody reads what is not theirs: the dispatcher
passes bytes on and never loads them.
"""

from __future__ import annotations

import json
import math
import pickle
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import cloudpickle

from dask_facade.exceptions import DecodeError, EncodeError, UnpickleableExceptionWrapper

_JSON = b"j"
_PICKLE = b"c"
_WORDS = b"x"

NONE = b"jnull"
"""None, as `dumps` writes it."""

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
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
PREVIEW_LIMIT = 1024
"""Characters of a preview, at most."""


def dumps(value: Any) -> bytes:
    """Return *value* as bytes; raise EncodeError, with its type, where that cannot be."""
    try:
        if _is_lossless(value):
            return _JSON + _encode(value).encode()
        return _PICKLE + _pickle(value)
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
    args, kwargs = loads(data)
    return args, kwargs


def dump_exception(error: BaseException) -> bytes:
    """Return *error* as bytes that can be read back: itself if it survives, else its words."""
    try:
        pickled = _pickle(error)
        if type(pickle.loads(pickled)) is type(error):
            return _PICKLE + pickled
    except Exception:  # an exception of the user's own making may refuse in any way
        pass
    words = [type(error).__module__, type(error).__qualname__, [_short(arg) for arg in error.args]]
    return _WORDS + _encode(words).encode()


def load_exception(data: bytes) -> BaseException:
    """Return the exception in *data*, or an UnpickleableExceptionWrapper that has its words."""
    if data[:1] == _WORDS:
        module, name, args = _decode(str(data[1:], "utf-8"))
        return UnpickleableExceptionWrapper(module, name, tuple(args))
    error = loads(data)
    if not isinstance(error, BaseException):
        raise DecodeError(f"a {type(error).__qualname__} is stored where an exception belongs")
    return error


def preview(value: Any) -> str:
    """Return *value* for people to read: short, and without secrets."""
    return _printable(_short(_masked(value)))


def preview_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Return a call's arguments for people to read, as they stand between its parentheses."""
    parts = [_short(_masked(arg)) for arg in args]
    parts += [f"{name}={_short(_masked_item(name, value))}" for name, value in kwargs.items()]
    return _printable(", ".join(parts))


def _pickle(value: Any) -> bytes:
    pickled: bytes = cloudpickle.dumps(value)
    return pickled


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


def _masked(value: Any) -> Any:
    if type(value) is dict:
        return {key: _masked_item(key, each) for key, each in value.items()}
    return value


def _masked_item(name: Any, value: Any) -> Any:
    if isinstance(name, str) and any(secret in name.lower() for secret in _SECRETS):
        return _MASK
    return _masked(value)


_repr = reprlib.Repr()
_repr.maxstring = _repr.maxother = 200
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = _repr.maxfrozenset = 10
_repr.maxlevel = 4


def _short(value: Any) -> str:
    try:
        return _repr.repr(value)
    except Exception:  # __repr__ is the user's code
        return f"<{type(value).__qualname__}>"


def _printable(text: str) -> str:
    if len(text) > PREVIEW_LIMIT:
        text = text[: PREVIEW_LIMIT - 1] + "…"
    return storable(text)


def storable(text: str) -> str:
    """Return *text* with NUL and lone surrogates escaped: databases refuse both."""
    text = text.replace("\x00", "\\x00")
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
