"""Conditions with deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable

from tests.benchmarks.processes import PeerFailed

LOOK_EVERY = 0.02  # seconds


def comes(
    condition: Callable[[], object], seconds: float = 10.0, every: float = LOOK_EVERY
) -> bool:
    """Wait until *condition* is true; tell whether it was within *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def wait_for(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    """Return when *condition* is true; raise PeerFailed after *seconds*."""
    if not comes(condition, seconds):
        raise PeerFailed(f"{what} did not come within {seconds:.0f} s")
