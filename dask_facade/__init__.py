"""Celery's interface over Dask's engine, with Django's table as the truth."""

from __future__ import annotations

from dask_facade import current as _current
from dask_facade.app import Celery, DaskFacade
from dask_facade.canvas import (
    Signature,
    chain,
    chord,
    chunks,
    group,
    maybe_signature,
    signature,
    subtask,
    xmap,
    xstarmap,
)
from dask_facade.compat import install_as_celery
from dask_facade.making import shared_task
from dask_facade.result import AsyncResult, GroupResult
from dask_facade.task import Task, current_task

__version__ = "0.1.0"

current_app = _current.Proxy(_current.app)

__all__ = [
    "AsyncResult",
    "Celery",
    "DaskFacade",
    "GroupResult",
    "Signature",
    "Task",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "group",
    "install_as_celery",
    "maybe_signature",
    "shared_task",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
