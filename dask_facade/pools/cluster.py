"""A Dask cluster of a pool's own, whose runners serve the pool's queue alone.

Its scheduler and workers are child processes of this one and end with it. The dispatcher that
leads knows nothing of them: it sees runners that dial.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any

from distributed import Client, Variable
from distributed.client import ClosedClientError

from dask_facade import compat
from dask_facade.cluster.connection import connect
from dask_facade.cluster.futures import DISPATCHER
from dask_facade.cluster.placement import Placement
from dask_facade.exceptions import DaskFacadeError, DispatcherAway
from dask_facade.ids import new_id
from dask_facade.ledger.store import JobStore
from dask_facade.line import token
from dask_facade.loops import away
from dask_facade.messages import RUNNER
from dask_facade.pools.exceptions import PoolError
from dask_facade.pools.host import Host
from dask_facade.pools.inside import Told, let_runners_go
from dask_facade.pools.shape import Shape
from dask_facade.worker.node import CONTROLLER, NAME, QUEUES
from dask_facade.worker.runner import Slot

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0  # seconds
RETIRE_TIMEOUT = 2.0
CLOSE_TIMEOUT = 600.0  # with what plugins do at the end
LEASE_TIMEOUT = 10.0
LOOK_EVERY = 1.0
STORE_LIMIT = 16 * 2**20  # bytes of a result, all of which the ledger keeps


class PoolCluster:
    """A scheduler and workers as *shape* says, with a runner for each task at a time."""

    def __init__(
        self, name: str, shape: Shape, *, store: JobStore, queue: str, settings_module: str
    ) -> None:
        self.failure: BaseException | None = None  # why it ended by itself, or never began
        self._began = threading.Event()
        self._closed = False
        self._host = Host(shape.prefix)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._name = name
        self._notice: dict[str, object] = {}
        self._queue = queue
        self._secret = b""
        self._settings_module = settings_module
        self._shape = shape
        self._stop = asyncio.Event()
        self._store = store
        self._thread = threading.Thread(target=self._run, name=f"pool-{name}", daemon=True)

    def start(self) -> None:
        """Return when its runners are placed, or when another thread closes it.

        Raises PoolError, ContainerError, VersionMismatch, DispatcherAway, and what the plugin's
        `setup` raises.
        """
        self._host.check()
        self._find_leader()
        self._thread.start()
        self._began.wait()
        if self.failure is not None:
            self._thread.join(CONNECT_TIMEOUT)
            raise self.failure
        if not self._closed:
            logger.info("pool %s has workers of its own", self._name)

    def close(self) -> None:
        """End it: first what its plugin does at the end, then the workers and the scheduler.

        That is so also while it starts, and before: then it never does.
        """
        self._closed = True
        if self._loop is not None:
            with suppress(RuntimeError):  # its loop has ended
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread.ident is not None:
            self._thread.join(CLOSE_TIMEOUT)

    def _find_leader(self) -> None:
        """Learn who leads, and what its runners need to dial it."""
        deadline = time.monotonic() + LEASE_TIMEOUT
        while not self._closed:
            lease = self._store.lease()
            if lease is not None and lease.holder and lease.addresses:
                self._notice.update(epoch=lease.epoch, addresses=list(lease.addresses))
                self._secret = lease.secret
                return
            if time.monotonic() > deadline:
                raise DispatcherAway(
                    "no dispatcher is running, and a pool needs one: start `manage.py "
                    "dask_dispatcher`"
                )
            time.sleep(LOOK_EVERY / 10)

    # In its thread

    def _run(self) -> None:
        try:
            asyncio.run(self._live())
        except (DaskFacadeError, OSError, TimeoutError) as error:
            self.failure = error
        except BaseException as error:
            self.failure = error
            if self._began.is_set():
                raise
        finally:
            self._began.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._closed:  # by who could not say so to the loop
            return
        async with AsyncExitStack() as ending:
            if await self._is_over(self._begin(ending)):
                return
            self._began.set()
            if not await self._is_over(self._host.wait()):
                raise PoolError(
                    f"the workers of pool {self._name!r} have ended before they were told to"
                )

    async def _begin(self, ending: AsyncExitStack) -> None:
        """Start all of it; what *ending* has by then ends it."""
        ending.push_async_callback(self._host.close)
        if self._shape.prefix:
            await self._host.probe()
        address = await self._host.start(self._told())
        client = await connect(address, CONNECT_TIMEOUT)
        ending.push_async_callback(_closed, client)
        placement = Placement(address, self._slot, _pass, _pass, self._notice)
        ending.push_async_callback(placement.close)
        ending.push_async_callback(_retire, client)
        if self._shape.plugin is not None:
            ending.push_async_callback(self._tear_down, client)
            await client.register_plugin(self._shape.plugin, name=self._plugin_name)
        await placement.start(CONNECT_TIMEOUT)
        for each in (placement.keep(), self._follow(placement)):
            ending.callback(asyncio.ensure_future(each).cancel)

    async def _is_over(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do *work* until it is done, or it is to end; tell whether that was first."""
        working = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        try:
            await asyncio.wait([working, stop], return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                await working
            return self._stop.is_set()
        finally:
            for each in (working, stop):
                each.cancel()
            await asyncio.wait([working, stop])

    async def _follow(self, placement: Placement) -> None:
        """Tell the runners where to find the dispatcher when another one leads."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                lease = await away(self._store.lease, self._store.disconnect)
            except DaskFacadeError as error:
                logger.debug("who leads cannot be read: %s", error)
                continue
            known = self._notice["epoch"]
            if lease is None or lease.epoch == known or not lease.addresses:
                continue
            self._notice.update(epoch=lease.epoch, addresses=list(lease.addresses))
            with suppress(OSError, ClosedClientError):
                variable = Variable(DISPATCHER, client=placement.client)
                await asyncio.wait_for(variable.set(dict(self._notice)), CONNECT_TIMEOUT)

    @property
    def _plugin_name(self) -> str:
        return f"pool-{self._queue}"

    async def _tear_down(self, client: Client) -> None:
        """Let the plugin do what it does at the end, on every worker."""
        try:
            await client.unregister_worker_plugin(name=self._plugin_name)
        except Exception as error:  # what a plugin raises
            logger.error("the plugin of pool %s did not end in order: %s", self._name, error)

    def _slot(self) -> Slot:
        runner = f"runner-{new_id()}"
        addresses: Sequence[str] = self._notice["addresses"]  # type: ignore[assignment]  # ours
        return Slot(
            runner=runner,
            token=token(self._secret, RUNNER, runner),
            addresses=tuple(addresses),
            queues=(self._queue,),
            settings_module=self._settings_module,
            paths=tuple(path for path in sys.path if path),
            inline_limit=STORE_LIMIT,
            store_limit=STORE_LIMIT,
            as_celery=compat.is_installed(),
        )

    def _told(self) -> Told:
        shape = self._shape
        environments = []
        for number in range(shape.workers):
            environment = {CONTROLLER: str(os.getpid()), NAME: "", QUEUES: ""}
            if shape.gpus:
                environment["CUDA_VISIBLE_DEVICES"] = shape.gpus[number % len(shape.gpus)]
            environments.append(environment)
        return Told(
            name="".join(each if each.isalnum() else "-" for each in self._name),
            threads=shape.threads,
            processors=shape.processors,
            shares=shape.shares,
            environments=tuple(environments),
        )


def settings_module_here() -> str:
    """Return the Django settings that workers are to set up; "" without Django."""
    name = os.environ.get("DJANGO_SETTINGS_MODULE", "")
    return name if "django.conf" in sys.modules else ""


async def _closed(client: Client) -> None:
    with suppress(OSError):
        await asyncio.wait_for(client.close(timeout=1), 3)


async def _retire(client: Client) -> None:
    """Let the runners end; what they run was ended before."""
    with suppress(OSError, ClosedClientError, TimeoutError):
        await asyncio.wait_for(client.run(let_runners_go, RETIRE_TIMEOUT), 2 * RETIRE_TIMEOUT)


def _pass(*_news: Any) -> None:
    """Do nothing: the dispatcher learns from its runners' lines what becomes of them."""
