"""Celery's helpers for what is stored."""

from __future__ import annotations

import base64
import pickle
from typing import Any

from dask_facade.exceptions import UnpickleableExceptionWrapper

__all__ = ["UnpickleableExceptionWrapper", "b64decode", "b64encode", "pickle", "strtobool"]


def b64encode(value: str | bytes) -> str:
    """Return bytes as text."""
    return base64.b64encode(value.encode() if isinstance(value, str) else value).decode()


def b64decode(value: str | bytes) -> bytes:
    """Return the bytes of such a text."""
    return base64.b64decode(value)


_WORDS = {"false": False, "no": False, "0": False, "off": False}
_WORDS |= {"true": True, "yes": True, "1": True, "on": True}


def strtobool(term: Any, table: dict[str, bool] | None = None) -> Any:
    """Return what a word like "yes" or "off" means; what is no word stays as it is."""
    if not isinstance(term, str):
        return term
    try:
        return (table or _WORDS)[term.lower()]
    except KeyError:
        raise TypeError(f"{term!r} is no word for true or false") from None
