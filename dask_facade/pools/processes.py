"""Programs that a process starts, and their end with all that they have started."""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

import psutil  # type: ignore[import-untyped]  # it has no types

TIMED_OUT = -1
"""The exit status of what was ended because its time was up."""

KILL_TIMEOUT = 5.0  # seconds
LOOK_EVERY = 0.01
_SET_CHILD_SUBREAPER = 36

Stream = int | IO[bytes] | None


def run(
    argv: Sequence[str],
    *,
    program: str,
    cwd: str,
    env: Mapping[str, str],
    stdout: Stream = None,
    stderr: Stream = None,
    timeout: float | None = None,
) -> tuple[int, bool]:
    """Run *program* as *argv*; return its exit status, and whether it ended in time.

    The status is -N where signal N ended it. After *timeout* seconds it is killed with all that it
    has started, and the status is TIMED_OUT. No shell is asked. Raises OSError where it cannot be
    started.
    """
    _adopt_orphans()
    others = set(_descendants())
    process = subprocess.Popen(
        list(argv),
        executable=program,
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        return process.wait(timeout), True
    except subprocess.TimeoutExpired:
        _end(process, others)
        return TIMED_OUT, False


def _end(process: subprocess.Popen[bytes], others: set[psutil.Process]) -> None:
    """Kill what was started since there were only *others*, until nothing of it is left."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        left = [each for each in _descendants() if each not in others and _lives(each)]
        for each in left:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        if not left and process.poll() is not None:
            return
        time.sleep(LOOK_EVERY)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _descendants() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found


@functools.cache
def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they are found (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
