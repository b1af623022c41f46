"""The current app, and the request of the job that runs here: the only globals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

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
    args: list[Any] | tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = MappingProxyType({})
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    group_index: int | None = None
    chord: Any = None
    chain: Any = None
    callbacks: Sequence[Any] | None = None
    errbacks: Sequence[Any] | None = None
    retries: int = 0
    eta: str | None = None
    expires: str | None = None
    timelimit: Sequence[float | None] = (None, None)  # hard, soft; seconds
    delivery_info: Mapping[str, Any] = MappingProxyType({})
    headers: Mapping[str, Any] | None = None
    properties: Mapping[str, Any] | None = None
    hostname: str | None = None
    reply_to: str | None = None
    correlation_id: str | None = None
    origin: str | None = None
    called_directly: bool = True
    ignore_result: bool = False
    argsrepr: str | None = None
    kwargsrepr: str | None = None
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

    def __init__(self, **values: Any) -> None:
        self.update(values)

    @property
    def is_eager(self) -> bool:
        """Whether the job runs in the process that called it."""
        said = vars(self).get("is_eager")
        return bool(getattr(self.channel, "is_eager", False) if said is None else said)

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several attributes."""
        self.__dict__.update(values)

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute, or *default* if there is none."""
        return getattr(self, name, default)

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"


@dataclass(frozen=True, slots=True)
class Site:
    """What a Django site gives its apps."""

    store: Any  # its ledger
    client: Any  # the process's line to the dispatcher
    packages: Callable[[], Iterable[str]]  # of its installed apps


_NO_REQUEST = Context()
_request: ContextVar[Context] = ContextVar("dask_facade_request", default=_NO_REQUEST)
_apps: list[Any] = []
_sites: list[Site] = []


def request() -> Context:
    """Return the request of the job that runs in this context; its id is None outside of any."""
    return _request.get()


def job() -> Context:
    """Return the request of the job that runs in this context.

    Where it calls another task like a function, that has a request of its own, but no job.
    """
    request = _request.get()
    return request.within or request


@contextmanager
def running(request: Context) -> Iterator[None]:
    """Make *request* the current one for the time of the block."""
    reset = _request.set(request)
    try:
        yield
    finally:
        _request.reset(reset)


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
