"""What stands before a command: which app it is of, and how it prints."""

from __future__ import annotations

import os

from dask_facade.app import DaskFacade
from dask_facade.commands.finding import SETTINGS, find_app
from dask_facade.commands.printing import Output


class Invocation:
    """The app is looked for at its first use: some commands need none."""

    def __init__(self, name: str, output: Output) -> None:
        self.name = name
        self.output = output
        self._app: DaskFacade | None = None

    @property
    def is_of_a_project(self) -> bool:
        """Whether anything says which app it is."""
        return bool(self.name or os.environ.get(SETTINGS))

    @property
    def app(self) -> DaskFacade:
        """The app; raises click.UsageError where it is not found."""
        if self._app is None:
            self._app = find_app(self.name)
        return self._app
