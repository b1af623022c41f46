"""``import celery``, ``import celery.schedules``, ``import celery as c`` in this package's words.

What is imported so is asked for attributes all over the module, so these decide how it is renamed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from dask_facade.porting.counterparts import PACKAGE, counterpart, home_of, homes_of, names_of
from dask_facade.porting.edits import Edit, Left
from dask_facade.porting.names import chain_of
from dask_facade.porting.sources import Source
from dask_facade.porting.strings import annotated

Imported = tuple[ast.Import, ast.alias]

_TWO_MEANINGS = "the name means something else here, too: import what is needed of it by name"
_ASKED = "{0} is asked of it, which has no counterpart: import what is needed of it by name"
_HANDED_ON = "it is handed on as a whole: import what is needed of it by name"


def changes(source: Source) -> Iterator[Edit | Left]:
    """Yield the edits of a module, or what has to be left, which is then all of one name."""
    named: dict[str, list[Imported]] = {}
    for node in source.nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "celery":
                    named.setdefault(alias.asname or "celery", []).append((node, alias))
    for name, imported in named.items():
        why = "" if _means_only(source, name, imported) else _TWO_MEANINGS
        edits = [] if why else _renamed(source, name, imported)
        if isinstance(edits, str):
            why, edits = edits, []
        yield from edits
        if why:
            for _, alias in imported:
                if home_of(alias.name):  # else it is refused, and told so
                    yield Left(*source.place(alias), f"import {alias.name}", why)


def _means_only(source: Source, name: str, imported: Sequence[Imported]) -> bool:
    """Tell whether a name is bound by these imports alone, or else to None where they fail."""
    aliases = {id(alias) for _, alias in imported}
    without = {
        id(target)
        for node in source.nodes
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if node.value.value is None
    }
    for node in source.nodes:
        match node:
            case ast.Name(id=bound, ctx=ast.Store() | ast.Del()) if id(node) not in without:
                pass
            case ast.arg(arg=bound) | ast.MatchAs(name=str(bound)) | ast.MatchStar(name=str(bound)):
                pass
            case ast.FunctionDef(name=bound) | ast.AsyncFunctionDef(name=bound):
                pass
            case ast.ClassDef(name=bound) | ast.ExceptHandler(name=str(bound)):
                pass
            case ast.alias(asname=str(bound)) | ast.alias(name=bound, asname=None):
                if id(node) in aliases:
                    continue
                bound = bound.partition(".")[0]
            case _:
                continue
        if bound == name:
            return False
    return True


def _renamed(source: Source, name: str, imported: Sequence[Imported]) -> list[Edit] | str:
    """Return the edits for all imports of one name, or why there are none."""
    asked = _asked(source, name)
    modules = {alias.name for _, alias in imported}
    if len(modules) == 1 and (imported[0][1].asname or modules == {"celery"}):
        module = modules.pop()
        for home in homes_of(module):
            if _has(home, asked):
                text = f"{home} as {name}"
                return [Edit(*source.span(alias), text) for _, alias in imported]
        if name != "celery":
            lacking = sorted({_first(chain) for chain in asked if not _has_one(module, chain)})
            return _ASKED.format(f"{module}.{lacking[0]}") if lacking else _HANDED_ON
    if name != "celery":
        return _TWO_MEANINGS
    return _spelt_out(source, imported, asked)


def _asked(source: Source, name: str) -> list[ast.expr]:
    """Return the longest chains of attributes that begin with a name."""
    inner = {id(node.value) for node in source.nodes if isinstance(node, ast.Attribute)}
    return [
        node
        for node in source.nodes
        if isinstance(node, ast.Attribute | ast.Name) and id(node) not in inner
        if _is_chain_of(node, name)
    ]


def _is_chain_of(node: ast.expr, name: str) -> bool:
    while isinstance(node, ast.Attribute):
        node = node.value
    return isinstance(node, ast.Name) and node.id == name


def _first(chain: ast.expr) -> str:
    attributes = chain_of(chain)[1]
    return attributes[0] if attributes else ""


def _has(home: str, asked: Sequence[ast.expr]) -> bool:
    """Tell whether a module has what is asked of it. As a whole the package is no celery."""
    return all(
        _first(chain) in names_of(home) if _first(chain) else home != PACKAGE for chain in asked
    )


def _has_one(module: str, chain: ast.expr) -> bool:
    return any(_has(home, [chain]) for home in homes_of(module))


def _spelt_out(
    source: Source, imported: Sequence[Imported], asked: Sequence[ast.expr]
) -> list[Edit] | str:
    """Rename the chains too: ``celery.schedules.crontab`` is ``dask_facade.schedules.crontab``."""
    homes = {alias.name: home_of(alias.name) for _, alias in imported}
    for module, home in homes.items():
        if home is None:
            return _ASKED.format(module)
    edits = []
    needed = {PACKAGE}
    for chain in asked:
        root, attributes = chain_of(chain)
        if not attributes:
            return _HANDED_ON
        found = counterpart(".".join((root, *attributes)))
        if found is None:
            return _ASKED.format(".".join((root, *attributes)))
        needed.add(found.module)
        edits.append(Edit(*source.span(_prefix(chain, found.celery.count("."))), found.path))
    if any("celery." in str(each.value) for each in annotated(source)):
        return "it is also named in an annotation that is a string: import what it needs by name"
    more = sorted(needed - {PACKAGE, *homes.values()})
    for node, alias in imported:
        wanted = [homes[alias.name] or PACKAGE]
        if alias.name == "celery" or "celery" not in homes:
            wanted = [*wanted, *more] if wanted != [PACKAGE] or not more else more
        edits.append(Edit(*source.span(alias), _joined(source, node, wanted)))
    return edits


def _prefix(chain: ast.expr, attributes: int) -> ast.expr:
    """Return the part of a chain that has so many attributes."""
    while isinstance(chain, ast.Attribute) and len(chain_of(chain)[1]) > attributes:
        chain = chain.value
    return chain


def _joined(source: Source, node: ast.Import, homes: Sequence[str]) -> str:
    start, _ = source.span(node)
    indent = source.text[source.line_start(start) : start]
    if len(node.names) > 1 or indent.strip():
        return ", ".join(homes)
    newline = "\r\n" if "\r\n" in source.text else "\n"
    return f"{newline}{indent}import ".join(homes)
