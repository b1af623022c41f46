"""What a mix of jobs is said with, for this package."""

from __future__ import annotations

from typing import Any

import django
from django.db import Error, close_old_connections

from dask_facade import AsyncResult, chain, chord, shared_task
from dask_facade.exceptions import DuplicateTaskId

__all__ = ["AWAY", "TAKEN", "chain", "chord", "result_of", "set_up", "shared_task", "start_anew"]

AWAY: tuple[type[Exception], ...] = (Error,)  # what a submission raises when there is no database
TAKEN: tuple[type[Exception], ...] = (DuplicateTaskId,)  # and when it had been made all the same


def set_up() -> None:
    """Make the site of this process."""
    django.setup()


def start_anew() -> None:
    """Let go of connections that have failed, as Django does between two requests."""
    close_old_connections()


def result_of(id: str) -> Any:
    """Return the result of a job."""
    return AsyncResult(id)
