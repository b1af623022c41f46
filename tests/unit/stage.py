"""A broker on a stage: a real ledger in memory behind it, lines that only remember what was said.

A test plays everybody else: runners, clients, the clock, and when the ledger commits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from dask_facade.broker import Broker
from dask_facade.events import (
    Event,
    Heard,
    Insert,
    Instant,
    LineEnded,
    LookedUp,
    LookUp,
    Note,
    Paused,
    Refuse,
    Revoke,
    Rules,
    RunnerUp,
    Send,
    Write,
    Wrote,
)
from dask_facade.jobs import Batch, Job, Written
from dask_facade.jobs import end_of as end_of_row
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.store import calls_of
from dask_facade.messages import (
    Again,
    Call,
    Edge,
    Hand,
    Held,
    Message,
    NewJob,
    Offer,
    Outcome,
    Report,
    Shape,
    Spawned,
    Update,
)
from dask_facade.packing import pack_again
from dask_facade.states import READY_STATES, SUCCESS
from dask_facade.verdicts import WITHDRAWN

NOTHING = Written((), (), (), (), ())
EPOCH = 1_700_000_000.0  # the wall clock when the steady one was at zero

M = TypeVar("M", bound=Message)


def new_job(
    id: str,
    *,
    task: str = "task",
    queue: str = "celery",
    priority: int = 0,
    due: float | None = None,
    expires: float | None = None,
    delay: float = 0.0,
    acks_late: bool = False,
    graph: bool = False,
    parent_id: str | None = None,
    shape: int = Shape.NOTHING,
) -> NewJob:
    """Return a job; *due* and *expires* are on the stage's steady clock."""
    return NewJob(
        id=id,
        task=task,
        queue=queue,
        priority=priority,
        payload=b"j[[],{}]",
        preview="",
        due=None if due is None else EPOCH + due,
        expires=None if expires is None else EPOCH + expires,
        delay=delay,
        acks_late=acks_late,
        ignore_result=False,
        graph=graph,
        owner="",
        root_id=id,
        parent_id=parent_id,
        group_id=None,
        shape=shape,
        options=b"",
        errbacks=b"",
    )


def end_of(
    call: Call,
    state: str = SUCCESS,
    *,
    runtime: float = 0.001,
    finished: float = EPOCH,
    delay: float = 0.0,
) -> Outcome:
    """Return an outcome of *call*; with RETRY and PENDING, it goes on after *delay* seconds."""
    goes_on = state not in READY_STATES
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
        again=pack_again(Again(delay, b"", [], [], [])) if goes_on else b"",
    )


class Told(NamedTuple):
    """A commit, and what the ledger said."""

    batch: Batch
    written: Written
    spawned: Sequence[tuple[Insert, Spawned]] = ()


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
        self.taken = NOTHING  # last time that rows were taken up
        self.lookups: deque[LookUp] = deque()
        self.notes: list[Update] = []
        self.unwritten: list[Batch] = []
        self.unspawned: list[Insert] = []
        self.untold: deque[Told] = deque()  # committed; the broker does not know
        self.epoch = self._lead()

    def _lead(self) -> int:
        lease = self.desk.lead("stage", (), b"secret", self.desk.lease())
        assert lease is not None
        return lease.epoch

    def take_over(self, rules: Rules | None = None) -> None:
        """Let another dispatcher lead: what was not committed is gone, and so are the lines."""
        self.lookups.clear()
        self.unspawned.clear()
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
                case Insert() as insert:
                    self.unspawned.append(insert)
                case Note(update):
                    self.notes.append(update)
                case LookUp() as lookup:
                    self.lookups.append(lookup)
                case Refuse(reason):
                    self.refused.append(reason)
                case Send(peer, message):
                    self.send(peer, message)

    def send(self, peer: str, message: Message) -> None:
        """Remember what the broker says to *peer*."""
        self.said.setdefault(peer, []).append(message)

    def hear(self, peer: str, message: Message) -> None:
        """Let *peer* say something to the broker."""
        self.step(Heard(peer, message))

    # The ledger

    def write(self, batches: int | None = None) -> None:
        """Commit the first *batches* (None: all) as one, without telling the broker yet.

        What running calls submit goes before it.
        """
        inserts, self.unspawned = self.unspawned, []
        answers = self.desk.spawn(self.epoch, [each.spawn for each in inserts])
        batch = Batch()
        for each in self.unwritten[:batches]:
            batch.extend(each)
        del self.unwritten[:batches]
        written = self.desk.write(self.epoch, batch)
        self.untold.append(Told(batch, written, list(zip(inserts, answers, strict=True))))

    def tell(self) -> None:
        """Tell the broker of the oldest commit that it does not know."""
        told = self.untold.popleft()
        for (peer, spawn), answer in told.spawned:
            self.send(peer, answer)
            if not answer.refusal:
                waiting = {edge.child_id for edge in spawn.edges}
                self.hear(peer, Offer(calls_of(spawn.jobs, answer.created, waiting)))
        self.step(Wrote(told.batch, told.written))

    def commit(self) -> None:
        """Commit what was asked for so far, and tell the broker."""
        self.write()
        self.tell()

    def settle(self) -> None:
        """Commit until the broker asks for nothing more."""
        while self.unwritten or self.untold or self.unspawned:
            if not self.untold:
                self.write()
            self.tell()

    def revoke(self, *ids: str, terminate: bool = False) -> set[str]:
        """Do as the leader does when somebody asks for it; return the ids that no row has."""
        self.step(Revoke(ids, terminate))
        written, unknown = self.desk.revoke(self.epoch, ids, WITHDRAWN)
        self.untold.append(Told(Batch(), written))
        return unknown

    def pause(self, queue: str, *, paused: bool = True) -> None:
        """Pause a queue, or let it go on."""
        self.desk.pause(self.epoch, queue, paused=paused)
        self.step(Paused(self.desk.paused()))

    def look_up(self) -> None:
        """Answer the oldest question of how jobs ended."""
        peer, ids = self.lookups.popleft()
        jobs = [job for job in self.store.fetch(ids).values() if job.ready]
        self.step(LookedUp(peer, [end_of_row(job) for job in jobs], ()))

    def take_up(self, grace: float = 1.0, horizon: float = 2.0, limit: int = 1_000) -> None:
        """Let the broker have the rows that nobody hinted at, or whose time comes."""
        unwanted = self.broker.unwanted
        self.taken = self.desk.take_up(self.epoch, grace, horizon, limit, unwanted)
        self.step(Wrote(Batch(), self.taken))

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
