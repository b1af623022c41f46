"""What task pools raise."""

from __future__ import annotations

from dask_facade.exceptions import DaskFacadeError


class PoolError(DaskFacadeError):
    """A task pool cannot do what it is asked to."""


class DuplicateName(PoolError, ValueError):
    """A pool, or a task of a pool, has this name already."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(what, name)
        self.name = name
        self.what = what

    def __str__(self) -> str:
        return f"there is a {self.what} named {self.name!r} already: give each its own name"


class UnknownName(PoolError, LookupError):
    """No pool, task, port or setting has this name."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(what, name)
        self.name = name
        self.what = what

    def __str__(self) -> str:
        return f"there is no {self.what} named {self.name!r}"


class BadTask(PoolError, ValueError):
    """A task that could not run: its program, directory, arguments or options are wrong."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"task {self.name!r}: {self.reason}"


class BadConfig(PoolError, ValueError):
    """A configuration that does not say what to run."""


class ContainerError(PoolError, RuntimeError):
    """Dask does not run in the container."""


class VersionMismatch(ContainerError):
    """What runs in the container is not what runs outside, so they do not understand each other."""
