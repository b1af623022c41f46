"""A broker on a stage: a real ledger in memory behind it, lines that only remember what was said.

A test plays everybody else: runners, clients, the clock, and when the ledger commits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from dask_facade.broker import Broker
from dask_facade.events import (
    Event,
    Heard,
    Instant,
    LineEnded,
    Refuse,
    Rules,
    RunnerUp,
    Write,
    Wrote,
)
from dask_facade.jobs import Batch, Edge, Job, NewJob, Written
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.store import calls_of
from dask_facade.messages import Call, Hand, Held, Message, Offer, Outcome, Report, Shape
from dask_facade.states import SUCCESS

EPOCH = 1_700_000_000.0  # the wall clock when the steady one was at zero

M = TypeVar("M", bound=Message)


def new_job(
    id: str,
    *,
    task: str = "task",
    queue: str = "celery",
    priority: int = 0,
    due: float | None = None,
    acks_late: bool = False,
    shape: int = Shape.NOTHING,
) -> NewJob:
    """Return a job; *due* is on the stage's steady clock."""
    return NewJob(
        id=id,
        task=task,
        queue=queue,
        priority=priority,
        payload=b"j[[],{}]",
        preview="",
        eta=None if due is None else datetime.fromtimestamp(EPOCH + due, UTC),
        acks_late=acks_late,
        ignore_result=False,
        root_id=id,
        parent_id=None,
        group_id=None,
        shape=shape,
    )


def end_of(
    call: Call, state: str = SUCCESS, *, runtime: float = 0.001, finished: float = EPOCH
) -> Outcome:
    """Return an outcome of *call*."""
    return Outcome(
        id=call.id,
        attempt=call.attempt,
        hand=call.hand,
        state=state,
        result=b"jnull",
        preview="None",
        traceback=None,
        started=EPOCH,
        finished=finished,
        runtime=runtime,
    )


class Stage:
    """The broker, its ledger, and what it said to whom."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.now = 1_000.0
        self.store = MemoryStore(clock=lambda: EPOCH + self.now)
        self.desk = self.store.open_desk()
        self.broker = Broker(rules)
        self.measured = 0
        self.refused: list[str] = []
        self.said: dict[str, list[Message]] = {}
        self.untold: deque[tuple[Batch, Written]] = deque()  # committed; the broker does not know
        self.unwritten: list[Batch] = []
        self.epoch = self._lead()

    def _lead(self) -> int:
        lease = self.desk.lead("stage", (), b"secret", self.desk.lease())
        assert lease is not None
        return lease.epoch

    def take_over(self, rules: Rules | None = None) -> None:
        """Let another dispatcher lead: what was not committed is gone, and so are the lines."""
        self.unwritten.clear()
        self.untold.clear()
        self.said.clear()
        self.broker = Broker(rules)
        self.epoch = self._lead()
        self.desk.forget_taken(self.epoch)

    # The broker

    def step(self, event: Event) -> None:
        """Tell the broker, and remember what it says."""
        for instruction in self.broker.step(event, Instant(self.now, EPOCH + self.now)):
            match instruction:
                case Write(batch):
                    self.unwritten.append(batch)
                case Refuse(reason):
                    self.refused.append(reason)
                case sent:
                    self.send(sent.peer, sent.message)

    def send(self, peer: str, message: Message) -> None:
        """Remember what the broker says to *peer*."""
        self.said.setdefault(peer, []).append(message)

    def hear(self, peer: str, message: Message) -> None:
        """Let *peer* say something to the broker."""
        self.step(Heard(peer, message))

    # The ledger

    def write(self, batches: int | None = None) -> None:
        """Commit the first *batches* (None: all) as one, without telling the broker yet."""
        batch = Batch()
        for each in self.unwritten[:batches]:
            batch.extend(each)
        del self.unwritten[:batches]
        self.untold.append((batch, self.desk.write(self.epoch, batch)))

    def tell(self) -> None:
        """Tell the broker of the oldest commit that it does not know."""
        self.step(Wrote(*self.untold.popleft()))

    def commit(self) -> None:
        """Commit what was asked for so far, and tell the broker."""
        self.write()
        self.tell()

    def settle(self) -> None:
        """Commit until the broker asks for nothing more."""
        while self.unwritten or self.untold:
            if not self.untold:
                self.write()
            self.tell()

    def submit(self, *jobs: NewJob, edges: Sequence[Edge] = ()) -> list[Call]:
        """Write rows; return the calls of those that wait for nothing."""
        self.store.submit(jobs, edges, lambda created: None)
        waiting = {edge.child_id for edge in edges}
        return calls_of(jobs, EPOCH + self.now, waiting)

    def offer(self, *jobs: NewJob) -> list[Call]:
        """Write rows and hint at them; return the calls."""
        calls = self.submit(*jobs)
        self.hear("submitter", Offer(calls))
        return calls

    def row(self, id: str) -> Job:
        """Return a row."""
        return self.store.fetch([id])[id]

    # Peers

    def runner(
        self, id: str, *, worker: str = "", queues: Sequence[str] = (), held: Sequence[Held] = ()
    ) -> None:
        """Let a runner dial; its worker is named like it unless said otherwise."""
        self.step(RunnerUp(id, worker or f"worker of {id}", queues, held))

    def run(self, runner: str, call: Call, *, runtime: float = 0.001) -> None:
        """Let *runner* report that *call* ended well."""
        self.hear(runner, Report([end_of(call, runtime=runtime)]))

    def measure(self, task: str, runtime: float) -> None:
        """Let the broker learn how long *task* takes; nothing is left of how it did."""
        self.runner("measuring")
        self.measured += 1
        self.offer(new_job(f"measured {self.measured}", task=task))
        self.settle()
        (call,) = self.handed("measuring")
        self.run("measuring", call, runtime=runtime)
        self.settle()
        self.end("measuring")
        self.said.clear()

    def end(self, peer: str, *, whole: bool = True) -> None:
        """End the line of *peer*."""
        self.step(LineEnded(peer, whole))

    def heard(self, peer: str, kind: type[M]) -> list[M]:
        """Return what *peer* was told of one kind."""
        return [message for message in self.said.get(peer, ()) if isinstance(message, kind)]

    def handed(self, runner: str) -> list[Call]:
        """Return all calls that *runner* was handed."""
        return [call for hand in self.heard(runner, Hand) for call in hand.calls]


def ids(calls: Iterable[Call | Outcome]) -> list[str]:
    """Return the ids of calls or of outcomes."""
    return [call.id for call in calls]
