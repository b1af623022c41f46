"""The current app and task, under Celery's private names that libraries import."""

from __future__ import annotations

from typing import Any

from dask_facade import current
from dask_facade.registry import tasks
from dask_facade.task import current_task
from dask_facade.waiting import task_join_will_block

current_app = current.Proxy(current.app)


class TaskStack:
    """The tasks that run in this context, one within the other."""

    @property
    def top(self) -> Any:
        """The innermost, or None."""
        return current_task._get_current_object()

    @property
    def stack(self) -> list[Any]:
        """All of them, the outermost first."""
        found, frame = [], current.frame()
        while frame is not None:
            found.append(frame.task or tasks.known(frame.name))
            frame = frame.below
        return found[::-1]

    def push(self, task: Any) -> None:
        """Make a task the current one."""
        current.push_task(task)

    def pop(self) -> Any:
        """Undo the last `push`; return its task."""
        return current.pop_task()


_task_stack = TaskStack()
push_current_task = _task_stack.push
pop_current_task = _task_stack.pop


def get_current_app() -> Any:
    """Return the current app."""
    return current.app()


def get_current_task() -> Any:
    """Return the task that runs here, or None."""
    return current_task or None


get_current_worker_task = get_current_task


def set_default_app(app: Any) -> None:
    """Make this the app of who asks for the current one."""
    current.set_app(app)


def app_or_default(app: Any = None) -> Any:
    """Return *app*, or the current one."""
    return app or current.app()


__all__ = [
    "TaskStack",
    "_task_stack",
    "app_or_default",
    "current_app",
    "current_task",
    "get_current_app",
    "get_current_task",
    "get_current_worker_task",
    "set_default_app",
    "task_join_will_block",
]
