"""The switchboard: events of lines and ledger to the broker, its instructions to both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from dask_facade.broker import Broker
from dask_facade.dispatcher import revocations
from dask_facade.dispatcher.commits import Commits
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import (
    Event,
    Heard,
    Insert,
    Instant,
    LineEnded,
    LookedUp,
    LookUp,
    Note,
    Refuse,
    Rules,
    RunnerUp,
    Send,
    Tick,
    Write,
    Wrote,
)
from dask_facade.exceptions import LedgerRefused, LineRefused
from dask_facade.jobs import Batch, Written
from dask_facade.ledger.store import Lease, calls_of
from dask_facade.line import AcceptedLine, frame, frames, is_token
from dask_facade.messages import (
    CLIENT,
    NODE,
    RUNNER,
    VERSION,
    Ack,
    Answer,
    Ask,
    Beat,
    Begun,
    Call,
    Hand,
    Held,
    Hello,
    Inputs,
    Leave,
    Look,
    Message,
    Nudge,
    Offer,
    Outcome,
    Pull,
    Push,
    Report,
    Returned,
    Serve,
    Spawn,
    Spawned,
    Unsure,
    Unwait,
    Update,
    Wait,
    Welcome,
)
from dask_facade.states import SUCCESS
from dask_facade.worker import state as work

logger = logging.getLogger(__name__)

INPUTS_LIMIT = 16 * 2**20  # bytes of results in one message
PUSHED = 16 * 2**20  # bytes of results that who waits for them may leave unread
QUIET = 8  # calls, up to which commits follow one another at once
ACK_AFTER = 0.02  # seconds
TICK_AFTER = 0.005  # seconds between two ticks, at least
_MAY_SAY: dict[str, tuple[type[Message], ...]] = {
    CLIENT: (Offer, Wait, Unwait, Look, Nudge, Ask),
    NODE: (Answer,),
    RUNNER: (Report, Begun, Returned, Pull, Leave, Spawn, Update, Answer, Serve),
}


class Asking(Protocol):
    """Who sees to what clients ask workers."""

    def hear(self, peer: str, message: Ask | Answer) -> None:
        """Take what a client asks, or a worker answers."""

    def peer_gone(self, peer: str) -> None:
        """A line is gone."""


class Witness(Protocol):
    """Who wants to know, in the dispatcher's process, what becomes of calls. It must not wait."""

    def handed(self, calls: Sequence[Call]) -> None:
        """These calls are about to be sent to a runner."""

    def ended(self, outcomes: Sequence[Outcome]) -> None:
        """A runner says how these calls ended."""


class Switchboard:
    """The broker's body: the lines of a leader, and what is written because of them.

    *hurry* is called when the ledger must be looked at soon; *fail* gets what ends the leadership.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        reader: LedgerReader,
        lease: Lease,
        lease_seconds: float,
        rules: Rules,
        *,
        hurry: Callable[[], None],
        fail: Callable[[BaseException], None],
        witness: Witness | None = None,
    ) -> None:
        self._acks: dict[str, list[tuple[str, int]]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._asking: Asking | None = None
        self._broker = Broker(rules, work.revoked_stamps)
        self._closed = False
        self._commits = Commits(
            writer,
            self._wrote,
            self._spawned,
            is_quiet=lambda: len(self._broker) <= QUIET,
            fail=fail,
        )
        self._fail = fail
        self._hurry = hurry
        self._instances: dict[str, str] = {}
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._lines: dict[str, AcceptedLine] = {}
        self._now = writer.desk.now  # whatever this machine's wall clock says
        self._locals: dict[str, Callable[[Message], None]] = {}
        self._loop = asyncio.get_running_loop()
        self._reader = reader
        self._tasks: set[asyncio.Task[None]] = set()
        self._witness = witness
        self._writer = writer

    @property
    def unwanted(self) -> frozenset[str]:
        """The queues of which no rows are to be taken up: those that are paused or full."""
        return self._broker.unwanted

    @property
    def room(self) -> int:
        """How many more calls of the other queues may be taken up."""
        return self._broker.room

    def step(self, event: Event) -> None:
        """Tell the broker of *event* and do what it says."""
        if self._closed:
            return
        match event:
            case Heard(_, Report(outcomes)) if self._witness is not None:
                self._witness.ended(outcomes)
            case Wrote(_, written):
                if reasons := revocations.untold(written.outcomes):
                    self._start(revocations.tell(self._reader, reasons))
        for instruction in self._broker.step(event, Instant(time.monotonic(), self._now())):
            match instruction:
                case Send(peer, Ack(calls)) if peer in self._lines:
                    self._hold_ack(peer, calls)
                case Send(peer, message):
                    if self._witness is not None and isinstance(message, Hand):
                        self._witness.handed(message.calls)
                    self._say(peer, message)
                case Write(batch):
                    self._commits.write(batch)
                case Insert(peer, spawn):
                    self._commits.spawn(peer, spawn)
                case Note(update):
                    self._commits.update(update)
                case LookUp(peer, ids):
                    self._start(self._look_up(peer, ids))
                case Refuse(reason):
                    logger.warning("refused: %s", reason)
        self._set_alarm(self._broker.wake)

    def knows(self, id: str) -> bool:
        """Tell whether the broker has a job, ready or in flight."""
        return self._broker.knows(id)

    def is_aborting(self, id: str) -> bool:
        """As the broker has it."""
        return self._broker.is_aborting(id)

    def is_revoking(self, id: str) -> bool:
        """Tell whether the broker is still to end a job."""
        return self._broker.is_revoking(id)

    def ask_with(self, asking: Asking) -> None:
        """Let *asking* see to what clients ask workers."""
        self._asking = asking

    def runners(self) -> Iterator[Hello]:
        """Return how the runners dialled whose lines are up."""
        for line in self._lines.values():
            if line.hello is not None and line.hello.role == RUNNER:
                yield line.hello

    def listeners(self) -> Iterator[Hello]:
        """Return how those dialled whose lines are up, and that answer, but run nothing."""
        for line in self._lines.values():
            if line.hello is not None and line.hello.role == NODE:
                yield line.hello

    def held_by(self, runner: str) -> list[tuple[Call, float | None]]:
        """Return the calls that a runner has, and when each began: in seconds since the epoch."""
        ago = self._now() - time.monotonic()
        held = self._broker.held_by(runner)
        return [(call, None if begun is None else begun + ago) for call, begun in held]

    def waiting(self, queues: Collection[str]) -> int:
        """As the broker has it."""
        return self._broker.waiting(queues)

    def idle(self) -> dict[str, int]:
        """As the broker has it."""
        return self._broker.idle()

    def due(self) -> list[Call]:
        """Return the calls that the broker has, and that wait for their time."""
        return self._broker.due()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Do *work* until the end; what it raises ends the leadership."""
        self._start(work)

    # What is said to peers

    def say(self, peer: str, message: Message) -> None:
        """Send *message*, if the line is up."""
        self._say(peer, message)

    def _say(self, peer: str, message: Message) -> None:
        """Send *message*, and with it what was to be acknowledged."""
        receive = self._locals.get(peer)
        if receive is not None:
            self._loop.call_soon(receive, message)  # it may answer: not within a step
            return
        line = self._lines.get(peer)
        if line is None:
            return
        if isinstance(message, Push):
            _push(line, message.outcomes)
            return
        acks = self._acks.pop(peer, None)
        line.send((frames(Ack(acks)) if acks else b"") + frames(message))

    def _hold_ack(self, peer: str, calls: Sequence[tuple[str, int]]) -> None:
        """Acknowledge with the next message, or soon: nobody waits for it."""
        if not self._acks:
            self._loop.call_later(ACK_AFTER, self._send_acks)
        self._acks.setdefault(peer, []).extend(calls)

    def _send_acks(self) -> None:
        acks, self._acks = self._acks, {}
        for peer, calls in acks.items():
            line = self._lines.get(peer)
            if line is not None:
                line.send(frames(Ack(calls)))

    def beat(self) -> None:
        """Let the runners hear that the leader lives; forget those that are gone for good."""
        gone = [id for id in self._instances if not self._broker.has_runner(id)]
        for id in gone:
            del self._instances[id]
        data = frame(Beat())
        for line in self._lines.values():
            if line.hello is not None and line.hello.role == RUNNER:
                line.send(data)

    async def drained(self, timeout: float) -> None:
        """Wait until nothing is in flight, *timeout* seconds at most."""
        deadline = time.monotonic() + timeout
        while self._broker.in_flight and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if self._broker.in_flight:
            logger.warning("%d calls are left in flight", self._broker.in_flight)

    def close(self) -> None:
        """End the lines; nothing is handed out or written any more."""
        self._closed = True
        self._send_acks()
        self._commits.close()
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._tasks:
            task.cancel()
        for line in list(self._lines.values()):
            line.close()

    # Peers in this process

    def add_local(
        self, identity: str, receive: Callable[[Message], None], held: Sequence[Held] = ()
    ) -> None:
        """Let *receive* get what is said to the runner *identity*, which is up from now on."""
        self._locals[identity] = receive
        self.step(RunnerUp(identity, identity, (), held))

    def say_local(self, identity: str, message: Message) -> None:
        """Hear what a local runner says."""
        self.step(Heard(identity, message))

    # What lines tell

    def greet(self, hello: Hello) -> Welcome:
        """Admit clients and runners of this release that have a token."""
        if hello.version != VERSION:
            raise LineRefused(
                f"it speaks version {hello.version} of the messages, this dispatcher {VERSION}: "
                "install the same release of dask_facade on both ends"
            )
        if hello.role not in _MAY_SAY or not is_token(self._lease.secret, hello):
            raise LineRefused("its token is not of this ledger")
        if self._closed:
            raise LineRefused("this dispatcher ends")
        if hello.role == RUNNER:
            instance = self._instances.setdefault(hello.identity, hello.instance)
            if instance != hello.instance:
                raise LineRefused(f"runner {hello.identity} was started twice")
        elif hello.identity in self._lines:
            raise LineRefused(f"{hello.identity} has a line already")
        return Welcome(VERSION, self._lease.epoch, self._lease_seconds)

    def opened(self, line: AcceptedLine, hello: Hello) -> None:
        """Let the broker know of a runner; the end of its last line may not have been noticed."""
        last = self._lines.get(hello.identity)
        if last is not None:
            self.ended(last, False)
            last.close()
        self._lines[hello.identity] = line
        if hello.role == RUNNER:
            logger.info("runner %s on %s is up", hello.identity, hello.worker)
            queues = tuple(hello.queues)
            self.step(RunnerUp(hello.identity, hello.worker, queues, hello.held, hello.rates))

    def received(self, line: AcceptedLine, messages: Sequence[Message]) -> None:
        """Pass messages on; the reports of one read as one, and of the begin marks the last."""
        hello = line.hello
        assert hello is not None
        outcomes: list[Outcome] = []
        mark: Begun | None = None
        for message in messages:
            if not isinstance(message, _MAY_SAY[hello.role]):
                logger.warning("%s said %s: its line ends", hello.identity, type(message).__name__)
                line.close()
                return
            match message:
                case Report(more):
                    outcomes.extend(more)
                case Begun():
                    mark = message
                case Pull():
                    self._start(self._answer(hello.identity, message))
                case Nudge():
                    self._hurry()
                case Serve(queues):
                    line.hello = hello = hello._replace(queues=queues)
                    self.step(Heard(hello.identity, message))
                case Ask() | Answer():
                    if self._asking is not None:
                        self._asking.hear(hello.identity, message)
                case _:
                    self.step(Heard(hello.identity, message))
        if outcomes:
            self.step(Heard(hello.identity, Report(outcomes)))
        if mark is not None:
            self.step(Heard(hello.identity, mark))

    def ended(self, line: AcceptedLine, whole: bool) -> None:
        """Let the broker know that a peer is gone."""
        hello = line.hello
        assert hello is not None
        if self._lines.get(hello.identity) is line:
            del self._lines[hello.identity]
            if self._asking is not None:
                self._asking.peer_gone(hello.identity)
            self.step(LineEnded(hello.identity, whole))

    async def _look_up(self, peer: str, ids: Sequence[str]) -> None:
        outcomes, untold = await self._reader.ends(ids)
        self.step(LookedUp(peer, outcomes, untold))

    async def _answer(self, peer: str, pull: Pull) -> None:
        desk = self._writer.desk
        try:
            results, total = await self._writer.run(
                lambda: desk.inputs(pull.id, pull.start, INPUTS_LIMIT)
            )
        except LedgerRefused as error:
            logger.warning("%s pulled what cannot be: %s", peer, error)
            if peer in self._lines:
                self._lines[peer].close()
            return
        self._say(peer, Inputs(pull.id, pull.start, results, total))

    # Commits and alarms

    def _wrote(self, batch: Batch, written: Written) -> None:
        for outcome in written.outcomes:
            if outcome.state == SUCCESS:
                work.successful_requests.add(outcome.id)
        self.step(Wrote(batch, written))

    def _spawned(self, peer: str, spawn: Spawn, answer: Spawned) -> None:
        """Answer, and take what is ready as if it was hinted at."""
        self._say(peer, answer)
        if answer.refusal:
            return
        later = {job.id for job in spawn.jobs if job.delay}  # the ledger says when it is due
        later.update(edge.child_id for edge in spawn.edges)
        self.step(Heard(peer, Offer(calls_of(spawn.jobs, answer.created, later))))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _set_alarm(self, wake: float | None) -> None:
        if wake is None:
            return
        at = self._loop.time() + max(TICK_AFTER, wake - time.monotonic())
        if self._alarm is not None:
            if self._alarm.when() <= at:
                return
            self._alarm.cancel()
        self._alarm = self._loop.call_at(at, self._on_alarm)

    def _on_alarm(self) -> None:
        self._alarm = None
        self.step(Tick())


def _push(line: AcceptedLine, outcomes: Sequence[Outcome]) -> None:
    """Send ends of jobs, as far as they are read; of the others, that the ledger has them."""
    room = PUSHED - line.unread
    told: list[Outcome] = []
    untold: list[str] = []
    for outcome in outcomes:
        room -= len(outcome.result or b"")
        if room >= 0:
            told.append(outcome)
        else:
            untold.append(outcome.id)
    if told:
        line.send(frames(Push(told)))
    if untold:
        line.send(frames(Unsure(untold)))
