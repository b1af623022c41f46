"""How functions and classes become tasks: Celery's decorators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import MethodType
from typing import Any

from dask_facade import modelled
from dask_facade.autoretry import add_autoretry_behaviour
from dask_facade.bindings import attach
from dask_facade.registry import tasks
from dask_facade.task import Task

_OF_PYDANTIC = {
    "pydantic_strict": "strict",
    "pydantic_context": "context",
    "pydantic_dump_kwargs": "dump",
}
_OF_DECORATORS = ("filter", "lazy", "shared")
"""Options of Celery's decorators that are no attributes of tasks."""


def make_task(
    function: Callable[..., Any], main: str, options: Mapping[str, Any], app: Any = None
) -> Any:
    """Return *function* as a registered task.

    *main* stands for the module in the names of tasks of a script. Options: name, bind (the
    function gets the task as its first argument), base (a Task class; unsaid, that of *app*),
    pydantic (models among the arguments are validated, and returned ones dumped), filter (called
    with the task; what it returns is returned), and any attribute of Task.
    """
    if not callable(function):
        raise TypeError("argument 1 to @task() must be a callable")
    attributes = dict(options)
    after, _, _ = (attributes.pop(name, None) for name in _OF_DECORATORS)
    base: type[Task] = attributes.pop("base", None) or (Task if app is None else app.Task)
    bind = attributes.pop("bind", False)
    name = attributes.pop("name", None) or task_name(function, main)
    said = {name: attributes.pop(long, None) for long, name in _OF_PYDANTIC.items()}
    task = base()
    if attributes.pop("pydantic", False):
        models = modelled.Models(function, name, app, **said)
        task._dump_models, task.rewrites = (models.dumped_of_bound if bind else models.dumped), True
        run = models.wrapped
    else:
        run = function
    update_wrapper(task, function)
    task.name = name
    task.run = MethodType(run, task) if bind else run  # type: ignore[method-assign]  # its own
    for attribute, value in attributes.items():
        attach(task, attribute, value)
    made = register_task(task, app=app)
    return made if after is None else after(made)


def register_task(task: Task | type[Task], main: str = "", app: Any = None, **options: Any) -> Task:
    """Return a task, or one of a class, registered under its name; *options* are of autoretry."""
    made = task() if isinstance(task, type) else task
    made.name = made.name or class_name(type(made), main)
    if app is not None:
        made._app = app
    add_autoretry_behaviour(made, **options)
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
