"""Celery's settings: ``CELERY_TASK_DEFAULT_QUEUE`` and the like, read where Celery reads them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

DEFAULTS: Mapping[str, Any] = {
    "task_default_queue": "celery",
    "task_default_priority": 0,
    "task_acks_late": False,
    "task_ignore_result": False,
}
"""The settings that mean something here, and what they are if nobody says."""


class Config:
    """Settings by their lower-case names, as attributes. Those unknown here are kept as given."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._sources: list[Callable[[], Mapping[str, Any]]] = []
        self._values: dict[str, Any] = {**DEFAULTS, **values}

    def add_object(self, source: object, namespace: str) -> None:
        """Read the upper-case names of *source*, an object or "module:attribute", when needed."""
        self._sources.append(lambda: _read(source, namespace))

    def update(self, values: Mapping[str, Any]) -> None:
        """Set several at once."""
        self._load()
        self._values.update(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._load()
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}") from None

    def _load(self) -> None:
        while self._sources:
            self._values.update(self._sources.pop(0)())


def _read(source: object, namespace: str) -> dict[str, Any]:
    if isinstance(source, str):
        module, _, attribute = source.partition(":")
        source = importlib.import_module(module)
        if attribute:
            source = getattr(source, attribute)
    prefix = f"{namespace.upper()}_" if namespace else ""
    return {
        name[len(prefix) :].lower(): getattr(source, name)
        for name in dir(source)
        if name.isupper() and name.startswith(prefix)
    }
