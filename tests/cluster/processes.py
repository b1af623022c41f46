"""Real processes for the tests, and what they leave behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).resolve().parents[2]


def wait_for(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Return when *condition* is true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.01)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in a process of its own, on the site of the tests."""
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup()\n{code}"],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def runs(folder: Path, name: str) -> int:
    """Return how often a task that writes a line to the file *name* ran."""
    path = folder / name
    return len(path.read_text().splitlines()) if path.exists() else 0


def command(process: psutil.Process) -> list[str]:
    """Return the command line of a process; nothing of one that has ended."""
    try:
        return process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []


class DispatcherProcess:
    """``manage.py dask_dispatcher``, as a site runs it."""

    def __init__(
        self,
        arguments: Sequence[str] = (),
        *,
        command: Sequence[str] = ("-m", "django"),
        folder: Path = ROOT,
        settings: str | None = "tests.settings",
        **environment: str,
    ) -> None:
        self.lines: list[str] = []
        if settings is not None:
            environment["DJANGO_SETTINGS_MODULE"] = settings
        inherited = {
            name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
        }
        self._process = subprocess.Popen(
            [sys.executable, *command, "dask_dispatcher", *arguments],
            cwd=folder,
            env={**inherited, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    @property
    def scheduler(self) -> str:
        """The address that it printed."""
        (line,) = [line for line in self.lines if "jobs run on" in line]
        return line.rpartition(" ")[2]

    def wait_until_ready(self) -> None:
        wait_for(
            lambda: "jobs run on" in self.output or self._process.poll() is not None,
            "a leading dispatcher",
            60,
        )
        assert self._process.poll() is None, self.output

    def __enter__(self) -> Self:
        """Wait until it is ready; it ends in order with the block."""
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def family(self) -> list[psutil.Process]:
        """It and every process below it."""
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]

    def workers(self) -> list[psutil.Process]:
        """The worker processes of its local cluster."""
        return [each for each in self.family() if "spawn_main" in " ".join(command(each))]

    def wait(self, seconds: float = 30.0) -> int:
        """Return its exit status once it has ended."""
        status = self._process.wait(seconds)
        self._reader.join(seconds)
        assert not self._reader.is_alive(), "a process that it has started holds its output"
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    @property
    def is_killed(self) -> bool:
        """Whether it was ended by `kill`."""
        return self._process.returncode == -signal.SIGKILL

    def kill(self) -> None:
        """End it as no process can help."""
        self.signal(signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """End it in order, whatever became of it, and see that nothing is left."""
        family = self.family() if self._process.poll() is None else []
        if self._process.poll() is None:
            self.signal(signal.SIGTERM)
        status = self.wait()
        assert_gone(family)
        assert status == 0, self.output

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip())


def assert_gone(processes: Sequence[psutil.Process], seconds: float = 10.0) -> None:
    """Fail unless all of *processes* end within *seconds*."""

    def left() -> list[psutil.Process]:
        return [
            each
            for each in processes
            if each.is_running() and each.status() != psutil.STATUS_ZOMBIE
        ]

    try:
        wait_for(lambda: not left(), "the end of all processes", seconds)
    except AssertionError as error:
        raise AssertionError(f"left behind: {left()}") from error
