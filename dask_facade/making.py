"""How functions and classes become tasks: Celery's decorators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import MethodType
from typing import Any

from dask_facade import attempts
from dask_facade.registry import tasks
from dask_facade.task import Task


def make_task(function: Callable[..., Any], main: str, options: Mapping[str, Any]) -> Task:
    """Return *function* as a registered task.

    *main* stands for the module in the names of tasks of a script. Options: name, bind (the
    function gets the task as its first argument), base (a Task class), and any attribute of Task.
    """
    attributes = dict(options)
    base: type[Task] = attributes.pop("base", None) or Task
    bind = attributes.pop("bind", False)
    name = attributes.pop("name", None) or task_name(function, main)
    task = base()
    update_wrapper(task, function)
    task.name = name
    task.run = MethodType(function, task) if bind else function
    for attribute, value in attributes.items():
        setattr(task, attribute, value)
    return register_task(task)


def register_task(task: Task | type[Task], main: str = "") -> Task:
    """Return a task, or one of a class, registered under its name."""
    made = task() if isinstance(task, type) else task
    made.name = made.name or class_name(type(made), main)
    made.abstract = False
    if made.autoretry_for:
        made.run = attempts.retrying(made)
    tasks.register(made)
    return made


def task_name(function: Callable[..., Any], main: str) -> str:
    """Return the name that Celery would give: the module's and the function's."""
    module = function.__module__
    return f"{main if module == '__main__' and main else module}.{function.__name__}"


def class_name(kind: type[Task], main: str) -> str:
    """Return the name of a task that is a class: the module's and the class's."""
    module = kind.__module__
    return f"{main if module == '__main__' and main else module}.{kind.__name__}"


def shared_task(*args: Any, **options: Any) -> Any:
    """Make a function a task of whichever app is current: ``@shared_task`` or with options."""
    if args:
        return make_task(args[0], "", options)
    return lambda function: make_task(function, "", options)
