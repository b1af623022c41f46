"""What must be known of all modules of a project before one of them can be read."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dask_facade.config import DEFAULTS, new_name
from dask_facade.inert import INERT
from dask_facade.porting.names import names_of
from dask_facade.porting.sources import Source

_OLD_PREFIXES = ("CELERYD_", "CELERYBEAT_", "CELERYMON_")


@dataclass(frozen=True, slots=True)
class Survey:
    """*apps*: (module, name), by the last part of the module's name; where settings come from."""

    apps: frozenset[tuple[str, str]]
    namespaces: frozenset[str]
    config_modules: frozenset[str]  # of settings in lower case, by the last part of the name

    def setting(self, name: str, module: str) -> str:
        """Return what a constant of a module sets, in its new name; "" where it is none."""
        for namespace in sorted(self.namespaces):
            if name.startswith(f"{namespace}_"):
                rest = name.removeprefix(f"{namespace}_").lower()
                return new_name(f"celery_{rest}").removeprefix("celery_")
        today = new_name(name)
        if name.startswith(_OLD_PREFIXES):
            return today
        in_config = module in self.config_modules and name == name.lower()
        if (in_config or name.startswith("BROKER_")) and (today in DEFAULTS or today in INERT):
            return today
        return ""


def stem_of(source: Source) -> str:
    """Return the last part of a module's name."""
    path = source.path
    return path.resolve().parent.name if path.stem == "__init__" else path.stem


def survey(sources: Sequence[Source]) -> Survey:
    """Look through a project."""
    apps: frozenset[tuple[str, str]] = frozenset()
    while True:  # a package gives on what its modules have
        found = frozenset(
            (stem_of(each), name) for each in sources for name in names_of(each, apps).apps
        )
        if found == apps:
            break
        apps = found
    read = [said for each in sources for said in _read_from(each)]
    return Survey(
        apps=apps,
        namespaces=frozenset({"CELERY", *(namespace for _, namespace in read if namespace)}),
        config_modules=frozenset(module for module, namespace in read if not namespace),
    )


def _read_from(source: Source) -> Iterator[tuple[str, str]]:
    """Yield what each ``config_from_object`` names: a module's last part, and a namespace."""
    for node in source.nodes:
        match node:
            case ast.Call(
                func=ast.Attribute(attr="config_from_object"),
                args=[ast.Constant(value=str(path)), *_],
                keywords=keywords,
            ):
                yield path.partition(":")[0].rpartition(".")[2], _namespace(keywords)
            case ast.Call(
                func=ast.Attribute(attr="config_from_object"),
                args=[ast.Name(id=name) | ast.Attribute(attr=name), *_],
                keywords=keywords,
            ):
                yield name, _namespace(keywords)


def _namespace(keywords: list[ast.keyword]) -> str:
    for each in keywords:
        if each.arg == "namespace" and isinstance(each.value, ast.Constant):
            return str(each.value.value or "").upper()
    return ""
