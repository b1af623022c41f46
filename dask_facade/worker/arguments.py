"""What a call is run with: its own arguments, and the results that enter them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from dask_facade import current
from dask_facade.exceptions import DecodeError, ResultLost
from dask_facade.messages import Call, Edge, NewJob, Shape
from dask_facade.registry import Runnable
from dask_facade.serialization import (
    count_references,
    load_arguments,
    load_exception,
    load_reference,
    loads,
    resolve,
)

_ALL = None


class Channel(Protocol):
    """What a run needs of the world: of the dispatcher, and of the cluster's data."""

    def spawn(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """As `current.Channel` has it."""

    def update(self, state: str, meta: bytes, preview: str) -> None:
        """As `current.Channel` has it."""

    def is_aborted(self) -> bool:
        """As `current.Channel` has it."""

    def emit(self, value: Any) -> None:
        """Put *value* into the queue of what the job says; under pressure it may be left out."""

    def pull(self, start: int, stop: int | None) -> Sequence[bytes]:
        """Return the results that the call takes, from *start* to before *stop* (None: all).

        Raises LineClosed when the runner ends first.
        """

    def take(self, job_id: str, key: str) -> Any:
        """Return a result that is Dask data; raise ResultLost where it is gone."""

    def keep(self, value: Any, data: bytes | None) -> str:
        """Keep the call's result as Dask data and return its key; *data*: it, serialised."""


class Arguments(NamedTuple):
    """What a task is called with."""

    args: list[Any]
    kwargs: dict[str, Any]


def arguments_of(
    call: Call, task: Runnable, channel: Channel, layout: Sequence[Any] | None = None
) -> Arguments:
    """Return what *task* is to be called with.

    *layout* is how the results that it takes are nested: 0 for one, a list for those of a group.
    Raises DecodeError, ResultLost, and LineClosed when results cannot be had any more.
    """
    args, kwargs = load_arguments(call.payload)
    if call.shape == Shape.NOTHING:
        return Arguments(args, kwargs)
    if call.shape == Shape.ERROR:
        return Arguments([*_of_error(call.inputs, task, args, kwargs), *args], kwargs)
    if call.shape == Shape.FIRST:
        return Arguments([_value(call.inputs[0], 0, channel), *args], kwargs)
    results = [_value(data, at, channel) for at, data in enumerate(channel.pull(0, _ALL))]
    if call.shape & Shape.REFERENCES:
        both = [args, kwargs]
        count = count_references(both)
        own = len(results) - count if layout is None else _size(layout)
        args, kwargs = resolve(both, results[own : own + count])
        results = results[:own] + results[own + count :]
    match call.shape & ~Shape.REFERENCES:
        case Shape.FIRST:
            return Arguments([results[0], *args], kwargs)
        case Shape.LIST:
            if layout is not None:
                rest = iter(results)
                results = [*_laid_out(rest, layout), *rest]  # a member may have added others
            return Arguments([results, *args], kwargs)
    return Arguments(list(args), kwargs)


def _size(layout: Sequence[Any]) -> int:
    return sum(1 if each == 0 else _size(each) for each in layout)


def _laid_out(results: Iterator[Any], layout: Sequence[Any]) -> list[Any]:
    return [_laid_out(results, each) if each != 0 else next(results) for each in layout]


def _value(data: bytes, position: int, channel: Channel) -> Any:
    """Return the result in *data*; where that is a reference, from the cluster or the ledger."""
    reference = load_reference(data)
    if reference is None:
        return loads(data)
    job_id, key, _, _ = reference
    try:
        return channel.take(job_id, key)
    except ResultLost:
        (stored,) = channel.pull(position, position + 1)
        if load_reference(stored) is not None:  # it never was in the ledger
            raise
        return loads(stored)


def _of_error(
    inputs: Sequence[bytes], task: Runnable, args: Sequence[Any], kwargs: dict[str, Any]
) -> list[Any]:
    """Return what an error callback gets before its own arguments.

    Of the new style that is the request, the exception and the traceback of the job that failed,
    of the old style, which takes one, its id.
    """
    job_id, error, trace, name, payload = inputs
    failed_id = str(job_id, "utf-8")
    if not _takes_more_than_one(getattr(task, "run", task), args, kwargs):
        return [failed_id]
    request = current.Context(
        id=failed_id, task=str(name, "utf-8"), correlation_id=failed_id, called_directly=False
    )
    try:
        request.args, request.kwargs = load_arguments(payload)
    except DecodeError:  # it may have failed because of that
        request.args, request.kwargs = (), {}
    try:
        exception = load_exception(error)
    except DecodeError as unreadable:
        exception = unreadable
    return [request, exception, str(trace, "utf-8")]


def _takes_more_than_one(
    function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
) -> bool:
    """Tell whether *function* takes several positional arguments beside those it is given."""
    try:
        parameters = inspect.signature(partial(function, *args, **kwargs)).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = [each.kind for each in parameters]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(k in positional for k in kinds) > 1
