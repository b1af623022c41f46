"""Child processes that end with the block that started them, with all that they started."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import psutil

GRACE = 15.0
TAIL = 30


@dataclass(frozen=True)
class Child:
    """A child process and the file that its output goes to."""

    name: str
    process: psutil.Popen
    log: Path


class ChildEnded(Exception):
    """A child process ended before it was asked to; the message ends with its last output."""

    def __init__(self, child: Child, status: int) -> None:
        super().__init__(f"{child.name} ended with status {status}. {tail_of(child)}")


class ChildrenLeft(Exception):
    """Processes live on although they were killed."""

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        super().__init__(f"still alive: {', '.join(map(str, processes))}")


class Children:
    """Starts child processes and ends them when the block is left, for whatever reason.

    Each child has a session of its own, so that Ctrl-C reaches the parent alone, which
    then ends the children in order: the last one first, with SIGTERM, and after `GRACE`
    seconds with SIGKILL. Leaving the block raises ChildrenLeft if one outlives even that.
    """

    def __init__(self, logs: Path) -> None:
        self.children: list[Child] = []
        self.logs = logs

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        families = [family_of(child.process) for child in self.children]
        for child in reversed(self.children):
            end(child.process)
        families += [family_of(child.process) for child in self.children]
        if left := kill(set().union(*families)):
            raise ChildrenLeft(left)

    def start(self, name: str, command: Sequence[str]) -> Child:
        """Start a child; what it prints goes to a file in the directory of logs."""
        log = self.logs / f"{name.replace(' ', '-')}.log"
        with log.open("wb") as output:
            process = psutil.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        child = Child(name, process, log)
        self.children.append(child)
        return child

    def check(self) -> None:
        """Raise ChildEnded if a child is no longer running."""
        for child in self.children:
            status = child.process.poll()
            if status is not None:
                raise ChildEnded(child, status)


def tail_of(child: Child) -> str:
    """Return the last lines of a child's output, with a heading."""
    lines = child.log.read_text(errors="replace").splitlines()[-TAIL:]
    return "\n".join(["Its last output:", *lines]) if lines else "It printed nothing."


def family_of(process: psutil.Popen) -> set[psutil.Process]:
    """Return the child's descendants and what else lives in its session, orphans too."""
    try:
        family = set(process.children(recursive=True))
    except psutil.NoSuchProcess:
        family = set()
    return family | {member for member in psutil.process_iter() if in_session(member, process.pid)}


def in_session(process: psutil.Process, session: int) -> bool:
    """Whether the process belongs to a session."""
    try:
        return os.getsid(process.pid) == session
    except OSError:  # it has ended, or is none of our business
        return False


def end(process: psutil.Popen) -> None:
    """Ask a process to end; kill it if it has not ended after `GRACE` seconds."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(GRACE)
    except psutil.TimeoutExpired:
        process.kill()
        process.wait()


def kill(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Kill what does not end by itself in `GRACE` seconds; return what outlives that."""
    stubborn = survivors(processes)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    return survivors(stubborn)


def survivors(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return what still runs after `GRACE` seconds; at once when all have ended."""
    deadline = time.monotonic() + GRACE
    while (alive := list(filter(running, processes))) and time.monotonic() < deadline:
        time.sleep(0.05)
    return alive


def running(process: psutil.Process) -> bool:
    """Whether a process runs. An orphan that nobody has reaped does not, though it has an id."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
