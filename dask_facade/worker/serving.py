"""The runner's service: calls from a line, outcomes to it."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from dask_facade.exceptions import LineClosed, LineRefused, PayloadTooLarge
from dask_facade.line import DialledLine, dial
from dask_facade.messages import (
    Abort,
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
    Kill,
    Leave,
    Message,
    Outcome,
    Recall,
    Report,
    Returned,
    Serve,
    Spawned,
)
from dask_facade.states import SUCCESS
from dask_facade.worker import commands, state
from dask_facade.worker.arguments import Channel
from dask_facade.worker.channel import Aborts, CallChannel, Data, NoData, Pulls, Spawns, Voice
from dask_facade.worker.endings import failed, outcome_of, terminated
from dask_facade.worker.node import Node

logger = logging.getLogger(__name__)

REDIAL = 0.2  # seconds between two attempts to reach the dispatcher
STOPPED = 30.0  # seconds between two messages after which the process must have been stopped
LEAVE_TIMEOUT = 5.0  # seconds for the dispatcher to answer Leave
KILL_TIMEOUT = 2.0  # seconds for the dispatcher to take what a process says before its end
MOST_TOLD = 48 * 2**20  # bytes of an end, or of how a job goes on; a frame takes 64 MiB
GIVE_UP = 60.0  # seconds without a dispatcher after which a runner ends


class Executor(Protocol):
    """Who runs the calls of a runner."""

    @property
    def alone(self) -> bool:
        """Whether it has the process for itself."""

    def run(self, call: Call, channel: Channel) -> Outcome:
        """Run a call and return how it ended."""

    def kill(self, id: str, hand: int) -> bool:
        """End a call that runs in a process of its own; tell whether it does."""

    def end_process(self) -> None:
        """End this process at once."""

    def abandon(self) -> None:
        """Let go of what is shared with the process that this one was forked from."""

    def close(self) -> None:
        """End what was started to run calls."""


class Runner:
    """Takes calls from a line, runs them one by one, and keeps outcomes until they are committed.

    Two threads: the one that calls `serve` runs the calls and writes to the line; the line's own
    reader fills the window. *is_open* tells whether the worker still is a member of its cluster.
    """

    def __init__(
        self,
        hello: Hello,
        addresses: Sequence[str],
        executor: Executor,
        is_open: Callable[[], bool],
        data: Data | None = None,
        node: Node | None = None,
    ) -> None:
        self._aborts = Aborts()
        self._abandoned = False  # no dispatcher was there to take what is kept
        self._addresses = addresses
        self._changed = threading.Condition()
        self._data = NoData() if data is None else data
        self._executor = executor
        self._heard = 0.0  # monotonic: when the dispatcher last said anything
        self._hello = hello
        self._is_open = is_open
        self._kept: dict[tuple[str, int], Outcome] = {}
        self._killed: Call | None = None  # what it returns is not reported: it was told for it
        self._leaving_since: float | None = None  # monotonic: its worker closes
        self._line: DialledLine | None = None
        self._node = Node(hello.node) if node is None else node
        self._over = False  # nobody serves any more
        self._reason = ""  # why it ends, once it does
        self._running: Call | None = None
        self._pulls = Pulls(self._say, self._await_line)
        self._spawns = Spawns(self._say, self._await_line)
        self._voice = Voice(self._say)
        self._window: deque[Call] = deque()
        _runners.add(self)

    def serve(self) -> str:
        """Run calls until told to leave; return why it ended."""
        forget = state.add_window(self._waiting)
        self._node.runners.append(self)
        try:
            self._dial()
            self._take_turns()
        finally:
            self._close()
            forget()
            self._node.leave(self)
        return self._reason

    @property
    def is_abandoned(self) -> bool:
        """Whether nobody is there to take what comes of its calls."""
        return self._abandoned

    @property
    def queues(self) -> Sequence[str]:
        """The queues that it takes calls of; none: all."""
        return self._hello.queues

    def serve_queues(self, queues: Sequence[str]) -> None:
        """Take calls of other queues from now on."""
        with self._changed:
            self._hello = self._hello._replace(queues=queues)
        self._say([Serve(queues)])

    def retire(self) -> None:
        """Begin nothing more, and end."""
        with self._changed:
            if self._leaving_since is None:
                self._take_leave()
            self._changed.notify()

    def _waiting(self) -> list[state.WorkRequest]:
        with self._changed:
            return [state.WorkRequest(call, self._node.hostname) for call in self._window]

    def _take_turns(self) -> None:
        outcome: Outcome | None = None
        while True:
            call = self._turn(outcome)
            if call is None and self._is_done():
                return
            outcome = None if call is None else self._run(call)

    def _close(self) -> None:
        with self._changed:
            self._over = True
            line = self._line
        self._voice.close()
        self._executor.close()
        if line is not None:
            line.close()

    def _run(self, call: Call) -> Outcome | None:
        """Run *call* and return its outcome, which is kept; None if that was reported already."""
        channel = CallChannel(
            call, self._data, self._pulls, self._spawns, self._voice, self._aborts
        )
        state.begin(call, self._node.hostname)
        outcome = _tellable(call, self._executor.run(call, channel))
        state.end(call)
        channel.end()
        self._data.silence(call.id)
        with self._changed:
            self._running = None
            if self._killed is call:
                return None
            self._kept[call.id, call.hand] = outcome
            return outcome

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
                said += self._voice.unsaid()
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
        if not self._is_open():
            return None  # what begins now would end with the worker
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

    def _await_line(self) -> None:
        """Return when there is a line again; raise LineClosed when none will come."""
        with self._changed:
            while self._line is None:
                if self._abandoned or not self._is_open():
                    raise LineClosed("the dispatcher is away")
                self._changed.wait(REDIAL)

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
                            kept = self._kept.pop((id, hand), None)
                            if kept is not None and kept.state == SUCCESS:
                                state.successful_requests.add(id)
                        if self._reason:
                            self._changed.notify()
                    self._data.let_go(calls)
                case Beat():
                    with self._changed:
                        self._changed.notify()
                case Recall():
                    with self._changed:
                        returned = [(call.id, call.hand) for call in self._window]
                        self._window.clear()
                    self._say([Returned(returned)])
                case Inputs():
                    self._pulls.answer(message)
                case Spawned():
                    self._spawns.answer(message)
                case Kill(id, hand):
                    self._kill(id, hand)
                case Abort(id, hand):
                    with self._changed:
                        running = () if self._running is None else (self._running,)
                        self._aborts.add(id, hand, (*self._window, *running))
                case Ask():
                    self._take_command(message)
                case Leave():
                    with self._changed:
                        closing = self._leaving_since is not None
                        self._reason = self._reason or (
                            "its worker closes" if closing else "told to leave"
                        )
                        self._give_back()
                        self._changed.notify()

    def _take_command(self, ask: Ask) -> None:
        """Do a command of ours here, and one of the user's, which may take long, elsewhere."""
        if commands.is_ours(ask.command):
            self._answer(ask)
        else:
            threading.Thread(
                target=self._answer, args=(ask,), name="dask-facade-command", daemon=True
            ).start()

    def _answer(self, ask: Ask) -> None:
        said = commands.answer(self._node, ask)
        self._say([Answer(ask.number, self._node.hostname, said)])

    def _waits_on(self) -> bool:
        """Tell whether to wait on for a dispatcher: not once it is silent and another one leads.

        The system of one that is stopped, or cut off, still answers for it: its line does not end.
        """
        line = self._line
        if line is None or time.monotonic() - self._heard <= line.welcome.lease:
            return True
        found = self._data.dispatcher()
        if not found or line.address in found:
            return True
        logger.warning("runner %s leaves a silent dispatcher", self._hello.identity)
        self._addresses = (*found, *(each for each in self._addresses if each not in found))
        return False

    def _line_ended(self) -> None:
        with self._changed:
            self._line = None
            self._window.clear()  # begun by nobody here: the dispatcher may give them to others
            wanted = not self._over and not (self._is_done() and self._running is None)
            self._changed.notify()
        self._pulls.line_ended()
        self._spawns.line_ended()
        if wanted:
            self._dial()

    def _dial(self) -> None:
        """Reach the dispatcher, and say what is still in hand."""
        deadline = time.monotonic() + GIVE_UP
        addresses = self._addresses
        while True:
            with self._changed:
                held = [Held(o.id, o.attempt, o.hand, True) for o in self._kept.values()]
                running = self._running
                if running is not None:
                    held.append(Held(running.id, running.attempt, running.hand, True))
            try:
                hello = self._hello._replace(held=held, rates=self._node.rates())
                line = dial(addresses, hello)
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
            addresses = self._known_addresses()

    def _known_addresses(self) -> Sequence[str]:
        """Return where the dispatcher may be: first, where the scheduler says that it is now."""
        found = self._data.dispatcher()
        return (*found, *(each for each in self._addresses if each not in found))

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
        line.start(self._receive, self._line_ended, self._waits_on)

    def _end(self, reason: str) -> None:
        logger.error("runner %s ends: %s", self._hello.identity, reason)
        with self._changed:
            self._abandoned = True
            self._reason = self._reason or reason
            self._changed.notify()

    # When a call is to be ended

    def _kill(self, id: str, hand: int) -> None:
        """End a call at once, as REVOKED. One that has ended by itself stays as it ended."""
        with self._changed:
            waiting = next((c for c in self._window if (c.id, c.hand) == (id, hand)), None)
            if waiting is not None:
                self._window.remove(waiting)
                outcome = self._revoked(waiting)
            running = self._running
        if waiting is not None:
            self._say([Report([outcome])])
        elif running is None or (running.id, running.hand) != (id, hand):
            logger.debug("call %s is not here any more", id)
        elif self._executor.kill(id, hand):
            logger.info("call %s was killed", id)
        elif self._executor.alone:
            threading.Thread(
                target=self._end_with, args=(running,), name="dask-facade-kill", daemon=True
            ).start()
        else:
            logger.error(
                "call %s (%s) goes on: it runs in one of several threads of its process, which "
                "cannot be ended for it. Give the task isolate=True or a time limit, or its "
                "worker one thread",
                id,
                running.task,
            )

    def _end_with(self, call: Call) -> None:
        """End the process that runs *call*, once the dispatcher knows all that it should.

        That hands nothing more to this runner, and what it has handed is given back: so nothing
        but *call* ends with the process. If *call* ends first, only the runner does.
        """
        with self._changed:
            if self._running is not call:
                return
            self._killed = call
            outcome = self._revoked(call)
            self._leaving_since = time.monotonic()
            self._say([Leave()])
            self._give_back()
            self._say([Report([outcome])])
        deadline = time.monotonic() + KILL_TIMEOUT
        with self._changed:
            while time.monotonic() < deadline and not (self._reason and not self._kept):
                self._changed.wait(0.05)
            self._give_back()
            if self._running is not call:
                return
        logger.warning("process %s ends with call %s (%s)", os.getpid(), call.id, call.task)
        self._executor.end_process()

    def _revoked(self, call: Call) -> Outcome:
        """Return, and keep, the outcome of a call that is ended on request; the lock is held."""
        outcome = outcome_of(call, terminated(), time.time(), 0.0)
        self._kept[call.id, call.hand] = outcome
        return outcome

    def abandon(self) -> None:
        """Let go of line and children without ending them: in a forked process."""
        if self._line is not None:
            self._line.abandon()
        self._executor.abandon()


def _tellable(call: Call, outcome: Outcome) -> Outcome:
    """Return *outcome*; in place of one that no frame takes, a failure that says so."""
    size = len(outcome.result or b"") + len(outcome.again)
    if size <= MOST_TOLD:
        return outcome
    error = PayloadTooLarge(f"what came of {call.task}[{call.id}]", size, MOST_TOLD)
    return outcome_of(call, failed(error, None), outcome.started or 0.0, outcome.runtime)


_runners: weakref.WeakSet[Runner] = weakref.WeakSet()


def _abandon_all() -> None:
    for runner in list(_runners):
        runner.abandon()


os.register_at_fork(after_in_child=_abandon_all)
