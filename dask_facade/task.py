"""Tasks: functions with a name, and what Celery's decorators make of them."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from dask_facade import attempts, canvas, current, states
from dask_facade.annotations import prepare
from dask_facade.annotations import resolve_all as resolve_all_annotations
from dask_facade.bindings import attach
from dask_facade.canvas import Signature
from dask_facade.current import Context
from dask_facade.exceptions import (
    MaxRetriesExceededError,
    Retry,
)
from dask_facade.registry import tasks
from dask_facade.serialization import dumps, preview, storable
from dask_facade.task_base import TaskBase


@dataclass(slots=True)
class _Asked:
    """A task whose class has its own ``apply_async``, and what that made of a call."""

    task: Task
    made: Signature | None = None


_asked: ContextVar[_Asked | None] = ContextVar("dask_facade_asked", default=None)


class Task(TaskBase):
    """A registered task. Calling it runs its function here; `delay` submits a job."""

    MaxRetriesExceededError = MaxRetriesExceededError

    _dump_models: Callable[[Any, Any], tuple[Any, Any]] | None = None  # of ``pydantic=True``

    def annotate(self) -> None:
        """Take what ``task_annotations`` says of it."""
        said = prepare(self.app.conf.get("task_annotations"))
        for attributes in resolve_all_annotations(said, self):
            for name, value in attributes.items():
                if name.startswith("@"):
                    self.add_around(name[1:], value)
                else:
                    attach(self, name, value)

    # Submitting

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a job with these arguments; return its AsyncResult."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Submit a job with options; return its AsyncResult.

        Options that mean something here: task_id, queue (or routing_key), priority, countdown
        (seconds), eta (aware), expires (seconds, timedelta or aware), retries, ignore_result,
        acks_late, headers, link, link_error, serializer ("json": strictly), time_limit,
        soft_time_limit, argsrepr, kwargsrepr, keep, user. Others, which only a message broker
        knows, are ignored. A class may override this to change arguments and options; it is asked
        for the steps of a canvas, too, whose arguments lack the results before them.

        Raises TypeError where the function cannot be called so, EncodeError or PayloadTooLarge
        where the arguments cannot be stored, ValueError for a time without a zone.
        """
        self._check(args, kwargs)
        if self._dump_models is not None and options.get("serializer") != "pickle":
            args, kwargs = self._dump_models(args, kwargs)
        shadow = shadow or self.shadow_name(args, kwargs, options)
        if task_id is not None:
            options["task_id"] = task_id
        if link is not None:
            options["link"] = link
        if link_error is not None:
            options["link_error"] = link_error
        if shadow is not None:
            options["shadow"] = shadow
        made = Signature(self, args or (), kwargs, options)
        if self.rewrites:
            asked = _asked.get()
            if asked is not None and asked.task is self and asked.made is None:
                asked.made = made
                return self.AsyncResult(options["task_id"])
        app = self.app
        if app.send_task.__module__ != _APP and not app.conf.task_always_eager:
            said = dict.fromkeys(("task_id", "link", "link_error", "shadow"))
            return self._sent(app, args, kwargs, {"producer": producer, **said, **options})
        return app.submit(made, rewritten=self.rewrites)

    def _check(self, args: Any, kwargs: Any) -> None:
        """Raise TypeError for what are no arguments, ValueError for limits that cannot both be."""
        if args is not None and not isinstance(args, (list, tuple)):
            raise TypeError(f"task args must be a list or tuple, not {args!r}")
        if kwargs is not None and type(kwargs) is not dict and not isinstance(kwargs, Mapping):
            raise TypeError(f"task keyword arguments must be a mapping, not {kwargs!r}")
        soft = self.soft_time_limit
        if soft and self.time_limit and soft > self.time_limit:
            raise ValueError("soft_time_limit must be less than or equal to time_limit")

    def _sent(self, app: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Submit a job through an app's own ``send_task``, which is told all that Celery tells."""
        self.check_arguments(args or (), kwargs or {})
        said = {**self._get_exec_options(), "ignore_result": self.ignore_result, **options}
        return app.send_task(
            self.name, args, kwargs, result_cls=self.AsyncResult, task_type=self, **said
        )

    def _get_exec_options(self) -> dict[str, Any]:
        """Return what the task says of all of its calls."""
        return {name: getattr(self, name, None) for name in _EXECUTION}

    async def adelay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a job from a coroutine; return its AsyncResult. No transaction is joined."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit a job with options from a coroutine; return its AsyncResult."""
        return await self.app.asubmit(Signature(self, args or (), kwargs, options))

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Submit a job when the open transaction commits; at once where none is open."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """Submit a job with options when the open transaction commits.

        `apply_async` itself is part of that transaction, and returns the result object.
        """
        self.app.store.on_commit(lambda: self.apply_async(args, kwargs, **options) and None)

    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        **options: Any,
    ) -> Any:
        """Run a job here and now; return its EagerResult.

        With *throw* (unsaid: ``task_eager_propagates``) what the task raises is raised.
        """
        made = Signature(self, args or (), kwargs, options)
        return self.app.run_here(made, throw=throw)

    def rewritten(self, signature: Signature) -> Signature:
        """Return what the class's own ``apply_async`` makes of a call; its task_id is said."""
        asked = _Asked(self)
        reset = _asked.set(asked)
        try:
            self.apply_async(signature.args, signature.kwargs, **signature.options)
        finally:
            _asked.reset(reset)
        if asked.made is None:  # it has its own ideas
            return signature
        return asked.made.set(immutable=signature.immutable)

    # Signatures

    def signature(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Signature:
        """Return a call in the making, with options."""
        return Signature(self, args or (), kwargs, options, **more)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call in the making; a previous result goes before *args*."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call in the making that takes no previous result."""
        return Signature(self, args, kwargs, immutable=True)

    def chunks(self, it: Iterable[Any], n: int) -> Signature:
        """Return calls with the arguments in each of *it*, *n* of them in a job."""
        return canvas.chunks(self.s(), it, n)

    def map(self, it: Iterable[Any]) -> Signature:
        """Return one job that calls it with each of *it*."""
        return canvas.xmap(self.s(), it)

    def starmap(self, it: Iterable[Any]) -> Signature:
        """Return one job that calls it with the arguments in each of *it*."""
        return canvas.xstarmap(self.s(), it)

    def signature_from_request(
        self,
        request: current.Context | None = None,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: Any = None,
        **options: Any,
    ) -> Signature:
        """Return the call that *request* (unsaid: the current one) is of, with changes."""
        return attempts.signature_of(self, request or self.request, args, kwargs, queue, options)

    subtask_from_request = signature_from_request

    # Within a job

    def retry(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Retry:
        """Try the call again, in *countdown* seconds or at *eta*; does not return.

        Raises *exc* (unsaid: MaxRetriesExceededError) once *max_retries* are used up, and what is
        being handled, or *exc*, where the task was called like a function. Without *throw* the
        Retry is returned, for the task to raise.
        """
        retry = attempts.retry(
            self,
            args=args,
            kwargs=kwargs,
            exc=exc,
            eta=eta,
            countdown=countdown,
            max_retries=max_retries,
            options=options,
        )
        if throw:
            raise retry
        return retry

    def replace(self, sig: Any) -> Any:
        """Go on as another signature, under this job's id; does not return.

        What waits for this job waits for it, and what is to run when this fails runs when it
        fails. A group gives the list of its results. Called like a function, the task submits it.
        """
        return self.on_replace(attempts.replacement(self, sig))

    def on_replace(self, sig: Any) -> Any:
        """Go on as *sig*, which stands for this job already; what `replace` does last."""
        raise attempts.replaced(self, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Let the body of the chord wait for *sig*, too, and take its result behind the others.

        The task is a member of the header, and runs. Returns the result object; with *lazy* the
        signature, which is to be submitted: the body waits until that was done and has ended.
        Raises ValueError where no body waits for the task.
        """
        return attempts.added(self, sig, lazy=lazy)

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **options: Any,
    ) -> None:
        """Tell how a job stands (unsaid: the one that runs here): a state of its own, and a value.

        Never waits where it is the one that runs here; nobody is told of one that runs in the
        process that called it.
        """
        job = current.job()
        own = task_id is None or task_id == job.id
        if own and self._backend is None and (job.channel is not None or job.is_eager):
            if job.channel is not None:
                said = storable(str(state)) if state else states.STARTED
                job.channel.update(said, dumps(meta), preview(meta))
            return
        request = self.request
        told_of = request.id if task_id is None else task_id
        self.backend.store_result(told_of, meta, state, request=request, **options)

    def emit(self, value: Any) -> None:
        """Say something to who listens: ``Queue("said:<id>")``, ``AsyncResult.said()``."""
        request = current.job()
        if request.channel is not None:
            request.channel.emit(value)

    def send_event(
        self, type_: str, retry: bool = True, retry_policy: Any = None, **fields: Any
    ) -> Any:
        """Send an event to who monitors, if the app has ``events`` to send it with."""
        app, request = self.app, self.request
        events = getattr(app, "events", None)
        if events is None:
            return None
        policy = app.conf.get("task_publish_retry_policy") if retry_policy is None else retry_policy
        with events.default_dispatcher(hostname=request.hostname) as dispatcher:
            return dispatcher.send(
                type_, uuid=request.id, retry=retry, retry_policy=policy, **fields
            )

    def add_trail(self, result: Any) -> Any:
        """Let the request tell of a child, if the task trails; children know their parents."""
        if self.trail:
            self.request.children.append(result)
        return result

    # Arguments

    def check_arguments(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError unless the function can be called with these arguments."""
        typing = self.typing
        if typing is None:
            typing = getattr(self._app, "strict_typing", True)
        if not typing or (not kwargs and isinstance(args, tuple) and len(args) in self._places):
            return
        try:
            self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._parameters}: {error}") from None

    @cached_property
    def _parameters(self) -> inspect.Signature:
        return inspect.signature(self.run)

    @cached_property
    def _places(self) -> range:
        """How many positional arguments it may be called with, if there are no others."""
        parameters = self._parameters.parameters.values()
        only = inspect.Parameter.KEYWORD_ONLY
        if any(each.kind is only and each.default is each.empty for each in parameters):
            return range(0)
        places = [each for each in parameters if each.kind in _IN_PLACES]
        least = sum(each.default is each.empty for each in places)
        is_open = any(each.kind is inspect.Parameter.VAR_POSITIONAL for each in parameters)
        return range(least, sys.maxsize if is_open else len(places) + 1)

    def AsyncResult(self, task_id: str, **options: Any) -> Any:
        """Return the result object of any job."""
        return self.app.AsyncResult(task_id, **options)


_APP = "dask_facade.app"
_IN_PLACES = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EXECUTION = (
    "queue", "routing_key", "exchange", "priority", "expires", "serializer", "delivery_mode",
    "compression", "time_limit", "soft_time_limit", "immediate", "mandatory",
)  # fmt: skip
"""Attributes of a task that are options of its calls, of Celery's as well."""


def _reprtask(task: Any, fmt: str | None = None, flags: Iterable[str] | None = None) -> str:
    """Return a task in words."""
    return repr(task)


def _current_task() -> Any:
    frame = current.frame()
    if frame is None:
        return None
    return frame.task or tasks.known(frame.name)


current_task = current.Proxy(_current_task)
"""The task that runs here; what is false outside of any."""

__all__ = ["Context", "Task", "TaskBase", "current_task"]
