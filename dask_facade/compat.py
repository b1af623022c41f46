"""``install_as_celery``: ``import celery`` means this package, for projects and their libraries.

A name of Celery's is either the module of ours that holds the same thing, or a small module under
``dask_facade.celery``. It is the same module object under both names.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from dask_facade.exceptions import ImproperlyConfigured

VARIABLE = "DASK_FACADE_AS_CELERY"
"""The environment variable by which the processes that a process starts learn of it."""

HOME = "dask_facade.celery"
HOMES: Mapping[str, str] = {
    "celery.app.amqp": "dask_facade.amqp",
    "celery.app.annotations": "dask_facade.annotations",
    "celery.app.autoretry": "dask_facade.autoretry",
    "celery.app.backends": "dask_facade.celery.backends",
    "celery.app.base": "dask_facade.app",
    "celery.app.builtins": "dask_facade.builtin",
    "celery.app.control": "dask_facade.control",
    "celery.app.log": "dask_facade.logs",
    "celery.app.registry": "dask_facade.registry",
    "celery.app.routes": "dask_facade.routes",
    "celery.app.task": "dask_facade.task",
    "celery.beat": "dask_facade.beat",
    "celery.canvas": "dask_facade.canvas",
    "celery.contrib": "dask_facade.contrib",
    "celery.contrib.abortable": "dask_facade.contrib.abortable",
    "celery.contrib.django": "dask_facade.contrib.django",
    "celery.contrib.django.task": "dask_facade.contrib.django.task",
    "celery.contrib.pytest": "dask_facade.contrib.pytest",
    "celery.contrib.testing": "dask_facade.contrib.testing",
    "celery.contrib.testing.app": "dask_facade.contrib.testing.app",
    "celery.contrib.testing.manager": "dask_facade.contrib.testing.manager",
    "celery.contrib.testing.mocks": "dask_facade.contrib.testing.mocks",
    "celery.contrib.testing.tasks": "dask_facade.contrib.testing.tasks",
    "celery.contrib.testing.worker": "dask_facade.contrib.testing.worker",
    "celery.exceptions": "dask_facade.exceptions",
    "celery.loaders.base": "dask_facade.loader",
    "celery.result": "dask_facade.result",
    "celery.schedules": "dask_facade.schedules",
    "celery.signals": "dask_facade.signals",
    "celery.states": "dask_facade.states",
    "celery.utils.log": "dask_facade.utils.log",
    "celery.worker.control": "dask_facade.worker.commands",
    "celery.worker.state": "dask_facade.worker.state",
}
"""Where the modules are that have a noun of ours; all others are under HOME."""


class _Alias(Loader):
    """Gives a module of ours under another name, and leaves it as it is."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._home)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Undo the one thing that the import system does to a module which exists."""
        module.__spec__ = self._spec


class CeleryFinder(MetaPathFinder):
    """Finds ``celery`` and whatever is in it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a module of Celery's is; raise ModuleNotFoundError for one we lack."""
        top, _, rest = fullname.partition(HOME + ".")
        if rest and not top:  # `from celery import states` asks so
            home = HOMES.get(f"celery.{rest}", "")
            return _alias(fullname, home) if home else None
        if fullname != "celery" and not fullname.startswith("celery."):
            return None
        spec = _alias(fullname, HOMES.get(fullname) or HOME + fullname.removeprefix("celery"))
        if spec is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: dask_facade stands for celery here, and has no "
                "such module",
                name=fullname,
            )
        return spec


def _alias(name: str, home: str) -> ModuleSpec | None:
    """Return how *home* is imported as *name*; None where there is no such module."""
    found = importlib.util.find_spec(home)
    return None if found is None else ModuleSpec(name, _Alias(home), origin=found.origin)


def install_as_celery() -> None:
    """Let ``import celery``, and its submodules, mean this package from now on.

    To be called before anything imports Celery: first of all in the project's package, say, above
    the import of its app. Dask's workers do the same when they start. Called twice it does nothing
    more. Raises ImproperlyConfigured where the real Celery was imported already.
    """
    found = sys.modules.get("celery")
    if found is not None and found.__name__ != HOME:
        raise ImproperlyConfigured(
            f"celery was imported already, from {getattr(found, '__file__', None)}: call "
            "install_as_celery() before anything imports it, say in the first lines of the "
            "project's package (proj/__init__.py), above `from .celery import app`"
        )
    if not any(isinstance(each, CeleryFinder) for each in sys.meta_path):
        sys.meta_path.insert(0, CeleryFinder())
    importlib.import_module("celery")
    bequeath()


def is_installed() -> bool:
    """Tell whether ``celery`` means this package in this process."""
    found = sys.modules.get("celery")
    return found is not None and found.__name__ == HOME


def bequeath() -> None:
    """Let the processes that this one starts do as this one."""
    os.environ[VARIABLE] = "1"


def inherit() -> None:
    """Do as the process that started this one, or that placed a runner here, has done."""
    if os.environ.get(VARIABLE):
        install_as_celery()
