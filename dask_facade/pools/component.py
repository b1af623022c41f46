"""A component of a simulation, which its author fills in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Component:
    """What a simulation calls: ``init``, ``step`` and ``finalize``, each with a time stamp.

    The entries of its section in the configuration are attributes of it. *services* is what it can
    ask for; it stays behind where the component, or a method of it, travels to a worker.
    """

    services: Any

    def __init__(self, services: Any = None, config: Mapping[str, Any] | None = None) -> None:
        self.config = dict(config or {})
        self.services = services
        for name, value in self.config.items():
            if name.isidentifier() and not hasattr(type(self), name):
                setattr(self, name, value)

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "services": None}

    def __copy__(self) -> Component:
        made = object.__new__(type(self))
        vars(made).update(vars(self))
        return made

    def init(self, timestamp: float = 0.0, **keywords: Any) -> Any:
        """Get ready."""

    def step(self, timestamp: float = 0.0, **keywords: Any) -> Any:
        """Do what there is to do."""

    def finalize(self, timestamp: float = 0.0, **keywords: Any) -> Any:
        """Clean up."""
