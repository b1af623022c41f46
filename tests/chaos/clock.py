"""A wall clock for the processes of a site that can be set wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.processes import PeerFailed

_SOURCE = Path(__file__).with_name("clock.c")


class Clock:
    """The wall clock of the processes that have `environment`; needs a C compiler."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self._library = folder / "clock.so"
        self.set_wrong_by(0)
        try:
            subprocess.run(
                ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(_SOURCE)],
                check=True,
                capture_output=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise PeerFailed(f"a clock needs a C compiler: {error}") from error

    @property
    def environment(self) -> Mapping[str, str]:
        """What lets a process have this clock."""
        return {"CHAOS_CLOCK": str(self._file), "LD_PRELOAD": str(self._library)}

    def set_wrong_by(self, seconds: int) -> None:
        """Let it jump."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds}\n")
        written.rename(self._file)
