"""What a worker process needs before it can run a site's tasks."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from dask_facade import compat, current, signals
from dask_facade.registry import tasks
from dask_facade.serialization import loads

BEGINNING = "DASK_FACADE_BEGINNING"
"""The environment variable that names a file: the pickle of what a worker is to call first."""

logger = logging.getLogger(__name__)
_lock = threading.RLock()
_begun_as: dict[str, int] = {}  # when the file was made that was last read, in nanoseconds
_prepared: set[str] = set()
_begun: list[bool] = []


def prepare(settings_module: str, paths: Iterable[str]) -> None:
    """Set Django up as *settings_module* says and import the tasks; "" means no Django.

    *paths* are added to the end of sys.path where they exist here. Done once in a process; what a
    site's modules raise passes through.
    """
    with _lock:
        if settings_module in _prepared:
            return
        compat.inherit()
        sys.path.extend(path for path in paths if path not in sys.path and os.path.isdir(path))
        if settings_module:
            import django

            os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)
            django.setup()
        _begin_as_told()
        tasks.discover()
        _prepared.add(settings_module)
    signals.worker_process_init.send(None)


def set_up_django() -> None:
    """Set Django up as the environment says, in a process that only reads what others run.

    What a site's modules raise is logged.
    """
    if not os.environ.get("DJANGO_SETTINGS_MODULE"):
        return
    try:
        import django

        django.setup()
    except Exception:  # the site's modules
        logger.exception("graphs cannot be read here whose modules have models")


def _begin_as_told() -> None:
    """Call what the file holds that BEGINNING names, once for each time that it was written."""
    path = os.environ.get(BEGINNING)
    if path is None or not os.path.exists(path):
        return
    made = os.stat(path).st_mtime_ns
    if _begun_as.get(path) != made:
        _begun_as[path] = made
        with open(path, "rb") as file:
            loads(file.read())()


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends a worker's signals, with what receivers of Celery's ask it."""

    app: Any
    hostname: str


def begin(settings_module: str, paths: Iterable[str], hostname: str) -> None:
    """Prepare a worker and send its signals, once in its process.

    What a site's modules raise is logged: it is raised again for each call that wants them.
    """
    with _lock:
        first, _begun[:] = not _begun, [True]
    try:
        prepare(settings_module, paths)
    except Exception:  # the site's modules
        logger.exception("this worker cannot run tasks")
    if first:
        sender = Sender(current.app() if current.has_app() else None, hostname)
        signals.worker_init.send(sender)
        signals.worker_ready.send(sender)
        atexit.register(_end, sender)


def _end(sender: Sender) -> None:
    signals.worker_shutting_down.send(sender.hostname, sig="", how="Warm", exitcode=0)
    signals.worker_process_shutdown.send(None, pid=os.getpid(), exitcode=0)
    signals.worker_shutdown.send(sender)


def find(settings_module: str, paths: Iterable[str], name: str) -> Any:
    """Return the task of this name, in a process that is prepared for it."""
    prepare(settings_module, paths)
    if BEGINNING in os.environ:
        with _lock:
            _begin_as_told()
    return tasks.find(name)


def close_old_connections(settings_module: str) -> None:
    """Close database connections as Django does around a request, in a prepared process."""
    if settings_module:
        _django_closer()()


@functools.cache
def _django_closer() -> Callable[[], None]:
    from django.db import close_old_connections

    return close_old_connections
