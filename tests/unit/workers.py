"""Workers of a `House`, whose calls last until a test lets them go."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from typing import Any

from dask_facade.ledger.memory import MemoryStore
from dask_facade.line import token
from dask_facade.messages import RUNNER, VERSION, Call, Hello, Outcome
from dask_facade.worker.endings import outcome_of as ended
from dask_facade.worker.endings import terminated
from dask_facade.worker.node import Node
from dask_facade.worker.serving import Runner
from tests.unit.house import SECRET, House, job, wait_for
from tests.unit.listening import DEADLINE
from tests.unit.stage import end_of


class Worker:
    """A runner whose calls last until they are let go, or killed."""

    alone = False

    def __init__(self, house: House, name: str, queues: tuple[str, ...] = ()) -> None:
        self.closed: list[bool] = []
        self.node = Node(name, self.closed.append)
        self.released: dict[str, threading.Event] = {}
        self.killed: set[str] = set()
        runner = f"runner of {name}"
        made = token(SECRET, RUNNER, runner)
        hello = Hello(
            VERSION, RUNNER, runner, made, name, "tcp://w", queues, node=name, pid=os.getpid()
        )
        self.runner = Runner(hello, [house.address], self, lambda: not self.over, node=self.node)
        self.over = False
        self._thread = threading.Thread(target=self.runner.serve, name=name)
        self._thread.start()
        wait_for(lambda: name in names(house), f"the line of {name}")

    def run(self, call: Call, channel: Any) -> Outcome:
        released = self.released.setdefault(call.id, threading.Event())
        if not self.over:
            released.wait(DEADLINE)
        if call.id in self.killed:
            return ended(call, terminated(), time.time(), 0.0)
        return end_of(call, finished=time.time())

    def release(self, id: str) -> None:
        self.released.setdefault(id, threading.Event()).set()

    def kill(self, id: str, hand: int) -> bool:
        self.killed.add(id)
        self.release(id)
        return True

    def end_process(self) -> None: ...

    def abandon(self) -> None: ...

    def close(self) -> None: ...

    def end(self) -> None:
        for id in list(self.released):
            self.release(id)
        self.over = True
        with self.runner._changed:
            self.runner._changed.notify_all()
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()


def names(house: House) -> set[str]:
    return {hello.node for hello in list(house.switchboard.runners())}


def reachable(store: MemoryStore, house: House) -> None:
    """Let an app's own line find the house."""
    lease = store.lease()
    assert lease is not None
    store._tables.lease = replace(lease, addresses=(house.address,))


def begin(house: House, worker: Worker, id: str, **options: Any) -> None:
    """Let a worker begin a call that lasts."""
    house.client().offers(house.submit(job(id, **options)))
    wait_for(lambda: id in worker.released, f"the beginning of {id}")
