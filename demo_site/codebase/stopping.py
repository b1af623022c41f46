"""Ctrl-C and its kin as a question that is asked between steps, never an exception inside one."""

from __future__ import annotations

import signal
import time
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SLICE = 0.1


class Stopped(Exception):
    """Somebody asked the command to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Stop:
    """While the block lasts, a stop signal is noted and raised by the next `check` or `pause`."""

    def __init__(self) -> None:
        self.before: dict[int, Any] = {}
        self.received: int | None = None

    def __enter__(self) -> Stop:
        self.before = {number: signal.signal(number, self.note) for number in SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, action in self.before.items():
            signal.signal(number, action)

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal."""
        if self.received is None:
            self.received = number

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.received is not None:
            raise Stopped(self.received)

    def pause(self) -> None:
        """Wait for a moment, then check."""
        time.sleep(SLICE)
        self.check()
