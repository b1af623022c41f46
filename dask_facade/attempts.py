"""How the job that runs here goes on: tried again, or as another."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, NoReturn

from dask_facade import current
from dask_facade.canvas import chain, group
from dask_facade.exceptions import Ignore, ImproperlyConfigured, Replaced, Retry
from dask_facade.forms import as_list
from dask_facade.messages import Again
from dask_facade.options import begin_of, defaults_of, packed, without
from dask_facade.plan import Plan
from dask_facade.retry import is_exhausted
from dask_facade.signatures import Signature

_OF_THE_ROW = frozenset(
    {"queue", "routing_key", "priority", "expires", "acks_late", "ignore_result", "link",
     "link_error", "serializer", "headers", "time_limit", "soft_time_limit", "keep", "shadow"}
)  # fmt: skip
"""Options of a retry that change what the ledger has of the job."""
_OF_A_HAND = ("requeued", "deaths")
"""What is said of a call that is handed out anew, and of no later attempt."""
_KNOWN_OF_THE_JOB = ("link", "link_error", "root_id", "parent_id", "group_id", "reply_to", "origin")
"""What the ledger has of a job that goes on, whoever says it again."""


def signature_of(
    task: Any,
    request: current.Context,
    args: Iterable[Any] | None,
    kwargs: Mapping[str, Any] | None,
    queue: Any,
    options: Mapping[str, Any],
) -> Signature:
    """Return the call that *request* is of, with changes; see `Task.signature_from_request`."""
    said = request.as_execution_options()
    own = vars(request).get("ignore_result")
    said["ignore_result"] = task.ignore_result if own is None else own
    delivery = request.delivery_info or {}
    if delivery.get("priority") is not None:
        said["priority"] = delivery["priority"]
    if queue:
        said["queue"] = queue
    elif delivery.get("exchange") == "" and delivery.get("routing_key"):
        said.setdefault("queue", delivery["routing_key"])
    else:
        said.update({name: delivery[name] for name in _WAY if delivery.get(name) is not None})
    said.update(options)
    signature: Signature = task.signature(
        (request.args if args is None else args) or (),
        (request.kwargs if kwargs is None else kwargs) or {},
        said,
    )
    return signature


_WAY = ("exchange", "routing_key")


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
    when = {"eta": eta, "countdown": countdown}
    sig = task.signature_from_request(
        request, args, kwargs, **{**when, **options, "retries": retries}
    )
    if is_exhausted(retries, task.max_retries if max_retries is None else max_retries):
        if exc is not None:
            _raise_with_context(exc)
        raise task.MaxRetriesExceededError(
            f"Can't retry {task.name}[{request.id}] args:{sig.args} kwargs:{sig.kwargs}",
            task_args=sig.args,
            task_kwargs=sig.kwargs,
        )
    result = Retry(exc=exc, when=eta or countdown, is_eager=request.is_eager, sig=sig)
    if request.channel is None:  # a request that somebody pushed: there is no job that goes on
        if not request.is_eager:
            sig.apply_async()
        return result
    app = task.app
    if changed or task.rewrites or task.has_own_signatures:
        result.again = _again(request, app.compile(_going_on(sig, request, options)))
    else:
        due, _ = begin_of(when, time.time, app.conf.derived(defaults_of).zone, waits=False)
        told = packed({**without(request.options, _OF_A_HAND), "retries": retries})
        result.again = Again(_seconds_until(due), told, [], [], [])
    request.asked = result
    return result


def replacement(task: Any, sig: Any) -> Any:
    """Return *sig* as what the job of *task* can go on as.

    Raises ImproperlyConfigured for one that is part of a chord, or of nothing.
    """
    if isinstance(sig, dict):
        sig = Signature.from_dict(sig)
    if "chord" in sig.options:
        raise ImproperlyConfigured("what a task is replaced by may not be in a chord's header")
    if isinstance(sig, chain) and not sig.tasks:
        raise ImproperlyConfigured("Cannot replace with an empty chain: it has nothing to run")
    request = task.request
    nesting = request.replaced_task_nesting + 1
    if request.channel is None:
        return _stand_in(sig, request, nesting)
    sig = sig.clone(task_id=request.id, replaced_task_nesting=nesting, **_place(request))
    if request.errbacks:
        known = as_list(sig.options.get("link_error"))
        sig.set(link_error=[*known, *request.errbacks])
    return sig


def replaced(task: Any, sig: Signature) -> Ignore:
    """Return what a task raises whose job goes on as *sig*, which `replacement` has returned.

    Where it is no job that runs here, *sig* is submitted.
    """
    request = task.request
    if request.channel is None:
        sig.delay()
        return Ignore("replaced by another task, which was submitted")
    app = task.app
    plan: Plan = app.compile(sig)
    if all(job.id != request.id for job in plan.jobs):  # it ends as a group
        del sig.options["task_id"]
        sig = sig | _first_of_results()
        plan = app.compile(sig.set(task_id=request.id))
    return Replaced(f"replaced by {sig.task}", _again(request, plan))


def added(task: Any, sig: Any, *, lazy: bool) -> Any:
    """Submit *sig* as a member of the header that the job of *task* is in; `Task.add_to_chord`."""
    request = task.request
    if not request.chord or request.channel is None:
        raise ValueError("Current task is not member of any chord: it does not run in a header")
    if lazy and request.is_eager:
        raise ValueError("what runs here cannot wait for what is submitted later: lazy=True")
    if isinstance(sig, dict):
        sig = Signature.from_dict(sig)
    sig = sig.clone(
        group_id=request.group,
        group_index=request.group_index,
        chord=request.chord,
        root_id=request.root_id,
    )
    if not lazy:
        return task.app.add_to_chord(sig, request.chord)
    sig.freeze()
    task.app.announce_to_chord(sig, request.chord)
    return sig


def _stand_in(sig: Any, request: current.Context, nesting: int) -> Any:
    """Return *sig* with all that a request tells that is of no job which runs here."""
    if isinstance(sig, group):
        sig = sig | _first_of_results()
    elif isinstance(sig, chain) and isinstance(sig.tasks[-1], group):
        sig.tasks = [*sig.tasks[:-1], sig.tasks[-1] | _first_of_results()]
    for callback in as_list(request.callbacks):
        sig.link(callback)
    for errback in as_list(request.errbacks):
        sig.link_error(errback)
    if isinstance(sig, chain) and "link" in sig.options:
        for callback in as_list(sig.options.pop("link")):
            sig.tasks[-1].link(callback)
    sig.freeze(request.id)
    sig.set(
        chord=request.chord,
        group_id=request.group,
        group_index=request.group_index,
        root_id=request.root_id,
        replaced_task_nesting=nesting,
    )
    following = request.chain.tasks if isinstance(request.chain, chain) else request.chain
    for step in reversed(following or ()):
        sig = sig | Signature.from_dict(step).set(replaced_task_nesting=nesting)
    return sig


def _first_of_results() -> Signature:
    return Signature("celery.accumulate", (), {"index": 0})


def _going_on(sig: Signature, request: current.Context, options: Mapping[str, Any]) -> Signature:
    """Return *sig* as the next attempt of its job, which has its place in a canvas already."""
    sig = sig.clone()
    for name in _KNOWN_OF_THE_JOB:
        if name not in options:
            sig.options.pop(name, None)
    for name in ("chain", "chord", "group_index"):
        sig.options.pop(name, None)
    if request.errbacks and "link_error" not in options:
        sig.options["link_error"] = request.errbacks
    sig.options.update(_place(request))
    return sig


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
    named, only = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.POSITIONAL_ONLY
    if args is not None and kwargs is None and request.kwargs:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # nothing can be known of it
            return args, kwargs
        positional = [each for each in parameters if each.kind in (named, only)]
        taken = {each.name for each in positional[: len(args)] if each.kind is named}
        kwargs = {name: each for name, each in request.kwargs.items() if name not in taken}
    elif kwargs is not None and args is None and request.args:
        try:
            signature = inspect.signature(function)
            bound = signature.bind_partial(*request.args)
        except (TypeError, ValueError):
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
