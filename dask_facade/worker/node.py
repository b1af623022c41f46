"""A worker's process by the name that its calls, and who asks for it, know."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from dask_facade import current
from dask_facade.limits import rate_of
from dask_facade.messages import Rate
from dask_facade.registry import tasks

logger = logging.getLogger(__name__)

NAME = "DASK_FACADE_NODE"
"""The environment variable that names a worker; else it has the name that Dask gave it."""
CONTROLLER = "DASK_FACADE_CONTROLLER"
"""The environment variable with the id of the process that started a worker, and ends it."""
QUEUES = "DASK_FACADE_QUEUES"
"""The environment variable with the queues that a worker takes, by commas; else the dispatcher's.
"""


def node_name(name: object) -> str:
    """Return ``name@host`` for a Dask worker's name, which may be its address or a number."""
    text = os.environ.get(NAME) or str(name)
    if "://" in text:
        text = f"celery-{text.rpartition(':')[2]}"
    elif text.isdigit():
        text = f"celery-{text}"
    return text if "@" in text else f"{text}@{socket.gethostname()}"


def queues_here(said: Sequence[str]) -> tuple[str, ...]:
    """Return the queues that this process takes, where a dispatcher says *said*."""
    own = [name for each in os.environ.get(QUEUES, "").split(",") if (name := each.strip())]
    return tuple(own or said)


class Serving(Protocol):
    """A runner, as far as commands change it."""

    @property
    def queues(self) -> Collection[str]:
        """The queues that it takes calls of; none: all."""

    def serve_queues(self, queues: Sequence[str]) -> None:
        """Take calls of other queues from now on."""

    def retire(self) -> None:
        """Begin nothing more, and end."""


@dataclass(slots=True, eq=False)
class Node:
    """The process, and the runners in it. *close* ends it, or has a new one take its place."""

    hostname: str
    close: Callable[[bool], None] | None = None
    runners: list[Serving] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    ticks: int = 0  # commands that were taken in
    _ending: bool | None = None  # whether another process is to take its place

    @property
    def app(self) -> Any:
        """The app of this process."""
        return current.app()

    @property
    def pid(self) -> int:
        """The id of this process."""
        return os.getpid()

    @property
    def consumer(self) -> Node:
        """What takes calls in: the node."""
        return self

    def tset(self, items: Any) -> set[Any]:
        """Return requests as a set."""
        return set(items)

    def rates(self) -> list[Rate]:
        """Return how often the tasks that are known here may begin."""
        default = self.app.conf.get("task_default_rate_limit") if current.has_app() else None
        found = []
        for task in tasks.registered():
            said = getattr(task, "rate_limit", None)
            try:
                rate = rate_of(default if said is None else said)
            except ValueError as error:
                logger.error("task %s has no limit: %s", task.name, error)
                continue
            if rate and not task.name.startswith("celery."):
                found.append(Rate(task.name, rate))
        return found

    def end(self, *, anew: bool) -> None:
        """Let the runners end what they run, and then the process; *anew*: another follows."""
        self._ending = anew
        for runner in list(self.runners):
            runner.retire()

    def leave(self, runner: Serving) -> None:
        """Know that a runner has ended; the last one ends the process if it was asked to."""
        self.runners.remove(runner)
        if not self.runners and self._ending is not None and self.close is not None:
            self.close(self._ending)


_nodes: dict[str, Node] = {}


def node_of(hostname: str, close: Callable[[bool], None] | None = None) -> Node:
    """Return the node of this name in this process: its runners share it."""
    return _nodes.setdefault(hostname, Node(hostname, close))
