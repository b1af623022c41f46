"""What ran, as the tasks themselves have written it down: a file that outlives every process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

BEGUN, ENDED = "begun", "ended"


@dataclass(frozen=True, slots=True)
class Step:
    """A call that has begun, or has come to the end of its work."""

    id: str
    attempt: int
    what: str
    time: float  # monotonic: the same for all processes of a machine, whatever its clock says
    pid: int


class Trace:
    """The file at *path*."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0  # bytes
        self._steps: list[Step] = []

    def write(self, id: str, attempt: int, what: str) -> None:
        """Add a line in one piece, whoever else writes."""
        line = json.dumps([id, attempt, what, time.monotonic(), os.getpid()]) + "\n"
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, line.encode())
        finally:
            os.close(file)

    def steps(self) -> list[Step]:
        """Return all that is written so far."""
        if self._path.exists():
            with self._path.open("rb") as lines:
                lines.seek(self._read)
                whole, end, _ = lines.read().rpartition(b"\n")
                self._steps += (Step(*json.loads(line)) for line in whole.splitlines())
                self._read += len(whole) + len(end)
        return self._steps

    def begun(self) -> Iterator[Step]:
        """Return the beginnings alone."""
        return (step for step in self.steps() if step.what == BEGUN)
