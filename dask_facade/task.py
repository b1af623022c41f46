"""Tasks: functions with a name, and what Celery's decorators make of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from dask_facade import attempts, canvas, current, states
from dask_facade.canvas import Signature
from dask_facade.exceptions import (
    MaxRetriesExceededError,
    Retry,
)
from dask_facade.registry import tasks
from dask_facade.serialization import dumps, preview, storable


@dataclass(slots=True)
class _Asked:
    """A task whose class has its own ``apply_async``, and what that made of a call."""

    task: Task
    made: Signature | None = None


_asked: ContextVar[_Asked | None] = ContextVar("dask_facade_asked", default=None)


class Task:
    """A registered task. Calling it runs its function here; `delay` submits a job.

    What is None holds as the settings say it.
    """

    MaxRetriesExceededError = MaxRetriesExceededError

    name: str = ""
    abstract: bool = True
    queue: Any = None
    priority: int | None = None
    acks_late: bool | None = None
    ignore_result: bool | None = None
    expires: Any = None  # seconds, timedelta or datetime
    time_limit: float | None = None  # seconds
    soft_time_limit: float | None = None
    serializer: str | None = None  # of arguments; "json": nothing else
    keep: str | None = None  # "cluster": its results are never stored in the ledger
    isolate: bool = False  # it runs in a process of its own
    typing: bool = True
    max_retries: int | None = 3  # None: no limit
    default_retry_delay: float = 180  # seconds
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: float = 0  # seconds before the first retry; True is 1
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    throws: tuple[type[BaseException], ...] = ()
    track_started: bool | None = None
    rate_limit: str | None = None
    store_errors_even_if_ignored: bool | None = None
    trail: bool = True
    send_events: bool = True
    rewrites: bool = False

    run: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.rewrites = cls.apply_async is not Task.apply_async

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here. Within another job it knows no request: it is a function that is called."""
        request = current.request()
        if request.id is None or (request.task == self.name and not request.entered):
            if request.id is not None:
                request.entered = True
            return self.run(*args, **kwargs)
        own = current.Context(args=args, kwargs=kwargs, within=current.job())
        with current.running(own):
            return self.run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @property
    def app(self) -> Any:
        """The current app."""
        return current.app()

    @property
    def backend(self) -> Any:
        """Where results are, under Celery's names."""
        return current.app().backend

    @property
    def request(self) -> current.Context:
        """What is known of the job that runs it here; its id is None outside of any."""
        return current.request()

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
        if task_id is not None:
            options["task_id"] = task_id
        if link is not None:
            options["link"] = link
        if link_error is not None:
            options["link_error"] = link_error
        made = Signature(self, args or (), kwargs, options)
        if self.rewrites:
            asked = _asked.get()
            if asked is not None and asked.task is self and asked.made is None:
                asked.made = made
                return current.app().AsyncResult(options["task_id"])
        return current.app().submit(made, rewritten=self.rewrites)

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
        return await current.app().asubmit(Signature(self, args or (), kwargs, options))

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
        current.app().store.on_commit(lambda: self.apply_async(args, kwargs, **options) and None)

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
        return current.app().run_here(made, throw=throw)

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
        if queue is not None:
            options["queue"] = queue
        return attempts.signature_of(self.name, request or self.request, args, kwargs, options)

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
        fails. A group gives the list of its results.
        """
        sig = Signature.from_dict(sig)
        request = self.request
        if request.id is None:
            return sig.apply(throw=True).get()
        raise attempts.replaced(request, sig)

    def add_to_chord(self, sig: Any, lazy: bool = False) -> Any:
        """Not to be had: a chord's header is complete when it is submitted."""
        raise NotImplementedError(
            "add_to_chord: a chord's header is complete when it is submitted; let the member "
            "replace itself, self.replace(group(...)), to become several"
        )

    def update_state(
        self,
        task_id: str | None = None,
        state: str | None = None,
        meta: Any = None,
        **_celery_options: Any,
    ) -> None:
        """Tell how the job that runs here stands: a state of its own, and a value with it.

        Never waits. Where the job runs in the process that called it nobody is told.
        """
        request = current.job()
        if task_id is not None and task_id != request.id:
            raise ValueError(f"a job tells of its own state, not of that of {task_id!r}")
        if request.channel is not None:
            said = storable(str(state)) if state else states.STARTED
            request.channel.update(said, dumps(meta), preview(meta))

    def emit(self, value: Any) -> None:
        """Say something to who listens: ``Queue("said:<id>")``, ``AsyncResult.said()``."""
        request = current.job()
        if request.channel is not None:
            request.channel.emit(value)

    def send_event(self, type_: str, retry: bool = True, **fields: Any) -> None:
        """Accepted for Celery's sake: there is nobody to send events to."""

    def add_trail(self, result: Any) -> Any:
        """Accepted for Celery's sake: children know their parents."""
        return result

    # What a class may say of the lives of its jobs

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker when it returned."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when it is to be tried again."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when it raised."""

    def on_replace(self, sig: Signature) -> Any:
        """Go on as *sig*."""
        return self.replace(sig)

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker last, however it went."""

    # Arguments

    def check_arguments(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError unless the function can be called with these arguments."""
        if not self.typing:
            return
        try:
            self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._parameters}: {error}") from None

    def AsyncResult(self, task_id: str) -> Any:
        """Return the result object of any job."""
        return current.app().AsyncResult(task_id)

    @cached_property
    def _parameters(self) -> inspect.Signature:
        return inspect.signature(self.run)


def _current_task() -> Any:
    return tasks.known(current.request().task)


current_task = current.Proxy(_current_task)
"""The task that runs here; what is false outside of any."""
