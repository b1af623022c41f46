"""Celery's interface over Dask's engine, with Django's table as the truth."""

from __future__ import annotations

from dask_facade.app import Celery, DaskFacade
from dask_facade.canvas import Signature, chain, chord, group, signature
from dask_facade.result import AsyncResult, GroupResult
from dask_facade.task import Task, shared_task

__version__ = "0.1.0"

__all__ = [
    "AsyncResult",
    "Celery",
    "DaskFacade",
    "GroupResult",
    "Signature",
    "Task",
    "chain",
    "chord",
    "group",
    "shared_task",
    "signature",
]
