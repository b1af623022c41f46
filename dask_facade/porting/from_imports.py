"""``from celery import ...`` in this package's words."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

from dask_facade.porting.counterparts import BILLIARD, PACKAGE, home_of, homes_of, names_of
from dask_facade.porting.edits import Edit
from dask_facade.porting.sources import Source

_MODULE = re.compile(r"from(?:\s|\\\r?\n)+([\w.]+)")
_COMMENT = re.compile(r"#[^\r\n]*")

Target = tuple[str, str]
"""A module, and what a name is called in it."""


def changes(source: Source) -> Iterator[Edit]:
    """Yield the edits of a module. A name without a counterpart stays an import of Celery's."""
    for node in source.nodes:
        match node:
            case ast.ImportFrom(module=str(module), level=0):
                if module.partition(".")[0] == "celery" or module == BILLIARD:
                    yield from _change(source, node, module)


def _change(source: Source, node: ast.ImportFrom, module: str) -> Iterator[Edit]:
    if node.names[0].name == "*":
        if homes := homes_of(module):
            yield _module_edit(source, node, homes[-1])
        return
    targets = _choose([_options(module, alias.name) for alias in node.names])
    homes = list(dict.fromkeys(target[0] if target else module for target in targets))
    if homes == [module]:
        return
    if len(homes) > 1:
        yield _split(source, node, [target or (module, "") for target in targets])
        return
    yield _module_edit(source, node, homes[0])
    for alias, target in zip(node.names, targets, strict=True):
        if target and target[1] != alias.name:
            start, end = source.span(alias)
            yield Edit(start, end, _clause(alias, target[1]))


def _options(module: str, name: str) -> list[Target]:
    """Return where a name can be had, the best place first: the package, then the rest."""
    found = [(home, name) for home in homes_of(module) if name in names_of(home)]
    if home := home_of(f"{module}.{name}"):
        parent, _, base = home.rpartition(".")
        found.insert(0, (parent, base))
    return sorted(found, key=lambda target: target[0] != PACKAGE)


def _choose(options: Sequence[Sequence[Target]]) -> list[Target | None]:
    """Return one place for each name, the same for all that are to be had if there is such."""
    homes = dict.fromkeys(home for each in options for home, _ in each)
    for home in homes:
        if all(home in dict(each) for each in options if each):
            return [(home, dict(each)[home]) if each else None for each in options]
    return [each[0] if each else None for each in options]


def _module_edit(source: Source, node: ast.ImportFrom, home: str) -> Edit:
    start, _ = source.span(node)
    found = _MODULE.match(source.text, start)
    if found is None or found[1] != node.module:
        raise ValueError(f"line {node.lineno}: write `from {node.module} import` without spaces")
    return Edit(found.start(1), found.end(1), home)


def _clause(alias: ast.alias, name: str) -> str:
    known_as = alias.asname or alias.name
    return name if name == known_as else f"{name} as {known_as}"


def _split(source: Source, node: ast.ImportFrom, targets: Sequence[Target]) -> Edit:
    """Make several statements of one, each with the comments of its names."""
    start, end = source.span(node)
    line = source.line_start(start)
    indent = source.text[line:start]
    newline = "\r\n" if "\r\n" in source.text else "\n"
    ends = [source.span(alias)[0] for alias in node.names[1:]] + [end]
    clauses: dict[str, list[tuple[str, str]]] = {}
    for alias, (home, name), until in zip(node.names, targets, ends, strict=True):
        comments = " ".join(_COMMENT.findall(source.text[source.span(alias)[1] : until]))
        clauses.setdefault(home, []).append((_clause(alias, name or alias.name), comments))
    above = _COMMENT.findall(source.text[start : source.span(node.names[0])[0]])
    spread = any(each in source.text[start:end] for each in "\r\n")
    inner = indent if not indent.strip() else ""
    made = [
        _spread(f"from {home} import (", names, inner, newline)
        if spread
        else f"from {home} import {', '.join(name for name, _ in names)}"
        for home, names in clauses.items()
    ]
    if above:
        made[0] = made[0].replace("(", f"(  {' '.join(above)}", 1)
    return Edit(start, end, (newline + indent if not indent.strip() else "; ").join(made))


def _spread(first: str, names: Sequence[tuple[str, str]], indent: str, newline: str) -> str:
    lines = [f"{indent}    {name},{'  ' if said else ''}{said}" for name, said in names]
    return newline.join([first, *lines, f"{indent})"])
