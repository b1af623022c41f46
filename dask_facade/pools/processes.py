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
from typing import IO, Protocol

import psutil  # type: ignore[import-untyped]  # it has no types

TIMED_OUT = -1
"""The exit status of what was ended because its time was up."""

KILL_TIMEOUT = 5.0  # seconds
LOOK_EVERY = 0.01
_SET_CHILD_SUBREAPER = 36

_THIS_THREADS = 0x20000000  # __WNOTHREAD: wait for no child of another thread (Linux)

Stream = int | IO[bytes] | None


class Family(Protocol):
    """All that a program has started, as far as this process can know."""

    def living(self, program: int) -> list[psutil.Process]:
        """Return what lives of it, by the program's process id."""

    def bury(self, program: int) -> None:
        """Wait for what has died of it but the program itself, and has nobody else to do so."""


class Adopted:
    """A program's family in a process that runs nothing else: it adopts orphans (Linux).

    Only one may be there at a time, in the main thread, where orphans come to.
    """

    def __init__(self) -> None:
        _adopt_orphans()
        self._children = _children()
        self._others = _descendants()

    def living(self, program: int) -> list[psutil.Process]:
        """As `Family` has it: also what has left the program's session and lost its parent."""
        return [each for each in _descendants() - self._others if _lives(each)]

    def bury(self, program: int) -> None:
        """As `Family` has it. What lives on is buried after a later program."""
        ours = os.getsid(0)
        for each in _children() - self._children:  # those of other threads may be among them
            if each.pid != program and _session(each.pid) not in (ours, None):
                _orphans.add(each)
        for each in list(_orphans):
            if _is_buried(each.pid):
                _orphans.discard(each)


class Own:
    """A program's family in a process that has other work, and children, too."""

    def __init__(self) -> None:
        self._seen: set[psutil.Process] = set()

    def living(self, program: int) -> list[psutil.Process]:
        """As `Family` has it, but for what left its session and lost its parent unseen."""
        self._seen |= {each for each in psutil.process_iter() if _session(each.pid) == program}
        for each in list(self._seen):
            with suppress(psutil.NoSuchProcess):
                self._seen.update(each.children(recursive=True))
        return [each for each in self._seen if _lives(each)]

    def bury(self, program: int) -> None:
        """As `Family` has it: its orphans are not ours."""


def run(
    argv: Sequence[str],
    *,
    program: str,
    cwd: str,
    env: Mapping[str, str],
    family: Family,
    stdout: Stream = None,
    stderr: Stream = None,
    timeout: float | None = None,
) -> tuple[int, bool]:
    """Run *program* as *argv*; return its exit status, and whether it ended in time.

    The status is -N where signal N ended it. After *timeout* seconds it is killed with its
    *family*, and the status is TIMED_OUT; so it is where an exception ends the waiting, as Ctrl-C
    does, which passes on. No shell is asked. Raises OSError where it cannot be started.
    """
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
        _end(process, family)
        return TIMED_OUT, False
    except BaseException:
        _end(process, family)
        raise
    finally:
        family.bury(process.pid)


def _end(process: subprocess.Popen[bytes], family: Family) -> None:
    """Kill a program and its family, until nothing of it is left."""
    deadline = time.monotonic() + KILL_TIMEOUT
    while time.monotonic() < deadline:
        left = family.living(process.pid)  # before its end makes orphans
        with suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
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


def _children() -> set[psutil.Process]:
    return set(psutil.Process().children())


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process().children(recursive=True))


def _session(pid: int) -> int | None:
    """Return the session of a process; None where it is gone, or nobody may know."""
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _is_buried(pid: int) -> bool:
    """Wait for an orphan if it is dead; tell whether it is gone, or another's to wait for."""
    if sys.platform != "linux":
        return True
    try:
        return os.waitpid(pid, os.WNOHANG | _THIS_THREADS)[0] == pid
    except ChildProcessError:
        return True


@functools.cache
def _adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they are found (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


_orphans: set[psutil.Process] = set()  # that this process has adopted, and not buried yet
