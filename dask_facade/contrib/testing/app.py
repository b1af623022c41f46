"""Apps for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from dask_facade import current
from dask_facade.app import Celery
from dask_facade.contrib.testing import tasks  # noqa: F401  # it registers one
from dask_facade.dispatcher.client import DispatcherClient
from dask_facade.ledger.memory import MemoryStore

DEFAULT_TEST_CONFIG: Mapping[str, Any] = {
    "accept_content": {"json"},
    "broker_heartbeat": 0,
    "broker_url": "memory://",
    "enable_utc": True,
    "result_backend": "cache+memory://",
    "timezone": "UTC",
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
}


class Trap:
    """Stands where the current app would; whoever asks it for anything gets RuntimeError."""

    def __getattr__(self, name: str) -> Any:
        if name in ("_is_coroutine", "__func__"):  # unittest.mock asks every object for these
            return None
        raise RuntimeError(f"Test depends on current_app: it was asked for {name!r}")


def TestApp(
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = None,
    backend: Any = None,
    broker: str | None = None,
    **options: Any,
) -> Celery:
    """Return an app for tests, with *config* as its defaults.

    Its ledger is that of the Django site, if one is set up; else one in memory, which all apps of
    this process share. Without *enable_logging* its `log` sets nothing up.
    """
    provide_ledger()
    given = {"broker_url": broker, "result_backend": backend}
    said = {
        setting: value
        for setting, value in {**deepcopy(DEFAULT_TEST_CONFIG), **(config or {})}.items()
        if given.get(setting) is None
    }
    app = Celery(
        name or "celery.tests",
        set_as_current=set_as_current,
        broker=broker,
        backend=backend,
        **options,
    )
    app.add_defaults(said)
    app.log.already_setup = not enable_logging
    return app


TestApp.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


def provide_ledger() -> None:
    """Give the apps of this process a ledger in memory, unless a Django site gives them one."""
    if not current.has_site():
        renew_ledger()


def renew_ledger() -> None:
    """Give the apps of this process an empty ledger in memory, for jobs that no worker runs."""
    store = MemoryStore()
    current.set_site(current.Site(store, DispatcherClient(store), lambda: ()))


@contextmanager
def set_trap(app: Any) -> Iterator[None]:
    """Let who asks for the current app, while the block runs, get an error."""
    before = current.app() if current.has_app() else None
    current.set_app(Trap())
    try:
        yield
    finally:
        _restore(before)


@contextmanager
def setup_default_app(app: Any, use_trap: bool = False) -> Iterator[None]:
    """Let the current app be, after the block, the one that it was before."""
    before = current.app() if current.has_app() else None
    try:
        if use_trap:
            with set_trap(app):
                yield
        else:
            yield
    finally:
        _restore(before)


def _restore(app: Any) -> None:
    if app is None:
        current.forget_app()
    else:
        current.set_app(app)
