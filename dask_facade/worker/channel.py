"""What a call that runs in a runner's thread has of the world."""

from __future__ import annotations

import itertools
import logging
import os
import queue
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Protocol

from dask_facade.exceptions import (
    DuplicateTaskId,
    LedgerRefused,
    LineClosed,
    MalformedMessage,
    ResultLost,
    Superseded,
)
from dask_facade.messages import (
    DUPLICATE,
    SUPERSEDED,
    Call,
    Edge,
    Inputs,
    Message,
    NewJob,
    Pull,
    Spawn,
    Spawned,
    Update,
)

logger = logging.getLogger(__name__)

META_LIMIT = 16 * 2**20  # bytes of what a task says of its state
UPDATE_EVERY = 0.05  # seconds between two updates of a call, at least
UPDATE_RATE = 2**20  # bytes a second of them, at most


class Data(Protocol):
    """The cluster's data, as `worker.data.WorkerData` has it."""

    def keep(self, job_id: str, hand: int, value: Any) -> str:
        """Keep a result and return its key."""

    def let_go(self, calls: Iterable[tuple[str, int]]) -> None:
        """Hold the results of these (id, hand) no longer: the ledger knows of them."""

    def take(self, job_id: str, key: str) -> Any:
        """Return a result; raise ResultLost."""

    def emit(self, job_id: str, value: Any) -> None:
        """Put *value* into the queue of what the job says."""

    def silence(self, job_id: str) -> None:
        """Let go of that queue."""

    def dispatcher(self) -> Sequence[str]:
        """Return the addresses of the leading dispatcher, as the scheduler knows them."""


class NoData:
    """Stands for the data of a cluster where there is none."""

    def keep(self, job_id: str, hand: int, value: Any) -> str:
        raise ConnectionError("there is no cluster to keep it on")

    def let_go(self, calls: Iterable[tuple[str, int]]) -> None:
        """Nothing is kept."""

    def take(self, job_id: str, key: str) -> Any:
        raise ResultLost(f"the result of job {job_id!r} is on a cluster, and here is none")

    def emit(self, job_id: str, value: Any) -> None:
        """Nobody hears it."""

    def silence(self, job_id: str) -> None:
        """There is none."""

    def dispatcher(self) -> Sequence[str]:
        return ()


class Voice:
    """Says updates from a thread of its own, so that no task ever waits for the line.

    The last one counts: what comes faster than it may be said takes the place of what waits.
    """

    def __init__(self, say: Callable[[Sequence[Update]], object]) -> None:
        self._changed = threading.Condition()
        self._over = False
        self._say = say
        self._saying = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: Update | None = None

    def update(self, update: Update) -> None:
        """Say *update* soon."""
        with self._changed:
            self._waiting = update
            if self._thread is None and not self._over:
                self._thread = threading.Thread(
                    target=self._run, name="dask-facade-voice", daemon=True
                )
                self._thread.start()
            self._changed.notify()

    def unsaid(self) -> list[Update]:
        """Take back what has not been said yet; what is being said has been, when it returns."""
        if self._thread is None:
            return []
        with self._saying:
            return self._taken()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._over = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._over or self._waiting is not None)
                if self._over:
                    return
            with self._saying:
                said = self._taken()
                self._say(said)
            pause = max(UPDATE_EVERY, sum(len(each.meta) for each in said) / UPDATE_RATE)
            with self._changed:
                self._changed.wait_for(lambda: self._over, pause)

    def _taken(self) -> list[Update]:
        with self._changed:
            update, self._waiting = self._waiting, None
            return [] if update is None else [update]


class Spawns:
    """Asks the dispatcher to write jobs, once, whatever becomes of the line meanwhile."""

    def __init__(
        self, say: Callable[[Sequence[Message]], bool], await_line: Callable[[], None]
    ) -> None:
        self._answers: dict[int, queue.SimpleQueue[Spawned | None]] = {}
        self._await_line = await_line  # raises LineClosed where none will come
        self._numbers = itertools.count(1)
        self._say = say

    def spawn(self, call: Call, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """Return when the jobs were created, once they are committed; as `current.Channel`."""
        number = next(self._numbers)
        answers: queue.SimpleQueue[Spawned | None] = queue.SimpleQueue()
        self._answers[number] = answers
        again = False
        try:
            while True:
                asked = Spawn(number, again, call.id, call.attempt, call.hand, jobs, edges)
                try:
                    answer = answers.get() if self._say([asked]) else None
                except MalformedMessage as error:
                    raise LedgerRefused(f"too much to submit in one piece: {error}") from error
                if answer is not None:
                    break
                self._await_line()
                again = True
        finally:
            del self._answers[number]
        return _created(answer)

    def answer(self, answer: Spawned) -> None:
        """Wake who asked; a second answer, or one that nobody waits for, is passed over."""
        waiting = self._answers.get(answer.number)
        if waiting is not None:
            waiting.put(answer)

    def line_ended(self) -> None:
        """Let those who wait ask again."""
        for waiting in list(self._answers.values()):
            waiting.put(None)


def _created(answer: Spawned) -> float:
    match answer.refusal:
        case "":
            return answer.created
        case refusal if refusal == DUPLICATE:
            raise DuplicateTaskId(answer.reason)
        case refusal if refusal == SUPERSEDED:
            raise Superseded(
                f"jobs were not submitted: {answer.reason or 'a later attempt has begun'}"
            )
    raise LedgerRefused(answer.reason)


class Pulls:
    """Fetches what the running call takes, whatever becomes of the line meanwhile."""

    def __init__(
        self, say: Callable[[Sequence[Message]], bool], await_line: Callable[[], None]
    ) -> None:
        self._answers: queue.SimpleQueue[Inputs | None] = queue.SimpleQueue()
        self._await_line = await_line  # raises LineClosed where none will come
        self._say = say

    def pull(self, call: Call, start: int, stop: int | None) -> Sequence[bytes]:
        """Return results that *call* takes, from *start* to before *stop* (None: all).

        Raises LineClosed when no line will come.
        """
        results: list[bytes] = []
        while True:
            while not self._answers.empty():
                self._answers.get_nowait()
            at = start + len(results)
            if not self._say([Pull(call.id, at)]):
                self._await_line()
                continue
            answer = self._answers.get()
            if answer is None or answer.id != call.id or answer.start != at:
                continue
            results.extend(answer.results)
            wanted = answer.total if stop is None else min(stop, answer.total)
            if start + len(results) >= wanted:
                return results[: wanted - start]

    def answer(self, answer: Inputs) -> None:
        """Take in what was pulled; what nobody asked for is passed over."""
        self._answers.put(answer)

    def line_ended(self) -> None:
        """Let who waits ask again."""
        self._answers.put(None)


class Aborts:
    """The calls in a runner's hands that somebody asks to end themselves."""

    def __init__(self) -> None:
        self._asked: frozenset[tuple[str, int]] = frozenset()

    def __contains__(self, call: object) -> bool:
        return isinstance(call, Call) and (call.id, call.hand) in self._asked

    def add(self, id: str, hand: int, held: Iterable[Call]) -> None:
        """Take in what is asked of a call, before it comes, too.

        Those before that are not among *held* any more are forgotten.
        """
        known = {(call.id, call.hand) for call in held}
        self._asked = (self._asked & known) | {(id, hand)}


def check_fork(pid: int) -> None:
    """Raise LineClosed in a process that a task has forked from the process *pid*."""
    if os.getpid() != pid:
        raise LineClosed(
            "a process that a task has forked has no line to the dispatcher: "
            "let the task itself submit"
        )


class CallChannel:
    """What one call has of the world, until it ends."""

    __slots__ = ("_aborts", "_call", "_data", "_here", "_over", "_pulls", "_spawns", "_voice")

    def __init__(
        self,
        call: Call,
        data: Data,
        pulls: Pulls,
        spawns: Spawns,
        voice: Voice,
        aborts: Container[Call] = (),
    ) -> None:
        self._aborts = aborts
        self._call = call
        self._data = data
        self._here = os.getpid()
        self._over = False
        self._pulls = pulls
        self._spawns = spawns
        self._voice = voice

    def end(self) -> None:
        """Say nothing more: the call has ended, though a thread of its may live on."""
        self._over = True

    def spawn(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """As `current.Channel` has it."""
        if self._over:
            raise Superseded(f"jobs were not submitted: call {self._call.id} has ended")
        check_fork(self._here)
        return self._spawns.spawn(self._call, jobs, edges)

    def update(self, state: str, meta: bytes, preview: str) -> None:
        """As `current.Channel` has it."""
        call = self._call
        if len(meta) > META_LIMIT:
            logger.warning("what job %s says is left out: it takes %d bytes", call.id, len(meta))
        elif self._is_heard():
            self._voice.update(Update(call.id, call.attempt, call.hand, state, meta, preview))

    def is_aborted(self) -> bool:
        """As `current.Channel` has it."""
        return self._call in self._aborts

    def emit(self, value: Any) -> None:
        """As `arguments.Channel` has it."""
        if self._is_heard():
            self._data.emit(self._call.id, value)

    def _is_heard(self) -> bool:
        return not self._over and os.getpid() == self._here

    def pull(self, start: int, stop: int | None) -> Sequence[bytes]:
        """As `arguments.Channel` has it."""
        return self._pulls.pull(self._call, start, stop)

    def take(self, job_id: str, key: str) -> Any:
        """As `arguments.Channel` has it."""
        return self._data.take(job_id, key)

    def keep(self, value: Any, data: bytes | None) -> str:
        """As `arguments.Channel` has it."""
        return self._data.keep(self._call.id, self._call.hand, value)
