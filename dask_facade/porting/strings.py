"""Strings that name something of Celery's: in settings, in mocks, in logging's configuration.

Most strings that look so are names of loggers, tasks or queues, which stay as they are.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from dask_facade.porting.counterparts import counterpart
from dask_facade.porting.sources import Source

_PATH = re.compile(r"celery(?:\.\w+)+(?::\w+)?")
_PACKAGE = re.compile(r"(?:django_celery_results|django_celery_beat|djcelery)(?:[.:]\w+)*")
_TAKE_PATHS = frozenset({"patch", "setattr", "delattr", "import_string", "import_module"})
"""Functions whose first argument, if it is a string, is a dotted path."""


def named_in(source: Source) -> Iterator[tuple[ast.Constant, str, str]]:
    """Yield the strings that surely name something, what they say, and the dotted name."""
    paths = {id(each) for each in _taken(source)}
    other = {id(each) for each in (*_formatted(source), *annotated(source))}
    for node in source.nodes:
        match node:
            case ast.Constant(value=str(value)) if id(node) not in other:
                dotted = value.replace(":", ".")
                is_path = _PATH.fullmatch(value) and (id(node) in paths or _is_path(value, dotted))
                if is_path or _PACKAGE.fullmatch(value):
                    yield node, value, dotted


def annotated(source: Source) -> Iterator[ast.Constant]:
    """Yield the strings in annotations, which name what a module imports."""
    for node in source.nodes:
        for part in ("annotation", "returns"):
            if (annotation := getattr(node, part, None)) is not None:
                for each in ast.walk(annotation):
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield each


def _formatted(source: Source) -> Iterator[ast.expr]:
    """Yield the parts of f-strings."""
    for node in source.nodes:
        if isinstance(node, ast.JoinedStr):
            yield from node.values


def _taken(source: Source) -> Iterator[ast.expr]:
    for node in source.nodes:
        match node:
            case (
                ast.Call(func=ast.Name(id=name), args=[first, *_])
                | ast.Call(func=ast.Attribute(attr=name), args=[first, *_])
            ) if name in _TAKE_PATHS:
                yield first


def _is_path(value: str, dotted: str) -> bool:
    """Tell whether a string can be nothing else: "celery.beat" is a logger, "celery.chord" a task.

    A class of Celery's, or "module:name", is a path also where there is none here.
    """
    if dotted.count(".") < 2:
        return False
    found = counterpart(dotted)
    if found is not None:
        return bool(found.name)
    return ":" in value or dotted.rpartition(".")[2][0].isupper()
