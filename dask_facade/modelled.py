"""``pydantic=True``: tasks that are called with pydantic's models, and return such."""

from __future__ import annotations

import importlib
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from dask_facade import current
from dask_facade.exceptions import ImproperlyConfigured


class Models:
    """The models in the annotations of one task's function.

    Raises ImproperlyConfigured where pydantic is not installed.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        app: Any = None,
        *,
        strict: bool | None = None,
        context: Mapping[str, Any] | None = None,
        dump: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            self._model: Any = importlib.import_module("pydantic").BaseModel
        except ModuleNotFoundError as error:
            raise ImproperlyConfigured(
                "pydantic=True needs pydantic: pip install 'dask_facade[pydantic]'"
            ) from error
        self._app = app
        self._context = dict(context or {})
        self._dump = {"mode": "json", **(dump or {})}
        self._name = name
        self._signature = inspect.signature(function)
        self._strict = bool(strict)
        self._hints = _hints_of(function)
        self.wrapped = self._wrapped(function)

    def dumped(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return what a caller gave, with models that come back as equal ones dumped."""
        return self._dumped(args, kwargs, ())

    def dumped_of_bound(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the same for a function whose first argument is the task."""
        return self._dumped(args, kwargs, (None,))

    def _wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* with its models validated before, and what it returns dumped."""

        @wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            bound = self._signature.bind(*args, **kwargs)
            for name, value in bound.arguments.items():
                model = self._model_of(name, value)
                if model is not None:
                    bound.arguments[name] = self._validated(model, value)
            returned = function(*bound.args, **bound.kwargs)
            if inspect.iscoroutine(returned):
                return self._awaited(returned)
            return self._dumped_result(returned)

        return run

    async def _awaited(self, coroutine: Any) -> Any:
        return self._dumped_result(await coroutine)

    def _dumped_result(self, returned: Any) -> Any:
        said = self._hints.get("return", self._signature.return_annotation)
        kind = _not_none(said)
        if isinstance(returned, self._model) and _is_class(kind) and isinstance(returned, kind):
            return returned.model_dump(**self._dump)
        return returned

    def _dumped(self, args: Any, kwargs: Any, before: tuple[Any, ...]) -> tuple[Any, Any]:
        """Return arguments whose models are dumped; *before* are those that the worker adds."""
        values = [*(args or ()), *(kwargs or {}).values()]
        if not any(isinstance(value, self._model) for value in values):
            return args, kwargs
        try:
            self._signature.bind(*before, *(args or ()), **(kwargs or {}))
        except TypeError:  # the worker says so, or whoever checks arguments
            return args, kwargs
        names = self._names(inspect.Parameter.POSITIONAL_ONLY)[len(before) :]
        names += [""] * len(args or ())
        known = self._names(inspect.Parameter.KEYWORD_ONLY)
        changed = [self._said(*pair) for pair in zip(names, args or (), strict=False)]
        named = {
            name: self._said(name if name in known else "", value)
            for name, value in (kwargs or {}).items()
        }
        return changed if isinstance(args, list) else tuple(changed), named

    def _said(self, name: str, value: Any) -> Any:
        """Return an argument as it travels: dumped, if the worker makes an equal model of that."""
        if not name or not isinstance(value, self._model) or hasattr(type(value), "__json__"):
            return value
        model = self._model_of(name, value)
        if model is None:
            return value
        try:
            dumped = value.model_dump(**self._dump)
            return dumped if self._validated(model, dumped) == value else value
        except Exception:  # the model's own code, which may need to be on a worker
            return value

    def _validated(self, model: Any, value: Any) -> Any:
        app = self._app
        if app is None and current.has_app():
            app = current.app()
        context = {**self._context, "celery_app": app, "celery_task_name": self._name}
        return model.model_validate(value, strict=self._strict, context=context)

    def _model_of(self, name: str, value: Any) -> Any:
        """Return the model that an argument is to be, or None."""
        said = self._hints.get(name, self._signature.parameters[name].annotation)
        kind = said if value is None else _not_none(said)
        return kind if _is_class(kind) and issubclass(kind, self._model) else None

    def _names(self, kind: Any) -> list[str]:
        kinds = (kind, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return [name for name, each in self._signature.parameters.items() if each.kind in kinds]


def _hints_of(function: Callable[..., Any]) -> Mapping[str, Any]:
    """Return annotations with names resolved; empty where a name means nothing yet."""
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):
        return {}


def _not_none(annotation: Any) -> Any:
    """Return what ``X | None`` means beside None, else the annotation."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        some: Sequence[Any] = [
            each for each in typing.get_args(annotation) if each is not type(None)
        ]
        if len(some) == 1:
            return some[0]
    return annotation


def _is_class(annotation: Any) -> bool:
    return isinstance(annotation, type) and typing.get_origin(annotation) is None
