"""What ``import celery`` gives once `dask_facade.install_as_celery` was called."""

from __future__ import annotations

from collections import namedtuple

from dask_facade import canvas, exceptions, result, signals, states
from dask_facade.app import Celery
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
from dask_facade.celery import app
from dask_facade.celery._state import current_app
from dask_facade.celery.utils import uuid
from dask_facade.making import shared_task
from dask_facade.result import AsyncResult, GroupResult
from dask_facade.task import Task, current_task

__version__ = "5.7.0"  # of the Celery whose interface this is

version_info_t = namedtuple("version_info_t", ("major", "minor", "micro", "releaselevel", "serial"))
version_info = version_info_t(5, 7, 0, "", "")
VERSION = version_info


def bugreport(app: Celery | None = None) -> str:
    """Return what a report of a bug should say of this installation."""
    report: str = (app or current_app).bugreport()
    return report


__all__ = [
    "AsyncResult",
    "Celery",
    "GroupResult",
    "Signature",
    "Task",
    "app",
    "bugreport",
    "canvas",
    "chain",
    "chord",
    "chunks",
    "current_app",
    "current_task",
    "exceptions",
    "group",
    "maybe_signature",
    "result",
    "shared_task",
    "signals",
    "signature",
    "states",
    "subtask",
    "uuid",
    "xmap",
    "xstarmap",
]
