"""Moments of a call at which its process is killed, once for each time that a trap is set."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NoReturn

IN_THE_MIDDLE = "in-the-middle"
AFTER_THE_SIDE_EFFECT = "after-the-side-effect"
BEFORE_THE_RESULT_IS_STORED = "before-the-result-is-stored"


class Traps:
    """Traps in *folder*, each a file with the name of its moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def set(self, moment: str) -> None:
        """Let the next call that comes to *moment* die."""
        (self._folder / moment).touch()

    def is_set(self, moment: str) -> bool:
        """Tell whether no call came to it yet."""
        return (self._folder / moment).exists()

    def springs(self, moment: str) -> bool:
        """Tell whether this call is the one that dies: the first that takes the file away."""
        try:
            (self._folder / moment).unlink()
        except FileNotFoundError:
            return False
        return True

    def pass_by(self, moment: str) -> None:
        """Go on, or die."""
        if self.springs(moment):
            die()


class Deadly:
    """A result that kills who packs it, be it as a pickle or, as Celery does, as JSON."""

    def __reduce__(self) -> NoReturn:
        die()

    def __json__(self) -> NoReturn:
        die()


def die() -> NoReturn:
    """End this process as no process can help."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("it lives")
