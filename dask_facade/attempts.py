"""How the job that runs here goes on: tried again, or as another."""

from __future__ import annotations

import inspect
import random
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import wraps
from typing import Any, NoReturn

from dask_facade import current
from dask_facade.exceptions import Ignore, MaxRetriesExceededError, Replaced, Retry
from dask_facade.messages import Again
from dask_facade.options import begin_of, defaults_of, packed, without
from dask_facade.plan import Plan
from dask_facade.retry import backoff_of, is_exhausted
from dask_facade.signatures import Signature, as_list

_OF_THE_ROW = frozenset(
    {"queue", "routing_key", "priority", "expires", "acks_late", "ignore_result", "link",
     "link_error", "serializer", "headers", "time_limit", "soft_time_limit", "keep"}
)  # fmt: skip
"""Options of a retry that change what the ledger has of the job."""
_OF_A_HAND = ("requeued", "deaths")
"""What is said of a call that is handed out anew, and of no later attempt."""


def signature_of(
    name: str,
    request: current.Context,
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    options: Mapping[str, Any],
) -> Signature:
    """Return the call that *request* is of, with changes.

    What is linked to the job is not said again: it waits for it already.
    """
    hard, soft = request.timelimit or (None, None)
    said = {
        "task_id": request.id,
        "queue": request.delivery_info.get("routing_key"),
        "priority": request.delivery_info.get("priority"),
        "expires": request.expires,
        "headers": request.headers,
        "ignore_result": request.ignore_result,
        "link_error": request.errbacks,
        "time_limit": hard,
        "soft_time_limit": soft,
        "retries": request.retries,
        "replaced_task_nesting": request.replaced_task_nesting,
        **_place(request),
        **options,
    }
    return Signature(
        name,
        (request.args if args is None else args) or (),
        request.kwargs if kwargs is None else kwargs,
        {option: value for option, value in said.items() if value is not None},
    )


def retry(
    task: Any,
    *,
    args: Any,
    kwargs: Any,
    exc: BaseException | None,
    eta: datetime | None,
    countdown: float | None,
    max_retries: int | None,
    options: Mapping[str, Any],
) -> Retry:
    """Return the Retry that a task is to raise; see `Task.retry` for what is raised instead."""
    request = task.request
    retries = request.retries + 1
    if max_retries is not None:
        request.max_retries = max_retries  # for autoretry_for
    if request.called_directly:
        _raise_with_context(exc or Retry("Task can be retried"))
    if eta is None and countdown is None:
        countdown = task.default_retry_delay
    changed = args is not None or kwargs is not None or not _OF_THE_ROW.isdisjoint(options)
    args, kwargs = _changed_arguments(task.run, request, args, kwargs)
    again = signature_of(task.name, request, args, kwargs, {**options, "retries": retries})
    if is_exhausted(retries, task.max_retries if max_retries is None else max_retries):
        if exc is not None:
            _raise_with_context(exc)
        raise MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] args:{again.args} kwargs:{again.kwargs}",
            task_args=again.args,
            task_kwargs=again.kwargs,
        )
    result = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=again)
    when = {"eta": eta, "countdown": countdown}
    app = current.app()
    if changed:
        result.again = _again(request, app.compile(again.clone((), None, **when)))
    else:
        due, _ = begin_of(when, time.time(), app.conf.derived(defaults_of).zone, waits=False)
        told = packed({**without(request.options, _OF_A_HAND), "retries": retries})
        result.again = Again(_seconds_until(due), told, [], [], [])
    return result


def replaced(request: current.Context, sig: Signature) -> Replaced:
    """Return what a task raises whose job goes on as *sig*."""
    app = current.app()
    nesting = request.replaced_task_nesting + 1
    sig = sig.clone(task_id=request.id, replaced_task_nesting=nesting, **_place(request))
    if request.errbacks:
        known = as_list(sig.options.get("link_error"))
        sig.set(link_error=[*known, *request.errbacks])
    plan: Plan = app.compile(sig)
    if all(job.id != request.id for job in plan.jobs):  # it ends as a group
        del sig.options["task_id"]
        sig = sig | Signature("celery.accumulate", (), {"index": 0})
        plan = app.compile(sig.set(task_id=request.id))
    return Replaced(f"replaced by {sig.task}", _again(request, plan))


def retrying(task: Any) -> Callable[..., Any]:
    """Return the function of *task*, which retries the exceptions of its ``autoretry_for``."""
    run = task.run
    backoff = backoff_of(task.retry_backoff, task.retry_backoff_max, jitter=task.retry_jitter)
    never = (Ignore, Retry, *as_list(task.dont_autoretry_for))
    wanted = tuple(as_list(task.autoretry_for))

    @wraps(run)
    def run_and_retry(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except never:
            raise
        except wanted as error:
            said = dict(task.retry_kwargs)
            if backoff is not None:
                said["countdown"] = backoff.countdown(task.request.retries, random.randrange)
            limit = task.request.get("max_retries")  # of a retry that the task asked for itself
            if limit is not None:
                said["max_retries"] = limit
            raise task.retry(exc=error, **said) from error

    return run_and_retry


def _place(request: current.Context) -> dict[str, Any]:
    """Return where the job stands in a canvas, as options."""
    place = {
        "chain": next(iter(request.chain or ()), None),
        "chord": request.chord,
        "group_index": request.group_index,
    }
    return {name: value for name, value in place.items() if value is not None}


def _again(request: current.Context, plan: Plan) -> Again:
    """Return how the job of *request* goes on: as the job of *plan* that has its id."""
    becomes = next(job for job in plan.jobs if job.id == request.id)
    waits = any(edge.child_id == becomes.id for edge in plan.edges)
    return Again(
        delay=becomes.delay if waits else _seconds_until(becomes.due),
        options=becomes.options,
        becomes=[becomes],
        jobs=[job for job in plan.jobs if job is not becomes],
        edges=list(plan.edges),
    )


def _changed_arguments(
    function: Callable[..., Any], request: current.Context, args: Any, kwargs: Any
) -> tuple[Any, Any]:
    """Return the arguments of a retry: those that are not said anew stay, by their names."""
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD
    if args is not None and kwargs is None and request.kwargs:
        parameters = inspect.signature(function).parameters.values()
        taken = {each.name for each in list(parameters)[: len(args)] if each.kind is named}
        kwargs = {name: each for name, each in request.kwargs.items() if name not in taken}
    elif kwargs is not None and args is None and request.args:
        signature = inspect.signature(function)
        try:
            bound = signature.bind_partial(*request.args)
        except TypeError:
            return args, kwargs  # told when they are checked
        kwargs = dict(kwargs)
        for name in [each for each in kwargs if each in bound.arguments]:
            if signature.parameters[name].kind is named:
                bound.arguments[name] = kwargs.pop(name)
        args, kwargs = bound.args, {**bound.kwargs, **kwargs}
    return args, kwargs


def _seconds_until(due: float | None) -> float:
    return 0.0 if due is None else max(0.0, due - time.time())


def _raise_with_context(error: BaseException) -> NoReturn:
    """Raise *error*, because of what is being handled, if anything is."""
    handled = sys.exc_info()[1]
    if handled is error:
        raise error
    raise error from handled
