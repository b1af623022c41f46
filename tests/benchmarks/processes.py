"""The processes of a peer: its servers, and the client that the driver talks to."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 20.0
LOG_TAIL = 2_000  # characters


class PeerFailed(Exception):
    """A process of a peer did not start, did not answer, or ended by itself."""


class _Process:
    """A child out of the driver's process group, so that Ctrl-C reaches the driver alone."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self._command = list(command)
        self._environment = {**os.environ, **environment}
        self._log = log

    def _start(self, **pipes: Any) -> subprocess.Popen[str]:
        with self._log.open("w") as log:
            return subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                start_new_session=True,
                text=True,
                **{"stdout": log, "stderr": log, **pipes},
            )

    def _failed(self, what: str) -> PeerFailed:
        return PeerFailed(f"{what}\n{self._log.read_text()[-LOG_TAIL:]}".rstrip())


def _end(process: subprocess.Popen[str]) -> None:
    """Wait for the end of a process that was asked for it; then kill what is left of its group."""
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        print(f"process {process.pid} did not end: killed", file=sys.stderr)
    with suppress(ProcessLookupError):  # where nothing is left, as it should be
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Server(_Process):
    """What runs the calls. Within the block it is up; `found` is what *ready* matched."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, *, ready: str
    ) -> None:
        super().__init__(command, environment, log)
        self._name = log.stem
        self.found: Mapping[str, str] = {}
        self._ready = re.compile(ready)

    def __enter__(self) -> Self:
        self._process = self._start(stdin=subprocess.DEVNULL)
        try:
            self.found = self._wait_until_ready().groupdict()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    @property
    def process(self) -> subprocess.Popen[str]:
        """Its process, within the block."""
        return self._process

    def _wait_until_ready(self) -> re.Match[str]:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            ended = self._process.poll() is not None
            match = self._ready.search(self._log.read_text())
            if match is not None and not ended:
                return match
            if ended:
                raise self._failed(f"{self._name} ended as it started")
            if time.monotonic() > deadline:
                raise self._failed(f"{self._name} was not ready in {START_TIMEOUT:.0f} s")
            time.sleep(0.02)

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        _end(self._process)


class Client(_Process):
    """A peer's client, within the block."""

    def __init__(self, site: str, environment: Mapping[str, str], log: Path) -> None:
        super().__init__([sys.executable, "-m", "tests.benchmarks.client", site], environment, log)
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        self._process = self._start(stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        if kind is not None:  # it may be waiting for what never comes
            self._process.terminate()
        with suppress(BrokenPipeError):  # where it has ended
            self._process.stdin.close()
        _end(self._process)

    def ask(self, workload: str, size: int, timeout: float) -> dict[str, Any]:
        """Run a workload and return the client's answer; raise PeerFailed if none comes."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"workload": workload, "size": size}) + "\n")
            self._process.stdin.flush()
            line = self._answers.get(timeout=timeout)
        except BrokenPipeError:
            line = ""
        except queue.Empty:
            raise self._failed(f"no answer to {workload} in {timeout:.0f} s") from None
        if not line:
            raise self._failed(f"the client ended instead of answering to {workload}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._answers.put(line)
        self._answers.put("")
