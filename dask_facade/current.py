"""The current app, and the request of the job that runs here: the only globals."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.messages import Edge, NewJob


class Channel(Protocol):
    """What a running call can say to the dispatcher."""

    def spawn(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """Submit jobs in the name of the call; return when they were created, once committed.

        Raises DuplicateTaskId, Superseded, LedgerRefused, or LineClosed when the runner ends first.
        """

    def update(self, state: str, meta: bytes, preview: str) -> None:
        """Tell of a state of the task's own. Never waits; under pressure only the last counts."""

    def is_aborted(self) -> bool:
        """Tell whether somebody has asked that the call ends itself."""

    def emit(self, value: Any) -> None:
        """Put *value* into the queue of what the job says; under pressure it may be left out."""


class Context:
    """What a task can know of the job that it runs, under Celery's names.

    Outside of a job every attribute has the value that stands here. Custom headers are attributes
    too. A task may change what it finds; only ``chain = None`` means something to others: the rest
    of its chain does not run.
    """

    id: str | None = None
    task: str = ""
    args: list[Any] | tuple[Any, ...] | None = None
    kwargs: Mapping[str, Any] | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    taskset: str | None = None  # what Celery 2 called a group
    chord: Any = None
    chain: Any = None
    callbacks: Sequence[Any] | None = None
    errbacks: Sequence[Any] | None = None
    retries: int = 0
    eta: str | None = None
    expires: str | None = None
    timelimit: Sequence[float | None] | None = None  # hard, soft; seconds
    time_limit: float | None = None
    soft_time_limit: float | None = None
    delivery_info: Mapping[str, Any] | None = None
    headers: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] | None = None
    hostname: str | None = None
    logfile: str | None = None
    loglevel: int | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    origin: str | None = None
    called_directly: bool = True
    ignore_result: bool = False
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    shadow: str | None = None
    utc: bool | None = None
    replaced_task_nesting: int = 0
    stamps: Mapping[str, Any] | None = None
    stamped_headers: Sequence[str] | None = None
    owner: str = ""
    options: Mapping[str, Any] = MappingProxyType({})  # as NewJob.options said
    attempt: int = 1  # of the job's row, as the ledger counts
    hand: int = 0
    entered: bool = False  # its task has begun; whoever else calls a task calls a function
    within: Context | None = None  # of the job that called this task like a function
    channel: Channel | None = None  # None: it runs in the process that called it
    asked: Exception | None = None  # the Retry that its task asked for
    _children: list[Any] | None = None

    def __init__(self, *values: Any, **more: Any) -> None:
        """Take what a mapping or pairs say, and keywords; headers are what is not Celery's."""
        self.update(*values, **more)
        if self.headers is None:
            said = dict(*values, **more)
            own = {name: each for name, each in said.items() if name not in _celerys()}
            self.headers = own or None

    @property
    def is_eager(self) -> bool:
        """Whether the job runs in the process that called it."""
        said = vars(self).get("is_eager")
        return bool(getattr(self.channel, "is_eager", False) if said is None else said)

    @is_eager.setter
    def is_eager(self, said: bool) -> None:
        vars(self)["is_eager"] = said

    @property
    def children(self) -> list[Any]:
        """The results that `Task.add_trail` was told of."""
        if self._children is None:
            self._children = []
        return self._children

    def update(self, *values: Any, **more: Any) -> None:
        """Set several attributes; a ``timelimit`` also says both limits."""
        before = vars(self).get("timelimit")
        vars(self).update(*values, **more)
        limits = vars(self).get("timelimit")
        if limits is not before:
            self.time_limit = self.soft_time_limit = None
            if isinstance(limits, list | tuple) and len(limits) > 1:
                self.time_limit, self.soft_time_limit = limits[:2]

    def clear(self) -> None:
        """Forget all that was set."""
        vars(self).clear()

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or *default* if there is none."""
        return getattr(self, name, default)

    def as_execution_options(self) -> dict[str, Any]:
        """Return the options with which the same job would be submitted."""
        options = {option: getattr(self, name) for option, name in _OPTIONS.items()}
        options["headers"] = _without_deaths(self.headers)
        options["time_limit"], options["soft_time_limit"] = self.timelimit or (None, None)
        stamps, stamped = self.stamps, self.stamped_headers
        if stamps is not None and stamped is not None:
            options["stamped_headers"] = stamped
            options.update({name: each for name, each in stamps.items() if name in stamped})
        return options

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"


_OPTIONS = {
    **{
        each: each
        for each in (
            "chain",
            "chord",
            "expires",
            "group_index",
            "origin",
            "parent_id",
            "replaced_task_nesting",
            "reply_to",
            "retries",
            "root_id",
            "shadow",
        )
    },
    "group_id": "group",
    "link": "callbacks",
    "link_error": "errbacks",
    "task_id": "id",
}
"""The options of `apply_async` -> the attributes of a request that say them."""


def _without_deaths(headers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return headers but for those by which RabbitMQ tells of letters that it could not deliver.

    It would take a call that carries them for one that goes round in circles.
    """
    return {name: each for name, each in (headers or {}).items() if not _DEATH.match(name)}


_DEATH = re.compile(r"x-(?:(?:first|last)-)?death(?:-(?:exchange|queue|reason))?$")


@cache
def _celerys() -> frozenset[str]:
    """Return what a request says that is no header of the user's own."""
    return frozenset((*dir(Context), "lang", "task", "argsrepr", "kwargsrepr", "compression"))


class Frame(NamedTuple):
    """A request that is current, and the one that was before it."""

    request: Context
    name: str  # of the task that it is of
    task: Any  # None: nobody said
    below: Frame | None


@dataclass(frozen=True, slots=True)
class Site:
    """What a Django site gives its apps."""

    store: Any  # its ledger
    client: Any  # the process's line to the dispatcher
    packages: Callable[[], Iterable[str]]  # of its installed apps


_NO_REQUEST = Context()
_frames: ContextVar[Frame | None] = ContextVar("dask_facade_frames", default=None)
_apps: list[Any] = []
_sites: list[Site] = []


def request() -> Context:
    """Return the request of the job that runs in this context; its id is None outside of any."""
    frame = _frames.get()
    return _NO_REQUEST if frame is None else frame.request


def frame() -> Frame | None:
    """Return the innermost frame of this context, or None outside of any task."""
    return _frames.get()


def job() -> Context:
    """Return the request of the job that runs in this context.

    Where it calls another task like a function, that has a request of its own, but no job.
    """
    frame = _frames.get()
    if frame is None:
        return _NO_REQUEST
    return frame.request.within or frame.request


@contextmanager
def running(request: Context) -> Iterator[None]:
    """Make *request* the current one for the time of the block."""
    reset = _frames.set(Frame(request, request.task, None, _frames.get()))
    try:
        yield
    finally:
        _frames.reset(reset)


def push_task(task: Any) -> None:
    """Make *task* the current one, without a job."""
    _frames.set(Frame(Context(), task.name, task, _frames.get()))


def pop_task() -> Any:
    """Undo what made a task the current one last; return that task."""
    frame = _frames.get()
    if frame is None:
        return None
    _frames.set(frame.below)
    return frame.task


class RequestStack:
    """The requests of one task that are current in this context, the innermost last."""

    def __init__(self, task: Any) -> None:
        self._task = task

    @property
    def top(self) -> Context | None:
        """The innermost one, or None."""
        frame, name = _frames.get(), self._task.name
        while frame is not None and frame.name != name:
            frame = frame.below
        return None if frame is None else frame.request

    @property
    def stack(self) -> list[Context]:
        """All of them."""
        found, frame = [], _frames.get()
        while frame is not None:
            if frame.name == self._task.name:
                found.append(frame.request)
            frame = frame.below
        return found[::-1]

    def __len__(self) -> int:
        return len(self.stack)

    def push(self, request: Context) -> None:
        """Make *request* the current one."""
        _frames.set(Frame(request, self._task.name, self._task, _frames.get()))

    def pop(self) -> Context | None:
        """Let the innermost one be current no more, and return it; None where there is none."""
        above: list[Frame] = []
        frame, name = _frames.get(), self._task.name
        while frame is not None and frame.name != name:
            above.append(frame)
            frame = frame.below
        if frame is None:
            return None
        left = frame.below
        for each in reversed(above):
            left = each._replace(below=left)
        _frames.set(left)
        return frame.request


def app() -> Any:
    """Return the app that was made last, or raise ImproperlyConfigured where there is none."""
    if not _apps:
        raise ImproperlyConfigured(
            "no app: make one with `app = DaskFacade('name')`, or add 'dask_facade' to "
            "INSTALLED_APPS and call django.setup()"
        )
    return _apps[-1]


def has_app() -> bool:
    """Tell whether an app was made."""
    return bool(_apps)


def set_app(app: Any) -> None:
    """Make *app* the current one."""
    _apps[:] = [app]


def forget_app() -> None:
    """Let there be no current app, as before the first was made."""
    _apps.clear()


def has_site() -> bool:
    """Tell whether a Django site was set up."""
    return bool(_sites)


class Proxy:
    """Stands for what *find* returns at the time of each use."""

    def __init__(self, find: Callable[[], Any]) -> None:
        object.__setattr__(self, "_find", find)

    def _get_current_object(self) -> Any:
        return object.__getattribute__(self, "_find")()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._get_current_object()(*args, **kwargs)

    def __bool__(self) -> bool:
        return bool(self._get_current_object())

    def __eq__(self, other: object) -> bool:
        return bool(self._get_current_object() == other)

    def __hash__(self) -> int:
        return hash(self._get_current_object())

    def __repr__(self) -> str:
        return repr(self._get_current_object())


def site() -> Site:
    """Return the Django site, or raise ImproperlyConfigured where it is not set up."""
    if not _sites:
        raise ImproperlyConfigured(
            "no ledger: add 'dask_facade' to INSTALLED_APPS and run django.setup(), or give the "
            "app one: DaskFacade(store=...)"
        )
    return _sites[-1]


def set_site(site: Site) -> None:
    """Make *site* the one whose ledger apps use that were given none."""
    _sites[:] = [site]
