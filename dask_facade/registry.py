"""Task name -> task, for one process."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from dask_facade.exceptions import NotRegistered


class Runnable(Protocol):
    """A registered task, as far as running and compiling it go."""

    name: str
    queue: Any
    priority: int | None
    acks_late: bool | None
    ignore_result: bool | None
    expires: Any
    time_limit: float | None
    soft_time_limit: float | None
    serializer: str | None
    keep: str | None
    rewrites: bool  # its class has an ``apply_async`` of its own

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def rewritten(self, signature: Any) -> Any:
        """Return what its class's own ``apply_async`` makes of a signature."""

    def check_arguments(self, args: Any, kwargs: Any) -> None:
        """Raise TypeError where the task's function cannot be called so."""


class TaskRegistry(Mapping[str, Any]):
    """The tasks that are known here, and where others may be found.

    A *source* is a callable that imports modules of tasks (what ``autodiscover_tasks`` names); it
    is called once, when a name is asked for that is not known yet.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._sources: list[Callable[[], None]] = []
        self._tasks: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        return self.find(name)

    def __iter__(self) -> Iterator[str]:
        self.discover()
        return iter(dict(self._tasks))

    def __len__(self) -> int:
        self.discover()
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        self.discover()
        return name in self._tasks

    def register(self, task: Runnable) -> None:
        """Add *task*; one of the same name takes its place."""
        self._tasks[task.name] = task

    def known(self, name: str) -> Any | None:
        """Return a task without looking anywhere for it."""
        return self._tasks.get(name)

    def add_source(self, source: Callable[[], None]) -> None:
        """Call *source* when a name is asked for that is not known."""
        with self._lock:
            self._sources.append(source)

    def discover(self) -> None:
        """Call the sources that have not been called yet; what they raise passes through."""
        with self._lock:
            while self._sources:
                with ExitStack() as undo:
                    source = self._sources.pop(0)  # now: it may look for tasks itself
                    undo.callback(self._sources.insert, 0, source)
                    source()
                    undo.pop_all()

    def find(self, name: str) -> Any:
        """Return the task of this name; import what may define it. Raises NotRegistered."""
        task = self._tasks.get(name)
        if task is not None:
            return task
        module, _, _ = name.rpartition(".")
        reason = ""
        try:
            self.discover()
            if name not in self._tasks and module:
                importlib.import_module(_OWN.get(module, module))
        except Exception as error:  # importing runs the user's modules
            reason = f"{type(error).__name__}: {error}"
            raise NotRegistered(name, reason) from error
        if name not in self._tasks:
            raise NotRegistered(name)
        return self._tasks[name]


_OWN = {"celery": "dask_facade.builtin"}
"""Where tasks are whose names tell another module."""

tasks = TaskRegistry()
"""The registry of this process. Apps share it, as ``shared_task`` means them to."""
