"""Task name -> task, for one process."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from dask_facade.exceptions import InvalidTaskError, NotRegistered


class Runnable(Protocol):
    """A registered task, as far as running and compiling it go."""

    name: str
    queue: Any
    priority: int | None
    acks_late: bool | None
    reject_on_worker_lost: bool | None  # False: a call whose worker dies is not run again
    ignore_result: bool | None
    expires: Any
    time_limit: float | None
    soft_time_limit: float | None
    serializer: str | None
    keep: str | None
    rewrites: bool  # its class has an ``apply_async`` of its own
    is_bound: bool  # it has taken what the settings of its app say

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def rewritten(self, signature: Any) -> Any:
        """Return what its class's own ``apply_async`` makes of a signature."""

    def check_arguments(self, args: Any, kwargs: Any) -> None:
        """Raise TypeError where the task's function cannot be called so."""

    def entered(self) -> None:
        """Called when it is entered in a registry."""

    def settle(self) -> None:
        """Take what the settings of its app say, where there is one."""


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

    def register(self, task: Any) -> None:
        """Add *task*, or one of the class *task*; one of the same name takes its place."""
        made: Runnable = task() if isinstance(task, type) else task
        if not made.name:
            raise InvalidTaskError(f"task class {type(made).__name__!r} must specify .name")
        made.entered()
        self._tasks[made.name] = made

    def unregister(self, name: Any) -> None:
        """Forget a task, or the one of this name; raise NotRegistered where there is none."""
        name = getattr(name, "name", name)
        if self._tasks.pop(name, None) is None:
            raise NotRegistered(name)

    def known(self, name: str) -> Any | None:
        """Return a task without looking anywhere for it."""
        task = self._tasks.get(name)
        if task is not None and not task.is_bound:
            task.settle()
        return task

    def registered(self) -> list[Any]:
        """Return the tasks that are known, without looking for others."""
        return list(self._tasks.values())

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
        task = self.known(name)
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
        return self.known(name)


def task_of(name: str, module: str | None = None) -> Any:
    """Return the task of this name; *module* is imported where it is not known yet."""
    if tasks.known(name) is None and module:
        importlib.import_module(module)
    return tasks.find(name)


_OWN = {"celery": "dask_facade.builtin"}
"""Where tasks are whose names tell another module."""

tasks = TaskRegistry()
"""The registry of this process. Apps share it, as ``shared_task`` means them to."""
