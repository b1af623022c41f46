"""Processes that are started anew when they end, as a service of the system is."""

from __future__ import annotations

import logging
import os
import pwd
import signal
import socket
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import psutil

from tests.benchmarks.processes import PeerFailed, Server

LOOK_EVERY = 0.1  # seconds
STOP_TIMEOUT = 30.0

logger = logging.getLogger(__name__)


def free_port() -> int:
    """Return a port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Service:
    """A command that is kept running until it is told to stay down; each start has a log."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        *,
        ready: str,
        end: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self._command = command
        self._end = end
        self._environment = environment
        self._folder = folder
        self._lock = threading.RLock()  # so that one thread at a time starts or ends it
        self._ready = ready
        self._servers: list[Server] = []
        self._wanted = False

    @property
    def pid(self) -> int:
        """The process that was started last."""
        return self._servers[-1].process.pid

    def start(self) -> None:
        """Start it, and return when it is ready."""
        with self._lock:
            self._wanted = True
            log = self._folder / f"{self.name}-{len(self._servers) + 1}.log"
            server = Server(self._command, self._environment, log, ready=self._ready)
            server.__enter__()
            self._servers.append(server)

    def keep(self) -> None:
        """Start it anew if it has ended by itself."""
        with self._lock:
            if self._wanted and self.has_ended:
                logger.info("%s has ended: it is started anew", self.name)
                self.start()

    @property
    def has_ended(self) -> bool:
        """Whether the process that was started last is over."""
        return self._servers[-1].process.poll() is not None

    def wait(self, seconds: float = STOP_TIMEOUT) -> int:
        """Return its exit status once it has ended by itself."""
        return self._servers[-1].process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._servers[-1].process.send_signal(number)

    def kill(self) -> None:
        """End it as no process can help; it stays down until `start`."""
        self._down(signal.SIGKILL)

    def stop(self) -> int:
        """End it in order and return its exit status; it stays down until `start`."""
        return self._down(self._end)

    def _down(self, number: signal.Signals) -> int:
        with self._lock:
            self._wanted = False
            process = self._servers[-1].process
            if process.poll() is None:
                process.send_signal(number)
            return process.wait(STOP_TIMEOUT)

    def close(self) -> None:
        """End whatever is left of it, and of what it has started."""
        with self._lock:
            self._wanted = False
            for server in self._servers:
                server.__exit__(None, None, None)
            self._servers.clear()


class Keeper:
    """Starts *services* anew when they end, each from a thread, within the block."""

    def __init__(self, services: Iterable[Service]) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._keep, args=(service,), name=f"keep-{service.name}")
            for service in services
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _keep(self, service: Service) -> None:
        while not self._stop.wait(LOOK_EVERY):
            try:
                service.keep()
            except PeerFailed as error:  # what it needs may be what was killed
                logger.warning("once more: %s", error)


def below(pid: int) -> list[psutil.Process]:
    """Return the processes that a process has started, and that these have."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def marked(name: str, value: str) -> list[psutil.Process]:
    """Return the processes that have *value* as *name* in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(name) == value:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def as_ordinary_user(files: Path) -> Sequence[str]:
    """Return what runs a command as somebody who may run a server; *files* become theirs."""
    if os.getuid() != 0:
        return ()
    user = pwd.getpwnam("postgres")
    os.chown(files, user.pw_uid, user.pw_gid)
    return ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
