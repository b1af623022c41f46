"""Celery's package of the app."""

from __future__ import annotations

from typing import Any

from dask_facade import current
from dask_facade.app import Celery
from dask_facade.making import shared_task


def app_or_default(app: Any = None) -> Any:
    """Return *app*, or the current one."""
    return app or current.app()


default_app = current.Proxy(current.app)

__all__ = ["Celery", "app_or_default", "default_app", "shared_task"]
