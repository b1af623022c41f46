"""Celery's settings: ``CELERY_TASK_DEFAULT_QUEUE`` and the like, read where Celery reads them."""

from __future__ import annotations

import importlib
import threading
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
        self._lock = threading.RLock()
        self._sources: list[Callable[[], Mapping[str, Any]]] = []
        self._values: dict[str, Any] = {**DEFAULTS, **values}

    def add_object(self, source: object, namespace: str) -> None:
        """Read *source*, an object or "module:attribute", when the first setting is needed.

        With *namespace*, the upper-case names that begin with it; else all public names.
        """
        self._sources.append(lambda: _read(source, namespace))

    def update(self, values: Mapping[str, Any] | None = None, **more: Any) -> None:
        """Set several at once. Nothing is read for it."""
        said = {**(values or {}), **more}
        self._sources.append(lambda: said)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        self._load()
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"no setting {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            super().__setattr__(name, value)
        else:
            self.update({name: value})

    def _load(self) -> None:
        with self._lock:
            sources, self._sources = self._sources, []
            try:
                while sources:
                    self._values.update(sources[0]())
                    del sources[0]
            finally:
                self._sources[:0] = sources  # what could not be read is tried again


def _read(source: object, namespace: str) -> dict[str, Any]:
    if isinstance(source, str):
        module, _, attribute = source.partition(":")
        source = importlib.import_module(module)
        if attribute:
            source = getattr(source, attribute)
    if not namespace:
        names = [name for name in dir(source) if not name.startswith("_")]
        return {name.lower(): getattr(source, name) for name in names}
    prefix = f"{namespace.upper()}_"
    names = [name for name in dir(source) if name.isupper() and name.startswith(prefix)]
    return {name.removeprefix(prefix).lower(): getattr(source, name) for name in names}
