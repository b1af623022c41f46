"""The end of processes with all that they have started."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil

from dask_facade.worker.isolation import kill_with_descendants

FORKS = """
import subprocess
while True:
    subprocess.Popen(["sleep", "60"], start_new_session=True)
"""


def test_what_a_process_is_just_starting_ends_with_it(tmp_path: Path) -> None:
    def living() -> list[psutil.Process]:
        return [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(tmp_path)]

    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, "-c", FORKS], cwd=tmp_path, start_new_session=True
        )
        deadline = time.monotonic() + 10
        while len(living()) < 5:
            assert time.monotonic() < deadline

        kill_with_descendants(process.pid)
        process.wait()

        deadline = time.monotonic() + 5
        while left := [each for each in living() if each.status() != psutil.STATUS_ZOMBIE]:
            assert time.monotonic() < deadline, left
