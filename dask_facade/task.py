"""Tasks: functions with a name, and what Celery's decorators make of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property, update_wrapper
from types import MethodType
from typing import Any

from dask_facade import current
from dask_facade.canvas import Signature
from dask_facade.registry import tasks


class Task:
    """A registered task. Calling it runs its function here; `delay` submits a job."""

    name: str = ""
    queue: str | None = None
    priority: int | None = None
    acks_late: bool | None = None
    ignore_result: bool | None = None
    typing: bool = True

    run: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    @property
    def app(self) -> Any:
        """The current app."""
        return current.app()

    @property
    def request(self) -> current.Request:
        """What is known of the job that runs it here; its id is None outside of any."""
        return current.request()

    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a job with these arguments; return its AsyncResult."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Submit a job with options; return its AsyncResult.

        Options that mean something here: task_id, queue, priority, countdown (seconds), eta
        (aware), acks_late, ignore_result. Others, which only a message broker knows, are ignored.
        Raises TypeError where the function cannot be called so, EncodeError or PayloadTooLarge
        where the arguments cannot be stored.
        """
        return current.app().submit(Signature(self, args or (), kwargs, options))

    def signature(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Signature:
        """Return a call in the making, with options."""
        return Signature(self, args or (), kwargs, options)

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call in the making; a previous result goes before *args*."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call in the making that takes no previous result."""
        return Signature(self, args, kwargs, immutable=True)

    def check_arguments(self, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError unless the function can be called with these arguments."""
        if not self.typing:
            return
        try:
            self._parameters.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.name}{self._parameters}: {error}") from None

    @cached_property
    def _parameters(self) -> inspect.Signature:
        return inspect.signature(self.run)


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
    tasks.register(task)  # type: ignore[arg-type]  # its options may be None: the defaults hold
    return task


def task_name(function: Callable[..., Any], main: str) -> str:
    """Return the name that Celery would give: the module's and the function's."""
    module = function.__module__
    return f"{main if module == '__main__' and main else module}.{function.__name__}"


def shared_task(*args: Any, **options: Any) -> Any:
    """Make a function a task of whichever app is current: ``@shared_task`` or with options."""
    if args:
        return make_task(args[0], "", options)
    return lambda function: make_task(function, "", options)
