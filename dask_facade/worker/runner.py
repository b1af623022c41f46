"""The runner: a long-lived Dask task that takes calls from the dispatcher and runs them."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from distributed import get_worker, secede
from distributed.core import Status

from dask_facade.exceptions import LineClosed, LineRefused
from dask_facade.ids import new_id
from dask_facade.line import DialledLine, dial
from dask_facade.messages import (
    RUNNER,
    VERSION,
    Ack,
    Beat,
    Begun,
    Call,
    Hand,
    Held,
    Hello,
    Inputs,
    Leave,
    Message,
    Outcome,
    Pull,
    Recall,
    Report,
    Returned,
)
from dask_facade.registry import tasks
from dask_facade.worker import preload
from dask_facade.worker.execution import Execution

logger = logging.getLogger(__name__)

REDIAL = 0.2  # seconds between two attempts to reach the dispatcher
STOPPED = 30.0  # seconds between two messages after which the process must have been stopped
LEAVE_TIMEOUT = 5.0  # seconds for the dispatcher to answer Leave
GIVE_UP = 60.0  # seconds without a dispatcher after which a runner ends


@dataclass(frozen=True, slots=True)
class Slot:
    """What a dispatcher tells a runner that it places."""

    runner: str
    token: str
    addresses: tuple[str, ...]  # of the dispatcher
    queues: tuple[str, ...]
    settings_module: str  # "" without Django
    paths: tuple[str, ...]  # for sys.path, where they exist on the worker
    result_limit: int  # bytes


def run(slot: Slot) -> str:
    """Serve calls on this Dask worker until the dispatcher or the worker ends it; say why."""
    worker = get_worker()
    secede()  # the slot goes back at once: plain Dask work is not starved
    closer: list[Callable[[], None]] = []

    def find(name: str) -> object:
        preload.prepare(slot.settings_module, slot.paths)
        return tasks.find(name)

    def around() -> None:
        if not closer:  # by now the task was found, so the process is prepared
            closer.append(preload.connection_closer(slot.settings_module))
        closer[0]()

    execution = Execution(
        find=find,  # type: ignore[arg-type]  # the registry holds runnables
        hostname=f"{socket.gethostname()}/{worker.name}",
        result_limit=slot.result_limit,
        around=around,
    )
    hello = Hello(VERSION, RUNNER, slot.runner, slot.token, new_id(), worker.address, slot.queues)
    runner = Runner(hello, slot.addresses, execution.run, lambda: _is_open(worker.status))
    return runner.serve()


def _is_open(status: Status) -> bool:
    return status in (Status.running, Status.paused, Status.init)


class Runner:
    """Takes calls from a line, runs them one by one, and keeps outcomes until they are committed.

    Two threads: the one that calls `serve` runs the calls and writes to the line; the line's own
    reader fills the window. *is_open* tells whether the worker still is a member of its cluster.
    """

    def __init__(
        self,
        hello: Hello,
        addresses: Sequence[str],
        execute: Callable[[Call, Callable[[], Sequence[bytes]]], Outcome],
        is_open: Callable[[], bool],
    ) -> None:
        self._abandoned = False  # no dispatcher was there to take what is kept
        self._addresses = addresses
        self._changed = threading.Condition()
        self._execute = execute
        self._heard = 0.0  # monotonic: when the dispatcher last said anything
        self._hello = hello
        self._inputs: queue.SimpleQueue[Inputs | None] = queue.SimpleQueue()
        self._is_open = is_open
        self._kept: dict[tuple[str, int], Outcome] = {}
        self._leaving_since: float | None = None  # monotonic: its worker closes
        self._line: DialledLine | None = None
        self._over = False  # nobody serves any more
        self._reason = ""  # why it ends, once it does
        self._running: Call | None = None
        self._window: deque[Call] = deque()

    def serve(self) -> str:
        """Run calls until told to leave; return why it ended."""
        self._dial()
        outcome: Outcome | None = None
        while True:
            call = self._turn(outcome)
            if call is None and self._is_done():
                break
            outcome = None
            if call is not None:
                outcome = self._execute(call, partial(self._pull, call))
                with self._changed:
                    self._kept[call.id, call.hand] = outcome
                    self._running = None
        with self._changed:
            self._over = True
            line = self._line
        if line is not None:
            line.close()
        return self._reason

    def _is_done(self) -> bool:
        return bool(self._reason) and (not self._kept or self._abandoned)

    def _turn(self, outcome: Outcome | None) -> Call | None:
        """Report *outcome* and return the call that begins now; without one, wait for a call.

        None after a report that nothing follows at once, and when it is time to end. The call
        counts as running, and its mark is on its way, before the lock is free again: so what a new
        line is told is held is exactly what has begun.
        """
        with self._changed:
            call = self._pop() if outcome is not None else self._wait_for_call()
            said: list[Message] = []
            if outcome is not None:
                said.append(Report([outcome]))
            if call is not None and call.marked:
                said.append(Begun(call.id, call.hand))
            if said and not self._say(said):
                return None  # the line went: the call is disowned, the outcome kept
            self._running = call
            return call

    def _wait_for_call(self) -> Call | None:
        while True:
            call = self._pop()
            if call is not None:
                return call
            if not self._is_open():
                self._take_leave()
            if self._reason:
                self._give_back()
                if self._is_done():
                    return None
            self._changed.wait(1.0)

    def _take_leave(self) -> None:
        """Ask the dispatcher to hand nothing more, and end when it says that it has not.

        What it has claimed meanwhile arrives before its answer and is given back, so that it is
        not taken for begun when the line ends.
        """
        now = time.monotonic()
        if self._leaving_since is None:
            self._leaving_since = now
            heard = self._say([Leave()])
        else:
            heard = self._line is not None and now - self._leaving_since < LEAVE_TIMEOUT
        if not heard:
            self._reason = self._reason or "its worker closes"

    def _pop(self) -> Call | None:
        line = self._line
        if not self._window or line is None or self._reason or self._leaving_since is not None:
            return None
        if time.monotonic() - self._heard > line.welcome.lease:
            return None  # the dispatcher may have given its calls to others
        return self._window.popleft()

    def _give_back(self) -> None:
        """Say that what is in the window will not begin here."""
        returned = [(call.id, call.hand) for call in self._window]
        self._window.clear()
        if returned:
            self._say([Returned(returned)])

    def _say(self, messages: Sequence[Message]) -> bool:
        line = self._line
        if line is None:
            return False
        try:
            line.send(*messages)
        except LineClosed:
            return False
        return True

    def _pull(self, call: Call) -> Sequence[bytes]:
        """Fetch the results that *call* takes as a list; outlasts a change of line."""
        results: list[bytes] = []
        while True:
            while not self._inputs.empty():
                self._inputs.get_nowait()
            if not self._say([Pull(call.id, len(results))]):
                if self._abandoned or not self._is_open():
                    raise LineClosed("the dispatcher is away")
                time.sleep(REDIAL)
                continue
            answer = self._inputs.get()
            if answer is None or answer.id != call.id or answer.start != len(results):
                continue
            results.extend(answer.results)
            if len(results) >= answer.total:
                return results

    # On the reader's thread

    def _receive(self, messages: Sequence[Message]) -> None:
        now = time.monotonic()
        line = self._line
        if line is not None and now - self._heard > STOPPED:
            logger.warning("runner %s was stopped: its line ends", self._hello.identity)
            line.close()  # what it reads now is old: others may have these calls
            return
        self._heard = now
        for message in messages:
            match message:
                case Hand(calls):
                    with self._changed:
                        self._window.extend(calls)
                        self._changed.notify()
                case Ack(calls):
                    with self._changed:
                        for id, hand in calls:
                            self._kept.pop((id, hand), None)
                        if self._reason:
                            self._changed.notify()
                case Beat():
                    with self._changed:
                        self._changed.notify()
                case Recall():
                    with self._changed:
                        returned = [(call.id, call.hand) for call in self._window]
                        self._window.clear()
                    self._say([Returned(returned)])
                case Inputs():
                    self._inputs.put(message)
                case Leave():
                    with self._changed:
                        closing = self._leaving_since is not None
                        self._reason = self._reason or (
                            "its worker closes" if closing else "told to leave"
                        )
                        self._changed.notify()

    def _line_ended(self) -> None:
        with self._changed:
            self._line = None
            self._window.clear()  # begun by nobody here: the dispatcher may give them to others
            wanted = not self._over and not (self._is_done() and self._running is None)
            self._changed.notify()
        self._inputs.put(None)
        if wanted:
            self._dial()

    def _dial(self) -> None:
        """Reach the dispatcher, and say what is still in hand."""
        deadline = time.monotonic() + GIVE_UP
        while True:
            with self._changed:
                held = [Held(o.id, o.attempt, o.hand, True) for o in self._kept.values()]
                running = self._running
                if running is not None:
                    held.append(Held(running.id, running.attempt, running.hand, True))
            try:
                line = dial(self._addresses, self._hello._replace(held=held))
            except LineRefused as error:
                if not held:
                    self._end(f"the dispatcher refuses it: {error}")
                    return
                failure: Exception = error  # it may not have noticed the end of the last line
            except LineClosed as error:
                failure = error
            else:
                self._take(line)
                return
            if self._over or time.monotonic() > deadline or not self._is_open():
                self._end(str(failure))
                return
            time.sleep(REDIAL)

    def _take(self, line: DialledLine) -> None:
        """Serve *line*, and report on it what is kept."""
        with self._changed:
            over = self._over
            if not over:
                self._line, self._heard = line, time.monotonic()
            kept = list(self._kept.values())
            self._changed.notify()
        if over:
            line.close()
            return
        if kept:
            self._say([Report(kept)])
        line.start(self._receive, self._line_ended)

    def _end(self, reason: str) -> None:
        logger.error("runner %s ends: %s", self._hello.identity, reason)
        with self._changed:
            self._abandoned = True
            self._reason = self._reason or reason
            self._changed.notify()
