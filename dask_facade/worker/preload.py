"""What a worker process needs before it can run a site's tasks."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable

from dask_facade.registry import tasks

logger = logging.getLogger(__name__)
_lock = threading.Lock()
_prepared: set[str] = set()


def prepare(settings_module: str, paths: Iterable[str]) -> None:
    """Set Django up as *settings_module* says and import the tasks; "" means no Django.

    *paths* are added to the end of sys.path where they exist here. Done once in a process; what a
    site's modules raise passes through.
    """
    with _lock:
        if settings_module in _prepared:
            return
        sys.path.extend(path for path in paths if path not in sys.path and os.path.isdir(path))
        if settings_module:
            import django

            os.environ.setdefault("DJANGO_SETTINGS_MODULE", settings_module)
            django.setup()
        tasks.discover()
        _prepared.add(settings_module)


def connection_closer(settings_module: str) -> Callable[[], None]:
    """Return what closes database connections as Django does around a request."""
    if not settings_module:
        return lambda: None
    from django.db import close_old_connections

    return close_old_connections
