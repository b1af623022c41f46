"""What a mix of jobs is said with, for Celery on Redis; also its app, for the workers."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, chain, chord, shared_task
from celery.signals import worker_ready
from kombu.exceptions import OperationalError

__all__ = ["AWAY", "TAKEN", "chain", "chord", "result_of", "set_up", "shared_task", "start_anew"]

AWAY: tuple[type[Exception], ...] = (OperationalError, OSError)
TAKEN: tuple[type[Exception], ...] = ()  # it takes an id as often as it is given


def app_at(redis: str, *, acks_late: bool = False) -> Celery:
    """Return an app with its broker and its results at *redis*; all else is Celery's default."""
    app = Celery("chaos", broker=redis, backend=redis, include=["tests.chaos.tasks"])
    app.conf.task_acks_late = acks_late
    return app


def set_up() -> None:
    """Make the app of this process."""
    app.set_default()


def start_anew() -> None:
    """Do nothing: it connects anew by itself."""


def result_of(id: str) -> Any:
    """Return the result of a job."""
    return app.AsyncResult(id)


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def say_ready(**_: Any) -> None:
    print("worker is ready", flush=True)


if "CHAOS_REDIS" in os.environ:
    app = app_at(os.environ["CHAOS_REDIS"], acks_late=os.environ["CHAOS_ACKS"] == "late")
