"""What a task takes from its app, at the time of each use."""

from __future__ import annotations

from types import FunctionType, MethodType
from typing import Any

from dask_facade import current


class FromSettings:
    """An attribute of tasks that the settings say, unless a class or a task says it itself."""

    def __init__(self, setting: str) -> None:
        self._setting = setting

    def __get__(self, task: Any, kind: type) -> Any:
        if task is None:
            return None
        app = task._app
        if app is None:
            if not current.has_app():
                return None
            app = current.app()
        return app.conf.derived(_values_of).get(self._setting)


class OfApp:
    """``Task.app``: the app that made a task, else the current one; also of the class."""

    def __get__(self, task: Any, kind: type) -> Any:
        owner: Any = kind if task is None else task
        app = owner._app
        return current.app() if app is None else app

    def __set__(self, task: Any, app: Any) -> None:
        task._app = app


def _values_of(conf: Any) -> dict[str, Any]:
    """Return all settings, which are asked for often."""
    return dict(conf.items())


def attach(task: Any, name: str, value: Any) -> None:
    """Set an attribute of one task as if its class had it: a function becomes a method."""
    if isinstance(value, staticmethod):
        value = value.__func__
    elif isinstance(value, FunctionType):
        value = MethodType(value, task)
    setattr(task, name, value)
