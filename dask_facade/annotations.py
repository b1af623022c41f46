"""``task_annotations``: what the settings say of tasks' attributes."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any


class MapAnnotation(dict[str, Any]):
    """Attributes by the name of a task; ``"*"`` means all of them."""

    def annotate(self, task: Any) -> dict[str, Any] | None:
        """Return what is said of this one task."""
        said = self.get(task.name)
        return None if said is None else dict(said)

    def annotate_any(self) -> dict[str, Any] | None:
        """Return what is said of all tasks."""
        said = self.get("*")
        return None if said is None else dict(said)


class _Named:
    """An annotation that a setting names: made, if it is a class, when it is first asked."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def _made(self) -> Any:
        module, _, name = self._path.replace(":", ".").rpartition(".")
        return getattr(importlib.import_module(module), name)()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._made, name)


def prepare(annotations: Any) -> Sequence[Any]:
    """Return the objects that the setting means: a dict, an object, a path, or several of these."""
    if annotations is None:
        return ()
    several = annotations if isinstance(annotations, list | tuple) else (annotations,)
    return [_prepared(each) for each in several]


def resolve_all(annotations: Sequence[Any], task: Any) -> Iterator[Mapping[str, Any]]:
    """Return what they say of *task*: the first word on this one, then the first on all."""
    one = (each.annotate(task) for each in annotations if hasattr(each, "annotate"))
    every = (each.annotate_any() for each in annotations if hasattr(each, "annotate_any"))
    for said in (one, every):
        first = next((each for each in said if each is not None), None)
        if first:
            yield first


def _prepared(annotation: Any) -> Any:
    if isinstance(annotation, str):
        return _Named(annotation)
    return MapAnnotation(annotation) if isinstance(annotation, Mapping) else annotation
