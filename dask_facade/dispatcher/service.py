"""A dispatcher's life: the lease, the cluster, the lines, and their end in order."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dask_facade import compat
from dask_facade.backlog import is_own
from dask_facade.cluster.deployed import DeployedCluster, Deployment
from dask_facade.cluster.local import LocalCluster
from dask_facade.cluster.neighbours import Neighbours
from dask_facade.cluster.own import OwnCluster
from dask_facade.cluster.placement import Placement
from dask_facade.dispatcher.adoption import Adoption
from dask_facade.dispatcher.beat import Beat
from dask_facade.dispatcher.leader import BEAT_EVERY, take_lease
from dask_facade.dispatcher.pruning import Pruning
from dask_facade.dispatcher.questions import Questions
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.dispatcher.releasing import Releasing
from dask_facade.dispatcher.requests import Requests
from dask_facade.dispatcher.scaling import Scaling
from dask_facade.dispatcher.sweep import Sweep
from dask_facade.dispatcher.switchboard import Switchboard, Witness
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import (
    GRAPHS,
    Drain,
    Found,
    Placed,
    Rules,
    WorkerGone,
    WorkersPaused,
)
from dask_facade.exceptions import ImproperlyConfigured, LeadershipLost
from dask_facade.ids import new_id
from dask_facade.ledger.store import Desk, JobStore, Lease
from dask_facade.line import AcceptedLine, token
from dask_facade.messages import RUNNER, Call
from dask_facade.worker.node import CONTROLLER
from dask_facade.worker.runner import Slot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """What a dispatcher is told at its start. Times are in seconds."""

    scheduler: str | None = None  # an address; None: an embedded cluster
    workers: int = 2  # of the embedded cluster
    deployment: Deployment | None = None  # of what is started in the place of the embedded cluster
    linger: float = 60.0  # that a runner may idle where the cluster is adaptive
    insecure: bool = False  # schedulers beyond this machine may be started and connected to
    environment: Mapping[str, str] = field(default_factory=dict)  # of its workers, beside ours
    host: str = "127.0.0.1"
    port: int = 0
    advertise: str | None = None  # "host:port", as workers and clients reach this dispatcher
    lease: float = 5.0
    send_grace: float = 1.0  # that a hint may be on its way
    connect_timeout: float = 10.0
    drain: float = 10.0  # that running calls are given at the end
    queues: tuple[str, ...] = ()  # none: every queue
    settings_module: str = ""  # of Django, for the workers; "": without Django
    paths: tuple[str, ...] = ()  # for the workers' sys.path, where they exist there
    inline_limit: int = 64 * 2**10  # bytes of a result, up to which it is only in the ledger
    store_limit: int = 16 * 2**20  # bytes of a result, up to which it is in the ledger
    rules: Rules = field(default_factory=Rules)
    witness: Witness | None = None  # of what becomes of calls, in this process
    result_expires: float = 0.0  # after which jobs that have ended are deleted; 0: never
    app: Any = None  # whose schedule it runs; None: nobody's


class Dispatcher:
    """One dispatcher: waits for the lease, leads, and ends when told to or when it is outrun."""

    def __init__(self, store: JobStore, options: Options) -> None:
        self.holder = f"{socket.gethostname()}:{os.getpid()}:{new_id()[-8:]}"
        self._failure: BaseException | None = None
        self._hurry = asyncio.Event()
        self._options = options
        self._stop = asyncio.Event()
        self._store = store
        self._tasks: list[asyncio.Task[None]] = []

    def stop(self) -> None:
        """Ask it to end in order; for signal handlers of the loop. The second time: at once."""
        if self._stop.is_set():
            self._hurry.set()
        self._stop.set()

    async def run(self, ready: Callable[[str], None]) -> None:
        """Lead until `stop`. *ready* gets the scheduler's address once calls can run.

        Raises LedgerNotReady, ImproperlyConfigured, ClusterUnavailable or LeadershipLost.
        """
        options = self._options
        async with AsyncExitStack() as ending:
            desk = self._store.open_desk()
            ending.callback(desk.close)
            desk.check_schema()
            listening = _listening(options.host, options.port)
            ending.callback(listening.close)
            address = options.advertise or f"{options.host}:{listening.getsockname()[1]}"
            lease = await _before(
                self._stop,
                take_lease(desk, self.holder, [address], options.lease, time.monotonic),
            )
            if lease is not None:
                await self._lead(desk, lease, listening, address, ready)
        if self._failure is not None:
            raise self._failure

    async def _lead(
        self,
        desk: Desk,
        lease: Lease,
        listening: socket.socket,
        address: str,
        ready: Callable[[str], None],
    ) -> None:
        options = self._options
        logger.info("dispatcher %s leads, epoch %d, at %s", self.holder, lease.epoch, address)
        writer = LedgerWriter(desk, lease.epoch)
        reader = LedgerReader(self._store)
        hurry = asyncio.Event()
        switchboard = Switchboard(
            writer,
            reader,
            lease,
            options.lease,
            options.rules,
            hurry=hurry.set,
            fail=self._fail,
            witness=options.witness,
        )
        releasing = Releasing()
        pruning = Pruning(writer, releasing.add, options.result_expires)
        requests = Requests(writer, reader, switchboard, pruning, releasing.add)
        Questions(writer, reader, switchboard, requests)
        async with AsyncExitStack() as ending:
            ending.push_async_callback(self._resign, writer)
            ending.callback(reader.close)
            ending.callback(switchboard.close)
            beat = None if options.app is None else Beat(options.app)
            if beat is not None:
                ending.callback(beat.close)
            ending.push_async_callback(self._cancel_tasks)
            self._start(self._beat(writer, switchboard))
            await _before(self._stop, requests.begin())
            if self._stop.is_set():
                return
            server = await asyncio.get_running_loop().create_server(
                lambda: AcceptedLine(switchboard), sock=listening
            )
            ending.callback(server.close)
            scheduler = options.scheduler
            cluster: OwnCluster | None = None
            if scheduler is None:
                cluster = _cluster(options)
                ending.push_async_callback(cluster.close)
                if await _before(self._stop, cluster.start()) is None and self._stop.is_set():
                    return
                scheduler = cluster.address
            scaling = _scaling(options, switchboard)
            placement = Placement(
                scheduler,
                lambda: self._slot(lease, address),
                lambda worker: switchboard.step(WorkerGone(worker)),
                lambda worker, runners: switchboard.step(Placed(worker, runners)),
                {"epoch": lease.epoch, "addresses": [address]},
                paused=lambda workers: switchboard.step(WorkersPaused(workers)),
                wanted=lambda: scaling is None or scaling.wanted,
            )
            ending.push_async_callback(placement.close)
            if cluster is not None:

                async def anew(scheduler: str) -> None:
                    placement.address = scheduler
                    await writer.run(partial(desk.announce, lease.epoch, scheduler))

                self._start(cluster.keep(placement.give_up, anew))
            await _before(self._stop, placement.start(options.connect_timeout))
            if self._stop.is_set():
                return
            await writer.run(partial(desk.announce, lease.epoch, scheduler))
            graphs = await _recover(writer, switchboard, placement)
            neighbours = Neighbours(lambda: placement.client, insecure=options.insecure)
            ending.push_async_callback(neighbours.close)
            adoption = self._adoption(neighbours, switchboard)
            ending.callback(adoption.close)
            switchboard.add_local(GRAPHS, adoption.receive, adoption.held(graphs))
            self._start(releasing.keep(neighbours))
            sweep = Sweep(
                writer,
                switchboard,
                requests,
                hurry,
                grace=options.send_grace,
                horizon=options.rules.horizon,
            )
            self._start(placement.keep())
            if scaling is not None:
                self._start(scaling.keep(placement))
            self._start(sweep.keep())
            if beat is not None:
                self._start(beat.keep())
            self._start(pruning.keep())
            ready(scheduler)
            await self._stop.wait()
            if self._failure is None:
                switchboard.step(Drain())
                await _before(self._hurry, switchboard.drained(options.drain))

    def _slot(self, lease: Lease, address: str) -> Slot:
        runner = f"runner-{new_id()}"
        return Slot(
            runner=runner,
            token=token(lease.secret, RUNNER, runner),
            addresses=(address,),
            queues=self._options.queues,
            settings_module=self._options.settings_module,
            paths=self._options.paths,
            inline_limit=self._options.inline_limit,
            store_limit=self._options.store_limit,
            as_celery=compat.is_installed(),
        )

    def _adoption(self, neighbours: Neighbours, switchboard: Switchboard) -> Adoption:
        options = self._options
        return Adoption(
            neighbours,
            partial(switchboard.say_local, GRAPHS),
            inline_limit=options.inline_limit,
            store_limit=options.store_limit,
            settings_module=options.settings_module,
            paths=options.paths,
        )

    async def _beat(self, writer: LedgerWriter, switchboard: Switchboard) -> None:
        while True:
            await writer.run(lambda: writer.desk.beat(writer.epoch))
            switchboard.beat()
            await asyncio.sleep(BEAT_EVERY)

    # Tasks and their end

    def _start(self, service: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(service)
        task.add_done_callback(self._service_ended)
        self._tasks.append(task)

    def _service_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """End because of *error*."""
        if self._failure is None:
            logger.error("dispatcher %s ends: %s", self.holder, error)
            self._failure = error
        self._stop.set()

    async def _cancel_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _resign(self, writer: LedgerWriter) -> None:
        if not isinstance(self._failure, LeadershipLost):
            resigning = writer.run(lambda: writer.desk.resign(writer.epoch))
            try:
                await asyncio.wait_for(resigning, self._options.lease)
            except (LeadershipLost, TimeoutError) as error:
                logger.warning("the lease was not given up: %s", error)
        writer.close()


def _cluster(options: Options) -> OwnCluster:
    environment = {CONTROLLER: str(os.getpid()), **options.environment}
    if options.deployment is None:
        return LocalCluster(options.workers, environment)
    return DeployedCluster(options.deployment, environment, insecure=options.insecure)


def _scaling(options: Options, switchboard: Switchboard) -> Scaling | None:
    deployment = options.deployment if options.scheduler is None else None
    if deployment is None or deployment.adapt is None:
        return None
    return Scaling(switchboard, options.queues, options.linger)


def _listening(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise ImproperlyConfigured(
            f"the dispatcher cannot listen at {host}:{port}: {error.strerror or error}. Let "
            "DASK_FACADE['DISPATCHER_HOST'] be an address of this machine, and 'DISPATCHER_PORT' a "
            "port that no other process has, or 0 for any free one"
        ) from error


async def _before(end: asyncio.Event, work: Coroutine[Any, Any, Any]) -> Any:
    """Return what *work* returns, or None if *end* is set first."""
    task = asyncio.ensure_future(work)
    ended = asyncio.ensure_future(end.wait())
    await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    ended.cancel()
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
        return None
    return task.result()


async def _recover(
    writer: LedgerWriter, switchboard: Switchboard, placement: Placement
) -> list[Call]:
    """Take over what earlier leaders had begun; return the graphs among it.

    Calls whose worker Dask does not know any more may have begun and will not end; what the others
    hold is in doubt until their runner dials, or their worker is gone. Workers with a queue of
    their own are another cluster's.
    """
    await writer.run(lambda: writer.desk.forget_taken(writer.epoch))
    found = await writer.run(writer.desk.in_flight)
    if not found:
        return []
    logger.warning("%d calls were in flight when the last dispatcher ended", len(found))
    switchboard.step(Found(found))
    workers = {
        each.worker for each in found if each.runner != GRAPHS and not is_own(each.call.queue)
    }
    for worker in workers - placement.workers:
        switchboard.step(WorkerGone(worker))
    return [each.call for each in found if each.runner == GRAPHS]
