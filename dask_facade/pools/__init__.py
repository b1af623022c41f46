"""Task pools of executables, functions and methods, under the names that IPS's users know."""

from __future__ import annotations

from dask_facade.pools.component import Component
from dask_facade.pools.ensemble import run_ensemble
from dask_facade.pools.exceptions import (
    BadConfig,
    BadTask,
    ContainerError,
    DuplicateName,
    PoolError,
    UnknownName,
    VersionMismatch,
)
from dask_facade.pools.plugins import ContinuousArchive, CopyOnTeardown
from dask_facade.pools.pool import TaskPool
from dask_facade.pools.services import Services
from dask_facade.pools.simulation import Simulation

__all__ = [
    "BadConfig",
    "BadTask",
    "Component",
    "ContainerError",
    "ContinuousArchive",
    "CopyOnTeardown",
    "DuplicateName",
    "PoolError",
    "Services",
    "Simulation",
    "TaskPool",
    "UnknownName",
    "VersionMismatch",
    "run_ensemble",
]
