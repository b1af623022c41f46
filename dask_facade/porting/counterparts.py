"""Where Celery's names are here, read from the source of this package: nothing is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dask_facade.compat import HOME, HOMES

PACKAGE = "dask_facade"
BILLIARD = "billiard.exceptions"  # Celery comes with it: projects catch its errors
_OF_ALL_MODULES = frozenset({"__doc__", "__file__", "__loader__", "__name__", "__spec__"})
_HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Counterpart:
    """What stands for *celery*, a dotted name: *name* of *module*, or *module* itself."""

    celery: str
    module: str
    name: str = ""

    @property
    def path(self) -> str:
        """Its dotted name."""
        return f"{self.module}.{self.name}" if self.name else self.module


def home_of(module: str) -> str | None:
    """Return the module that stands for one of Celery's; None where there is none."""
    if module == "celery":
        return PACKAGE
    home = HOMES.get(module, f"{PACKAGE}.{module}")
    if module == BILLIARD:
        home = f"{PACKAGE}.exceptions"
    elif not module.startswith("celery."):
        return None
    return home if _file_of(home) else None


def homes_of(module: str) -> list[str]:
    """Return all modules that have names of one of Celery's, the one to be preferred first."""
    home = home_of(module)
    if home is None:
        return []
    return [PACKAGE, HOME] if module == "celery" else [home]


def counterpart(dotted: str) -> Counterpart | None:
    """Return what stands for a module of Celery's, or for a name in one, or for what that has.

    ``celery.states.SUCCESS.lower`` is found as ``celery.states.SUCCESS``. None where it is lacking.
    """
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        if not (homes := homes_of(module)):
            continue
        if length == len(parts):
            return Counterpart(module, homes[0])
        name = parts[length]
        for home in homes:
            if name in names_of(home):
                return Counterpart(f"{module}.{name}", home, name)
        return None
    return None


@cache
def names_of(module: str) -> frozenset[str]:
    """Return the names that a module of this package says it has; of the package, its public."""
    tree = _tree_of(module)
    said = _public(tree) if module == PACKAGE else _bound(tree.body)
    return frozenset(said) | _OF_ALL_MODULES


@cache
def attributes_of(module: str, name: str) -> frozenset[str]:
    """Return the attributes of a class of this package, those that its methods set among them."""
    of_class = next(
        node
        for node in _tree_of(module).body
        if isinstance(node, ast.ClassDef) and node.name == name
    )
    of_self = {
        node.attr
        for node in ast.walk(of_class)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return frozenset(_bound(of_class.body)) | of_self


def _file_of(module: str) -> Path | None:
    stem = _HERE.joinpath(*module.split(".")[1:])
    for path in (stem / "__init__.py", stem.with_name(f"{stem.name}.py")):
        if path.is_file():
            return path
    return None


def _tree_of(module: str) -> ast.Module:
    path = _file_of(module)
    if path is None:
        raise ModuleNotFoundError(f"this package has no module {module!r}", name=module)
    return ast.parse(path.read_text(encoding="utf-8"))


def _public(tree: ast.Module) -> Iterable[str]:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=value):
                return ast.literal_eval(value)  # type: ignore[no-any-return]  # a list of names
    return ()


def _bound(body: Iterable[ast.stmt]) -> Iterator[str]:
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases):
                yield from (each.asname or each.name.partition(".")[0] for each in aliases)
            case ast.ImportFrom(module=str(module), names=[ast.alias(name="*")]):
                yield from names_of(module)
            case ast.ImportFrom(names=aliases):
                yield from (each.asname or each.name for each in aliases)
            case ast.Assign() | ast.AnnAssign():
                yield from (
                    each.id
                    for each in ast.walk(node)
                    if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
                )
            case ast.If(body=one, orelse=other):
                yield from _bound([*one, *other])
            case ast.Try(body=one, orelse=other, handlers=handlers):
                yield from _bound([*one, *other])
                for handler in handlers:
                    yield from _bound(handler.body)
