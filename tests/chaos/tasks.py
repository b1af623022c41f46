"""The tasks of a round. Each writes down that it begins and that it has done its work."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from tests.chaos.mix import CHILDREN, MAX_RETRIES, RELEASED, RETRIES, RETRY_DELAY
from tests.chaos.system import shared_task
from tests.chaos.trace import BEGUN, ENDED, Trace
from tests.chaos.traps import (
    AFTER_THE_SIDE_EFFECT,
    BEFORE_THE_RESULT_IS_STORED,
    IN_THE_MIDDLE,
    Deadly,
    Traps,
)

WORK = 0.03  # seconds

_folder = Path(os.environ["CHAOS_FOLDER"])
_trace = Trace(_folder / "trace")
_traps = Traps(_folder)


def work(request: Any) -> None:
    """Do what all of them do."""
    attempt = request.retries + 1
    _trace.write(request.id, attempt, BEGUN)
    _traps.pass_by(IN_THE_MIDDLE)
    time.sleep(WORK)
    _trace.write(request.id, attempt, ENDED)
    _traps.pass_by(AFTER_THE_SIDE_EFFECT)


def told(value: int) -> Any:
    """Return *value*, or what kills this process when it is packed."""
    return Deadly() if _traps.springs(BEFORE_THE_RESULT_IS_STORED) else value


@shared_task(bind=True)
def plain(self: Any, value: int) -> Any:
    work(self.request)
    return told(value)


_due = "due" if not (_folder / RELEASED).exists() else "renamed"


@shared_task(bind=True, name=f"{__name__}.{_due}")
def due(self: Any, value: int) -> Any:
    work(self.request)
    return told(value)


@shared_task(bind=True, acks_late=True)
def late(self: Any, value: int) -> Any:
    work(self.request)
    return told(value)


@shared_task(bind=True, max_retries=MAX_RETRIES)
def tried_again(self: Any) -> Any:
    work(self.request)
    if self.request.retries < RETRIES:
        raise self.retry(countdown=RETRY_DELAY)
    return told(self.request.retries)


@shared_task(bind=True)
def step(self: Any, value: int) -> Any:
    work(self.request)
    return told(value + 1)


@shared_task(bind=True)
def total(self: Any, values: list[int]) -> Any:
    work(self.request)
    return told(sum(values))


@shared_task(bind=True)
def parent(self: Any, value: int) -> Any:
    for place in range(CHILDREN):
        plain.delay(place)
    work(self.request)
    return told(value)


@shared_task
def nothing(value: int) -> int:
    return value
