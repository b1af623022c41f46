"""What the names of one module of a project mean, as far as they come from Celery."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from dask_facade.compat import HOME, HOMES
from dask_facade.porting.counterparts import PACKAGE, counterpart
from dask_facade.porting.sources import Source

FOREIGN = ("celery", "kombu", "billiard", "django_celery_results", "django_celery_beat", "djcelery")
"""The packages whose names are looked for."""

_APP_CLASSES = {"celery.Celery", "celery.app.Celery", "celery.app.base.Celery"}
_CURRENT_APPS = {"celery.current_app", "celery._state.current_app"}
_RENAMED = {home: name for name, home in HOMES.items()}


@dataclass(frozen=True, slots=True)
class Names:
    """*bound*: names and the dotted ones that they stand for; *apps*: those of Celery apps.

    *renamed* are those of the bound that come from this package already.
    """

    bound: Mapping[str, str]
    apps: frozenset[str]
    renamed: frozenset[str]

    def meaning(self, node: ast.expr) -> str:
        """Return the dotted name that an expression stands for; "" where it is none of these."""
        root, rest = chain_of(node)
        return ".".join((self.bound[root], *rest)) if root in self.bound else ""

    def of_app(self, node: ast.expr) -> str:
        """Return the attributes of an app that an expression asks for; "" where it does not."""
        root, rest = chain_of(node)
        if self.bound.get(root) == "celery" and counterpart(self.meaning(node)):
            return ""  # the app takes the name of the module that it is made of
        return ".".join(rest) if root in self.apps else ""


def chain_of(node: ast.expr) -> tuple[str, tuple[str, ...]]:
    """Return the name and the attributes of ``name.one.two``; a name of "" for anything else.

    The one call on the way that is passed over is ``app.control.inspect().active``.
    """
    attributes: list[str] = []
    while True:
        match node:
            case ast.Attribute(value=value, attr=attribute):
                attributes.append(attribute)
                node = value
            case ast.Call(func=ast.Attribute(attr="inspect") as function) if attributes:
                node = function
            case ast.Name(id=name):
                return name, tuple(reversed(attributes))
            case _:
                return "", ()


def names_of(source: Source, known_apps: frozenset[tuple[str, str]]) -> Names:
    """Return what the names in a module mean.

    *known_apps* are the apps of the project's other modules: the last part of the module's name,
    and the app's name in it.
    """
    imported = {
        alias.asname or (alias.name if module else alias.name.partition(".")[0]): (module, alias)
        for module, alias in _imports(source)
    }
    bound: dict[str, str] = {}
    renamed: set[str] = set()
    for name, (module, alias) in imported.items():
        dotted = ".".join(filter(None, [module, alias.name if module or alias.asname else name]))
        if dotted.partition(".")[0] in FOREIGN:
            bound[name] = dotted
        elif dotted.partition(".")[0] == PACKAGE:
            bound[name] = _in_celerys_words(dotted)
            renamed.add(name)
    names = Names(bound, frozenset(), frozenset(renamed))
    apps = {
        *(name for name, meant in bound.items() if meant in _CURRENT_APPS),
        *(
            name
            for name, (module, alias) in imported.items()
            if module and _is_known(module.rpartition(".")[2], alias.name, known_apps)
        ),
        *_assigned(source, names, {*_APP_CLASSES, *_subclasses(source, names)}),
    }
    return replace(names, apps=frozenset(apps))


def _imports(source: Source) -> Iterator[tuple[str, ast.alias]]:
    """Yield all that is imported, with the module that it comes from; "" for a module itself."""
    for node in source.nodes:
        match node:
            case ast.Import(names=aliases):
                yield from (("", alias) for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                yield from (("." * level + (module or ""), alias) for alias in aliases)


def _is_known(module: str, name: str, known_apps: frozenset[tuple[str, str]]) -> bool:
    """Tell whether a name is an app of the project's; ``from . import`` says no module."""
    if module:
        return (module, name) in known_apps
    return any(name == known for _, known in known_apps)


def is_app(names: Names, node: ast.expr) -> bool:
    """Tell whether a call of *node* makes an app."""
    return names.meaning(node) in _APP_CLASSES


def _in_celerys_words(dotted: str) -> str:
    """Return what a name of this package is in Celery."""
    if dotted in {PACKAGE, HOME}:
        return "celery"
    module, _, name = dotted.rpartition(".")
    if home := _RENAMED.get(dotted):
        return home
    if home := _RENAMED.get(module):
        return f"{home}.{name}"
    rest = dotted.removeprefix(f"{HOME}.").removeprefix(f"{PACKAGE}.")
    return "celery.Celery" if rest == "DaskFacade" else f"celery.{rest}"


def _subclasses(source: Source, names: Names) -> Iterator[str]:
    for node in source.nodes:
        if isinstance(node, ast.ClassDef) and any(is_app(names, base) for base in node.bases):
            yield node.name


def _assigned(source: Source, names: Names, classes: set[str]) -> Iterator[str]:
    """Yield the names that an app is assigned to."""
    for node in source.nodes:
        match node:
            case ast.Assign(targets=targets, value=ast.Call(func=function)):
                pass
            case ast.AnnAssign(target=target, value=ast.Call(func=function)):
                targets = [target]
            case _:
                continue
        meant = names.meaning(function) or (function.id if isinstance(function, ast.Name) else "")
        if meant in classes:
            yield from (each.id for each in targets if isinstance(each, ast.Name))
