"""A Dask cluster as somebody else runs it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

from distributed import Client


class Deployment:
    """A scheduler and a worker of two threads, at a port that stays."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def scheduler_pid(self) -> int:
        return self._processes[0].pid

    def start(self) -> None:
        """Start both, once what is left of earlier ones has ended."""
        host = ["--host", "127.0.0.1", "--no-dashboard"]
        for process in self._processes:
            process.wait(30)
        self._processes.clear()
        self._run("scheduler", "--port", str(self.port), *host)
        self._run("worker", self.address, "--nthreads", "2", "--no-nanny", *host)
        with Client(self.address, timeout=20, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=20)

    def kill(self) -> None:
        """Kill both."""
        for process in self._processes:
            process.send_signal(signal.SIGKILL)
            process.wait(10)
        self._processes.clear()

    def kill_scheduler(self) -> None:
        """Kill the scheduler; the worker ends by itself when it notices."""
        self._processes[0].send_signal(signal.SIGKILL)
        self._processes[0].wait(10)

    def _run(self, *arguments: str) -> None:
        self._processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "dask", *arguments],
                env={**os.environ, "PYTHONPATH": os.getcwd()},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )
