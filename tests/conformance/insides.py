"""Which of Celery's unit tests reach into its insides, told from their source alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

MOCKS = frozenset({"Mock", "MagicMock", "monkeypatch", "patch", "patching"})
PARTS = frozenset({"amqp", "backend"})  # what stores and sends, of an app, a task or a result

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@lru_cache
def reaching(path: Path) -> frozenset[str]:
    """Return the tests in a file that reach into insides, as ``class::function``.

    A test does that if it, or a helper in its file that it uses, takes a mock or replaces
    something, names a part that stores or sends, or a private attribute of anything.
    """
    functions = list(_functions(ast.parse(path.read_text()).body))
    helpers: dict[str, list[_Function]] = {}
    for _, function in functions:
        if not function.name.startswith("test"):
            helpers.setdefault(function.name, []).append(function)
    return frozenset(
        name
        for name, function in functions
        if function.name.startswith("test") and any(map(_is_inside, _used(function, helpers)))
    )


def _functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, _Function]]:
    """Yield the functions of a module and of its classes, with their names."""
    for node in body:
        if isinstance(node, _Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{prefix}{node.name}::")


def _used(function: _Function, helpers: Mapping[str, list[_Function]]) -> set[str]:
    """Return the names that a function and its helpers use; of attributes with a dot before."""
    used: set[str] = set()
    seen: set[str] = {"setup_method"}  # it is every test's
    left = [function]
    while left:
        names = set(map(_name_of, ast.walk(left.pop()))) - {None}
        used |= {name for name in names if name is not None}
        for name in {each.lstrip(".") for each in used} & helpers.keys() - seen:
            seen.add(name)
            left += helpers[name]
    return used


def _name_of(node: ast.AST) -> str | None:
    match node:
        case ast.Name(id=name) | ast.arg(arg=name):
            return name
        case ast.Attribute(attr=name):
            return f".{name}"
    return None


def _is_inside(name: str) -> bool:
    bare = name.removeprefix(".")
    is_private = name.startswith("._") and not bare.startswith("__")
    return bare in MOCKS or bare in PARTS or is_private
