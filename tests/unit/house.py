"""A leader without a cluster: switchboard, requests and sweeps on a ledger in memory, in a thread.

Clients and runners dial it as they do elsewhere; a test says what they say.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from dask_facade.dispatcher.pruning import Pruning
from dask_facade.dispatcher.questions import Questions
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.dispatcher.requests import Requests
from dask_facade.dispatcher.sweep import Sweep
from dask_facade.dispatcher.switchboard import Switchboard
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import Found, Rules
from dask_facade.ids import new_id
from dask_facade.jobs import Job
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.store import calls_of
from dask_facade.line import AcceptedLine, dial, token
from dask_facade.messages import (
    CLIENT,
    RUNNER,
    VERSION,
    Call,
    Hand,
    Held,
    Hello,
    Message,
    NewJob,
    Nudge,
    Offer,
    Outcome,
    Report,
)
from tests.unit.listening import DEADLINE
from tests.unit.stage import EPOCH, end_of, new_job

M = TypeVar("M", bound=Message)
SECRET = b"the ledger's secret"


def job(id: str, *, due: float | None = None, **options: Any) -> NewJob:
    """Return a job; *due* is in seconds since the epoch."""
    return new_job(id, due=None if due is None else due - EPOCH, **options)


def wait_for(condition: Callable[[], object], what: str, seconds: float = DEADLINE) -> None:
    """Return when *condition* is true; fail after *seconds*."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.002)


def is_done(house: House) -> None:
    """Return when a house has done what it was asked for."""
    wait_for(lambda: house.requests() == [], "all that was asked for")


class House:
    """A leader on *store*; several of them lead one after another."""

    def __init__(self, store: MemoryStore, *, rules: Rules | None = None, grace: float = 0.2):
        self.failures: list[BaseException] = []
        self.forgotten: queue.Queue[tuple[Collection[str], Mapping[str, str]]] = queue.Queue()
        self.peers: list[Peer] = []
        self.store = store
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="house")
        self._thread.start()
        self._do(self._open(rules or Rules(), grace))

    async def _open(self, rules: Rules, grace: float) -> None:
        desk = self.store.open_desk()
        lease = desk.lead("house", (), SECRET, desk.lease())
        assert lease is not None
        self.writer = LedgerWriter(desk, lease.epoch)
        self._reader = LedgerReader(self.store)
        hurry = asyncio.Event()
        self.switchboard = Switchboard(
            self.writer,
            self._reader,
            lease,
            60.0,
            rules,
            hurry=hurry.set,
            fail=self.failures.append,
        )

        def forget(ids: Collection[str], kept: Mapping[str, str]) -> None:
            self.forgotten.put((ids, kept))

        pruning = Pruning(self.writer, forget, 0.0)
        self.asked = requests = Requests(
            self.writer, self._reader, self.switchboard, pruning, forget
        )
        Questions(self.writer, self._reader, self.switchboard, requests)
        await requests.begin()
        self._server = await self._loop.create_server(
            lambda: AcceptedLine(self.switchboard), "127.0.0.1", 0
        )
        host, port = self._server.sockets[0].getsockname()
        self.address = f"{host}:{port}"
        desk.forget_taken(lease.epoch)
        self.switchboard.step(Found(desk.in_flight()))
        sweep = Sweep(
            self.writer, self.switchboard, requests, hurry, grace=grace, horizon=rules.horizon
        )
        self._keeping = [self._loop.create_task(each.keep()) for each in (sweep, pruning)]

    def close(self) -> None:
        """End it, and with it all lines."""
        if self._thread.is_alive():
            self._do(self._close())
            for peer in self.peers:
                peer.close()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(DEADLINE)
            self._loop.close()
            assert self.failures == []

    async def _close(self) -> None:
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)
        self.switchboard.close()
        self._server.close()
        await asyncio.sleep(0)
        self._reader.close()
        self.writer.close()

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call *function* on the loop."""

        async def on_loop() -> Any:
            return function(*arguments)

        return self._do(on_loop())

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    # What people do

    def client(self) -> Peer:
        """Dial as a client."""
        return self._dial(CLIENT, f"client-{new_id()}")

    def runner(
        self,
        name: str = "runner",
        *,
        held: Sequence[Held] = (),
        instance: str = "",
        node: str = "",
        **more: Any,
    ) -> Peer:
        """Dial as a runner; its worker is named like it."""
        worker = f"worker of {name}"
        return self._dial(
            RUNNER, name, held=held, instance=instance, worker=worker, node=node or name, **more
        )

    def _dial(self, role: str, identity: str, **more: Any) -> Peer:
        made = token(SECRET, role, identity)
        peer = Peer(self.address, Hello(VERSION, role, identity, made, **more))
        self.peers.append(peer)
        return peer

    def submit(self, *jobs: NewJob) -> list[Call]:
        """Write rows; return their calls."""
        created: list[float] = []
        self.store.submit(jobs, [], created.append)
        return calls_of(jobs, created[0], ())

    def ask(self, kind: str, *names: str, **arguments: object) -> None:
        """Write requests, and say so."""
        self.store.request(kind, names, arguments)
        self.client().says(Nudge())

    def row(self, id: str) -> Job:
        """Return a row."""
        return self.store.fetch([id])[id]

    def wait_for_state(self, id: str, state: str) -> None:
        """Return when a job is in *state*."""
        wait_for(lambda: self.row(id).state == state, f"{state} of {id}")

    def untaken(self) -> list[str]:
        """Return the ids of waiting jobs that were not taken up."""
        return list(self.store._tables.untaken)

    def requests(self) -> list[str]:
        """Return the names of what is still asked for."""
        return [each.name for each in self.writer.desk.requests(self.writer.epoch, 1_000_000)]


class Peer:
    """A client or a runner, by its line."""

    def __init__(self, address: str, hello: Hello) -> None:
        self._calls: deque[Call] = deque()
        self._heard: list[Message] = []
        self._changed = threading.Condition()
        self._reads = threading.Event()
        self._reads.set()
        self.line = dial([address], hello)
        self.ended = threading.Event()
        self.line.start(self._receive, self.ended.set)

    def _receive(self, messages: Sequence[Message]) -> None:
        with self._changed:
            self._heard.extend(messages)
            self._changed.notify_all()
        self._reads.wait(DEADLINE)

    @contextmanager
    def stopped(self) -> Iterator[Peer]:
        """Read nothing more than what is there already, meanwhile."""
        self._reads.clear()
        try:
            yield self
        finally:
            self._reads.set()

    def says(self, *messages: Message) -> None:
        """Say *messages* in one piece."""
        self.line.send(*messages)

    def offers(self, calls: Sequence[Call]) -> None:
        """Hint at calls."""
        self.says(Offer(calls))

    def ends(self, call: Call, state: str, *, delay: float = 0.0, key: str = "") -> Outcome:
        """Report how a call ended; *key* is of what is kept on the cluster."""
        outcome = end_of(call, state, finished=time.time(), delay=delay)._replace(key=key)
        self.says(Report([outcome]))
        return outcome

    def hears(self, kind: type[M]) -> M:
        """Return the next message of *kind*, which must come before the deadline."""
        with self._changed:

            def come() -> M | None:
                return next((each for each in self._heard if isinstance(each, kind)), None)

            assert self._changed.wait_for(come, DEADLINE), f"no {kind.__name__} came"
            message = come()
            assert message is not None
            self._heard.remove(message)
            return message

    def is_handed(self) -> Call:
        """Return the next call that it was handed."""
        if not self._calls:
            self._calls.extend(self.hears(Hand).calls)
        return self._calls.popleft()

    def heard(self, kind: type[M]) -> list[M]:
        """Return what was heard of *kind* so far, and not returned yet."""
        with self._changed:
            return [each for each in self._heard if isinstance(each, kind)]

    def close(self) -> None:
        """End the line."""
        self.line.close()
        assert self.ended.wait(DEADLINE)
