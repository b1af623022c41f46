"""Importing the modules of an app's tasks: ``app.loader``."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from dask_facade import signals
from dask_facade.registry import tasks


class Loader:
    """Imports what the settings name, and modules by name."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.task_modules: set[str] = set()

    @property
    def conf(self) -> Any:
        """The app's settings."""
        return self.app.conf

    def import_module(self, module: str, package: str | None = None) -> ModuleType:
        """Return a module."""
        return importlib.import_module(module, package)

    def import_task_module(self, module: str) -> ModuleType:
        """Import a module of tasks, and remember it: workers that this process starts do, too."""
        self.task_modules.add(module)
        return importlib.import_module(module)

    def import_default_modules(self) -> list[ModuleType]:
        """Import what the settings name, then whatever else has tasks."""
        signals.import_modules.send(self.app)
        conf = self.app.conf
        names = [*(conf.imports or ()), *(conf.include or ()), *sorted(self.task_modules)]
        imported = [self.import_task_module(name) for name in names]
        tasks.discover()
        return imported


BaseLoader = Loader
