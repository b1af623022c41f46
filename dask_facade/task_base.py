"""What a task is: its name, what it says of its calls, and the app that it belongs to."""

from __future__ import annotations

import sys
import types
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from dask_facade import current
from dask_facade.autoretry import add_autoretry_behaviour
from dask_facade.bindings import FromSettings, OfApp
from dask_facade.exceptions import CDeprecationWarning
from dask_facade.registry import task_of

_OF_NO_BROKER = ("exchange", "exchange_type", "routing_key", "delivery_mode")
"""Attributes by which Celery's tasks say how a broker is to carry their calls."""


class TaskBase:
    """The half of `task.Task` that submits nothing.

    What is None holds as the settings say it.
    """

    name: str = ""
    abstract: bool = True
    app: Any = OfApp()
    queue: Any = None
    priority: Any = FromSettings("task_default_priority")
    acks_late: Any = FromSettings("task_acks_late")
    acks_on_failure_or_timeout: Any = FromSettings("task_acks_on_failure_or_timeout")
    reject_on_worker_lost: Any = FromSettings("task_reject_on_worker_lost")
    ignore_result: Any = FromSettings("task_ignore_result")
    expires: Any = None  # seconds, timedelta or datetime
    time_limit: Any = FromSettings("task_time_limit")  # seconds
    soft_time_limit: Any = FromSettings("task_soft_time_limit")
    serializer: Any = FromSettings("task_serializer")  # of arguments; "json": nothing else
    keep: str | None = None  # "cluster": its results are never stored in the ledger
    isolate: bool = False  # it runs in a process of its own
    typing: bool | None = None
    max_retries: int | None = 3  # None: no limit
    default_retry_delay: float = 180  # seconds
    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: float = 0  # seconds before the first retry; True is 1
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    throws: tuple[type[BaseException], ...] = ()
    track_started: Any = FromSettings("task_track_started")
    rate_limit: Any = FromSettings("task_default_rate_limit")
    store_eager_result: Any = FromSettings("task_store_eager_result")
    store_errors_even_if_ignored: Any = FromSettings("task_store_errors_even_if_ignored")
    trail: bool = True
    send_events: bool = True
    from_config: tuple[tuple[str, str], ...] = ()
    """Attributes of a class's own that settings say: (attribute, name of the setting)."""

    has_own_call: bool = False  # its class has a ``__call__`` of its own
    has_own_signatures: bool = False  # its class says how a request becomes a signature
    own_results: bool = False  # its class has an ``AsyncResult`` of its own
    rewrites: bool = False  # its class has an ``apply_async`` of its own
    __v2_compat__: bool = False
    _app: Any = None
    _backend: Any = None
    is_bound: bool = False  # it has taken what the settings of its app say
    _own_request: current.Context | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        first = next((each for each in cls.__mro__ if each.__module__ == _FACE), None)
        if first is not None and first is not cls:
            cls.has_own_call = cls.__call__ is not first.__call__
            cls.has_own_signatures = cls.signature_from_request is not first.signature_from_request  # type: ignore[attr-defined]  # of Task
            cls.own_results = cls.AsyncResult is not first.AsyncResult  # type: ignore[attr-defined]  # of Task
            cls.rewrites = cls.apply_async is not first.apply_async  # type: ignore[attr-defined]  # likewise

    def __class_getitem__(cls, item: Any) -> Any:
        return types.GenericAlias(cls, item)

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """What the task does; every task has its own."""
        raise NotImplementedError("a task must define the run method")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it here. Within another job it knows no request: it is a function that is called."""
        frame = current.frame()
        within = None
        if frame is not None:
            request = frame.request
            if frame.name == self.name and request.id is not None and not request.entered:
                request.entered = True
                return self.run(*args, **kwargs)
            within = current.job()
        self.push_request(args=args, kwargs=kwargs, within=within)
        try:
            return self.run(*args, **kwargs)
        finally:
            self.pop_request()

    def __repr__(self) -> str:
        app = self._app
        of = "" if app is None else f" of {app.main or '__main__'} at {id(app):#x}"
        return f"<@task: {self.name}{of}{' (v2 compatible)' if self.__v2_compat__ else ''}>"

    def __reduce__(self) -> Any:
        module = type(self).__module__
        return task_of, (self.name, module if module in sys.modules else None)

    def __getstate__(self) -> dict[str, Any]:
        """Return what makes it another one elsewhere, for who copies it instead of naming it."""
        return {name: each for name, each in vars(self).items() if name not in _OF_THIS_PROCESS}

    def _get_current_object(self) -> Any:
        return self

    # The app

    def bind(self, app: Any) -> Any:
        """Belong to *app*: take what its settings say of the task. Done when it is first used."""
        self._app, was_bound, self.is_bound = app, self.is_bound, True
        for attribute, setting in self.from_config:
            if getattr(self, attribute, None) is None:
                setattr(self, attribute, app.conf.get(setting))
        if not was_bound:
            self.annotate()  # type: ignore[attr-defined]  # of Task
        self.on_bound(app)
        return app

    def settle(self) -> None:
        """Be bound, where there is an app; one that several share is of whichever is current."""
        own = self._app
        if own is not None or current.has_app():
            self.bind(self.app)
            self._app = own

    def on_bound(self, app: Any) -> None:
        """Called when the task takes what the settings of its app say."""

    def add_around(self, attr: str, around: Callable[[Any], Any]) -> None:
        """Put *around*, a decorator, about one of its functions; about what it had, not twice."""
        before = getattr(self, attr)
        before = getattr(before, "__around__", before)
        after = around(before)
        after.__around__ = before
        setattr(self, attr, after)

    def entered(self) -> None:
        """Called by the registry that it is entered in."""
        self.abstract = False
        add_autoretry_behaviour(self)
        for attribute in _OF_NO_BROKER:
            if attribute in vars(self) or attribute in vars(type(self)):
                warnings.warn(
                    f"The {attribute!r} task attribute is deprecated, and means nothing here: use "
                    "the task_routes setting",
                    CDeprecationWarning,
                    stacklevel=3,
                )

    @property
    def backend(self) -> Any:
        """Where results are, under Celery's names; a task may have its own to tell states to."""
        return self.app.backend if self._backend is None else self._backend

    @backend.setter
    def backend(self, backend: Any) -> None:
        self._backend = backend

    # Requests

    @cached_property
    def request_stack(self) -> current.RequestStack:
        """Its requests that are current here."""
        return current.RequestStack(self)

    @property
    def request(self) -> current.Context:
        """What is known of the job that runs it here; its id is None outside of any."""
        frame, name = current.frame(), self.name
        while frame is not None:
            if frame.name == name:
                return frame.request
            frame = frame.below
        if self._own_request is None:
            self._own_request = current.Context()
        return self._own_request

    def push_request(self, *values: Any, **more: Any) -> None:
        """Make a request of these values the current one, until `pop_request`."""
        self.request_stack.push(current.Context(*values, **more))

    def pop_request(self) -> None:
        """Undo `push_request`."""
        self.request_stack.pop()

    # What a class may say of the lives of its jobs

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Return another name for people to see of a call; None: its own."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called by the worker when it returned."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when it is to be tried again."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called by the worker when it raised."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called by the worker last, however it went."""


_FACE = "dask_facade.task"
_OF_THIS_PROCESS = frozenset(
    {"_app", "_backend", "is_bound", "_own_request", "_parameters", "_places", "request_stack"}
)
