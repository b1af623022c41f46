"""The runner as Dask places it: a long-lived task that takes calls from the dispatcher."""

from __future__ import annotations

import functools
import os
import signal
from dataclasses import dataclass

from distributed import Worker, get_worker, secede
from distributed.core import Status

from dask_facade import compat
from dask_facade.ids import new_id
from dask_facade.messages import RUNNER, VERSION, Call, Hello, Outcome
from dask_facade.worker import preload
from dask_facade.worker.arguments import Channel
from dask_facade.worker.data import WorkerData, client_here
from dask_facade.worker.departure import departure_of
from dask_facade.worker.execution import Execution
from dask_facade.worker.isolation import Household, Isolation
from dask_facade.worker.node import node_name, node_of, queues_here
from dask_facade.worker.serving import Runner
from dask_facade.worker.slots import without_slot


@dataclass(frozen=True, slots=True)
class Slot:
    """What a dispatcher tells a runner that it places."""

    runner: str
    token: str
    addresses: tuple[str, ...]  # of the dispatcher
    queues: tuple[str, ...]
    settings_module: str  # "" without Django
    paths: tuple[str, ...]  # for sys.path, where they exist on the worker
    inline_limit: int  # bytes of a result, up to which it is only told
    store_limit: int  # bytes of a result, up to which it is told
    as_celery: bool = False  # ``import celery`` is to mean this package


def run(slot: Slot) -> str:
    """Serve calls on this Dask worker until the dispatcher or the worker ends it; say why."""
    secede()  # the slot goes back at once: plain Dask work is not starved
    with without_slot():
        return _serve(slot, get_worker())


def _serve(slot: Slot, worker: Worker) -> str:
    hostname = node_name(worker.name)
    if slot.as_celery:
        compat.bequeath()  # to the processes of isolated tasks, too
    preload.begin(slot.settings_module, slot.paths, hostname)
    isolation = Isolation(
        Household(
            hostname=hostname,
            inline_limit=slot.inline_limit,
            store_limit=slot.store_limit,
            settings_module=slot.settings_module,
            paths=slot.paths,
            scheduler=worker.scheduler.address,
        )
    )
    execution = Execution(
        find=functools.partial(preload.find, slot.settings_module, slot.paths),
        hostname=hostname,
        inline_limit=slot.inline_limit,
        store_limit=slot.store_limit,
        around=functools.partial(preload.close_old_connections, slot.settings_module),
        isolate=isolation.run,
    )
    hello = Hello(
        VERSION,
        RUNNER,
        slot.runner,
        slot.token,
        instance=new_id(),
        worker=worker.address,
        queues=queues_here(slot.queues),
        node=hostname,
        pid=os.getpid(),
    )
    runner = Runner(
        hello,
        slot.addresses,
        OnWorker(execution, isolation, alone=worker.state.nthreads == 1),
        lambda: _is_open(worker.status),
        WorkerData(worker, client_here()),
        node_of(hostname, functools.partial(_close, worker)),
    )
    with departure_of(worker).awaits(runner):
        return runner.serve()


def _close(worker: Worker, anew: bool) -> None:
    """End a worker's process; its nanny starts it anew, or ends with it."""
    worker.loop.add_callback(worker.close, nanny=not anew, reason="told to")


def _is_open(status: Status) -> bool:
    return status in (Status.running, Status.paused, Status.init)


@dataclass(frozen=True, slots=True)
class OnWorker:
    """Runs calls in this thread or in its child; on a worker of one thread it is *alone*."""

    execution: Execution
    isolation: Isolation
    alone: bool

    def run(self, call: Call, channel: Channel) -> Outcome:
        """As `Executor` has it."""
        return self.execution.run(call, channel)

    def kill(self, id: str, hand: int) -> bool:
        """As `Executor` has it."""
        return self.isolation.kill(id, hand)

    def end_process(self) -> None:
        """As `Executor` has it; the worker's nanny starts another one."""
        os.kill(os.getpid(), signal.SIGKILL)

    def abandon(self) -> None:
        """As `Executor` has it."""
        self.isolation.abandon()

    def close(self) -> None:
        """As `Executor` has it."""
        self.isolation.close()
