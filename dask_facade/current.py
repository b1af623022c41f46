"""The current app, and the request of the job that runs here: the only globals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from dask_facade.exceptions import ImproperlyConfigured


@dataclass(frozen=True, slots=True)
class Request:
    """What a task can know of the job that it runs, under Celery's names."""

    id: str | None = None
    task: str = ""
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    root_id: str | None = None
    parent_id: str | None = None
    group: str | None = None
    retries: int = 0
    hostname: str = ""
    delivery_info: Mapping[str, Any] = field(default_factory=dict)
    ignore_result: bool = False
    is_eager: bool = False
    called_directly: bool = True


@dataclass(frozen=True, slots=True)
class Site:
    """What a Django site gives its apps."""

    store: Any  # its ledger
    client: Any  # the process's line to the dispatcher
    packages: Callable[[], Iterable[str]]  # of its installed apps


_NO_REQUEST = Request()
_request: ContextVar[Request] = ContextVar("dask_facade_request", default=_NO_REQUEST)
_apps: list[Any] = []
_sites: list[Site] = []


def request() -> Request:
    """Return the request of the job that runs in this context; its id is None outside of any."""
    return _request.get()


@contextmanager
def running(request: Request) -> Iterator[None]:
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
