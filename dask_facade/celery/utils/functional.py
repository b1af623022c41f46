"""Celery's functions for functions and lists."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


def noop(*args: Any, **kwargs: Any) -> None:
    """Do nothing, whatever is given."""


def memoize(
    maxsize: int | None = None, keyfun: Any = None, Cache: Any = None
) -> Callable[..., Any]:
    """Return a decorator that remembers what a function returned."""
    return functools.lru_cache(maxsize)


def chunks(it: Iterable[T], n: int) -> Iterator[list[T]]:
    """Yield lists of *n* items of an iterator; the last may be shorter."""
    items = iter(it)
    while part := list(islice(items, n)):
        yield part


def first(predicate: Callable[[Any], bool] | None, it: Iterable[T]) -> T | None:
    """Return the first item that *predicate* likes (None: that is not None), or None."""
    likes = predicate or (lambda item: item is not None)
    return next((item for item in it if likes(item)), None)


def is_list(value: Any, scalars: Any = (Mapping, str), iters: Any = (Iterable,)) -> bool:
    """Tell whether a value is several; a mapping or a string is one."""
    return isinstance(value, iters) and not isinstance(value, scalars or ())


def maybe_list(value: Any, scalars: Any = (Mapping, str)) -> Any:
    """Return a list of one, unless it is several already; None stays None."""
    return value if value is None or is_list(value, scalars) else [value]


def uniq(it: Iterable[T]) -> Iterator[T]:
    """Yield each item once, in order."""
    seen: set[Any] = set()
    for item in it:
        if item not in seen:
            seen.add(item)
            yield item


def regen(it: Iterable[T]) -> Any:
    """Return something that can be walked through several times."""
    return it if isinstance(it, list | tuple) else list(it)


def fun_takes_argument(name: str, fun: Callable[..., Any], position: int | None = None) -> bool:
    """Tell whether a function can be given *name*, or that many arguments."""
    parameters = inspect.signature(fun).parameters
    kinds = {each.kind for each in parameters.values()}
    if inspect.Parameter.VAR_KEYWORD in kinds or inspect.Parameter.VAR_POSITIONAL in kinds:
        return True
    return name in parameters or (position is not None and len(parameters) >= position)
