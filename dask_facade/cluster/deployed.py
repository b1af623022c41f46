"""Clusters of any kind that Dask can deploy: here by processes, by SSH, as jobs of a batch system.

One lives in a process of its own, with its scheduler if that is not elsewhere: nothing of the
users' is read in the dispatcher's.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import logging
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dask_facade.cluster.connection import require_loopback
from dask_facade.cluster.own import (
    LOG_LEVEL,
    OwnCluster,
    parent_gone,
    take_output,
    tell_parent,
)
from dask_facade.exceptions import EncodeError, ImproperlyConfigured
from dask_facade.serialization import dumps, loads

START_TIMEOUT = 600.0  # seconds; a scheduler may have to wait for its turn in a batch system
STOP_TIMEOUT = 60.0  # seconds; its jobs, its machines are to be given back


@dataclass(frozen=True, slots=True)
class Deployment:
    """Which cluster a dispatcher starts in the place of its local one."""

    kind: str  # the dotted path of a class of clusters, or of a function that returns one
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    adapt: Mapping[str, Any] | None = None  # as ``cluster.adapt`` takes it; None: it does not


def kind_of(path: str) -> Callable[..., Any]:
    """Return the class, or function, at *path*; raise ImproperlyConfigured."""
    module, _, name = path.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"there is no kind of cluster {path!r}: {error}") from error
    if not callable(kind):
        raise ImproperlyConfigured(f"{path!r} is no kind of cluster, but a {type(kind).__name__}")
    found: Callable[..., Any] = kind
    return found


class DeployedCluster(OwnCluster):
    """The cluster of a Deployment; unless *insecure*, its scheduler must be on this machine."""

    stop_timeout = STOP_TIMEOUT

    def __init__(
        self,
        deployment: Deployment,
        environment: Mapping[str, str] | None = None,
        *,
        insecure: bool = False,
    ) -> None:
        # From what Dask logs elsewhere, an SSHCluster learns the addresses there.
        super().__init__({LOG_LEVEL: "info", **(environment or {})})
        self.name = deployment.kind
        self._deployment = deployment
        self._insecure = insecure

    async def _spawn_parts(self) -> None:
        deployment = self._deployment
        kind_of(deployment.kind)
        try:
            told = dumps([deployment.kind, deployment.kwargs, deployment.adapt])
        except EncodeError as error:
            raise ImproperlyConfigured(f"the cluster of DASK_FACADE['CLUSTER']: {error}") from error
        self.address = await self._spawn(
            _MODULE, timeout=START_TIMEOUT, said=b64encode(told) + b"\n"
        )
        if not self._insecure:
            require_loopback(self.address, "the scheduler of DASK_FACADE['CLUSTER']")


async def _serve(pipe: int, deployment: Deployment) -> None:
    gone: asyncio.Future[Any] = asyncio.ensure_future(parent_gone())
    cluster = kind_of(deployment.kind)(**deployment.kwargs, asynchronous=True)
    started: asyncio.Future[Any] = asyncio.ensure_future(_started(cluster, deployment))
    try:
        await asyncio.wait([gone, started], return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            await started
            tell_parent(pipe, cluster.scheduler_address)
        await gone
    finally:
        started.cancel()
        await cluster.close()


async def _started(cluster: Any, deployment: Deployment) -> None:
    await cluster
    if deployment.adapt is not None:
        adapting = cluster.adapt(**deployment.adapt)
        if inspect.isawaitable(adapting):
            await adapting


def main() -> None:
    """Run the cluster that standard input tells of, until that ends."""
    pipe = take_output()
    logging.getLogger("distributed").setLevel(logging.WARNING)
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as told:  # one line of it
        kind, kwargs, adapt = loads(b64decode(told.readline()))
    asyncio.run(_serve(pipe, Deployment(kind, kwargs, adapt)))


_MODULE = "dask_facade.cluster.deployed"

if __name__ == "__main__":
    main()
