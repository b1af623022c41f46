"""The switchboard: events of lines and ledger to the broker, its instructions to both."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from dask_facade.broker import Broker
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.events import (
    Event,
    Heard,
    Instant,
    LineEnded,
    Refuse,
    Rules,
    RunnerUp,
    Send,
    Tick,
    Write,
    Wrote,
)
from dask_facade.exceptions import DaskFacadeError, LedgerRefused, LineRefused
from dask_facade.jobs import Batch, Written
from dask_facade.ledger.store import Lease
from dask_facade.line import AcceptedLine, frame, frames, is_token
from dask_facade.messages import (
    CLIENT,
    RUNNER,
    VERSION,
    Ack,
    Beat,
    Begun,
    Hello,
    Inputs,
    Leave,
    Message,
    Offer,
    Outcome,
    Pull,
    Report,
    Returned,
    Unwait,
    Wait,
    Welcome,
)

logger = logging.getLogger(__name__)

INPUTS_LIMIT = 16 * 2**20  # bytes of results in one message
QUIET = 8  # calls, up to which commits follow one another at once
ACK_AFTER = 0.02  # seconds
REST = 0.001  # seconds between two commits, at most
TICK_AFTER = 0.005  # seconds between two ticks, at least
_MAY_SAY: dict[str, tuple[type[Message], ...]] = {
    CLIENT: (Offer, Wait, Unwait),
    RUNNER: (Report, Begun, Returned, Pull, Leave),
}


class Switchboard:
    """The broker's body: the lines of a leader, and its group commits.

    What events ask to be written is collected for one turn of the loop, or for as long as the last
    commit takes, and goes to the ledger as one batch. *fail* gets what ends the leadership.
    """

    def __init__(
        self,
        writer: LedgerWriter,
        lease: Lease,
        lease_seconds: float,
        rules: Rules,
        fail: Callable[[BaseException], None],
    ) -> None:
        self._acks: dict[str, list[tuple[str, int]]] = {}
        self._alarm: asyncio.TimerHandle | None = None
        self._batch = Batch()
        self._broker = Broker(rules)
        self._closed = False
        self._committing = False
        self._fail = fail
        self._instances: dict[str, str] = {}
        self._lease = lease
        self._lease_seconds = lease_seconds
        self._lines: dict[str, AcceptedLine] = {}
        self._loop = asyncio.get_running_loop()
        self._rested = 0.0  # the loop's time from which the next commit may begin
        self._tasks: set[asyncio.Task[None]] = set()
        self._writer = writer

    @property
    def room(self) -> int:
        """How many more ready calls may be taken up."""
        return self._broker.room

    def step(self, event: Event) -> None:
        """Tell the broker of *event* and do what it says."""
        if self._closed:
            return
        for instruction in self._broker.step(event, Instant(time.monotonic(), time.time())):
            match instruction:
                case Send(peer, Ack(calls)):
                    self._hold_ack(peer, calls)
                case Send(peer, message):
                    self._say(peer, message)
                case Write(batch):
                    self._batch.extend(batch)
                    self._want_commit()
                case Refuse(reason):
                    logger.warning("refused: %s", reason)
        self._set_alarm(self._broker.wake)

    def _say(self, peer: str, message: Message) -> None:
        """Send *message*, and with it what was to be acknowledged."""
        line = self._lines.get(peer)
        if line is None:
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
        """Let the runners hear that the leader lives."""
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
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._tasks:
            task.cancel()
        for line in list(self._lines.values()):
            line.close()

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
            self.step(RunnerUp(hello.identity, hello.worker, tuple(hello.queues), hello.held))

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
            self.step(LineEnded(hello.identity, whole))

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

    def _want_commit(self) -> None:
        """Commit in this turn of the loop when it is quiet, after a rest when it is not.

        The rest is as long as the last commit took: so under load commits grow, and leave the
        database to submitters for half of the time.
        """
        if self._committing:
            return
        self._committing = True
        if self._loop.time() >= self._rested:
            self._loop.call_soon(self._commit)
        else:
            self._loop.call_at(self._rested, self._commit)

    def _commit(self) -> None:
        """Write what was collected: at once if it is small, else in the ledger's thread."""
        batch, self._batch = self._batch, Batch()
        begun = self._loop.time()
        try:
            written = self._writer.write_at_once(batch)
        except DaskFacadeError as error:
            self._fail(error)
            return
        if written is None:
            self._start(self._commit_patiently(batch, begun))
        else:
            self._committed(batch, written, begun)

    async def _commit_patiently(self, batch: Batch, begun: float) -> None:
        self._committed(batch, await self._writer.write(batch), begun)

    def _committed(self, batch: Batch, written: Written, begun: float) -> None:
        now = self._loop.time()
        self._rested = now + min(now - begun, REST) if len(self._broker) > QUIET else now
        self._committing = False
        self.step(Wrote(batch, written))
        if self._batch:
            self._want_commit()

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
