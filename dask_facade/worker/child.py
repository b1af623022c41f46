"""The killable child process of a runner: ``python -m dask_facade.worker.child SOCKET PIPE``.

It runs the calls that it is sent, one at a time, in its main thread, where SIGALRM can interrupt
them. It ends with its runner: when *PIPE* ends, it kills itself and what its tasks have started.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from dask_facade.exceptions import SoftTimeLimitExceeded, Superseded
from dask_facade.messages import Call, Edge, NewJob, Update
from dask_facade.serialization import dumps, load_exception, loads
from dask_facade.worker import coroutines, preload
from dask_facade.worker.channel import UPDATE_EVERY, Voice, check_fork
from dask_facade.worker.execution import Execution, Limits
from dask_facade.worker.isolation import Household, kill_with_descendants
from dask_facade.worker.pipe import Pipe

logger = logging.getLogger(__name__)

_questions = itertools.count(1)

JOIN_TIMEOUT = 5.0  # seconds


class Alarm:
    """Raises SoftTimeLimitExceeded in the main thread when a task's time is up.

    What the pipe is in the middle of is ended first.
    """

    def __init__(self) -> None:
        self._due = False
        self._holds = 0

    @contextmanager
    def after(self, seconds: float | None) -> Iterator[None]:
        """Ring *seconds* from now, unless the block has ended by then."""
        if seconds is None:
            yield
            return
        signal.signal(signal.SIGALRM, self._ring)  # a task before may have had its own
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            self._due = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Ring after the block instead of within it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
        if self._due and not self._holds:
            self._due = False
            raise SoftTimeLimitExceeded

    def _ring(self, number: int, frame: FrameType | None) -> None:
        if self._holds:
            self._due = True
        elif not coroutines.interrupt(SoftTimeLimitExceeded()):
            raise SoftTimeLimitExceeded


class PipeChannel:
    """What a call in the child has of the world: its runner does it."""

    def __init__(self, pipe: Pipe, alarm: Alarm, call: Call) -> None:
        self._alarm = alarm
        self._call = call
        self._here = os.getpid()
        self._lock = threading.Lock()
        self._over = False
        self._pipe = pipe
        self._updated = -UPDATE_EVERY  # monotonic: when an update was sent at once
        self._voice = Voice(self._send)  # for those that come too soon after another

    def spawn(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> float:
        """As `current.Channel` has it."""
        created: float = self._ask("spawn", jobs, edges)
        return created

    def update(self, state: str, meta: bytes, preview: str) -> None:
        """As `current.Channel` has it."""
        call = self._call
        if os.getpid() != self._here:
            return
        update = Update(call.id, call.attempt, call.hand, state, meta, preview)
        with self._alarm.held():
            if time.monotonic() - self._updated < UPDATE_EVERY:
                self._voice.update(update)
                return
            self._voice.unsaid()  # it is out of date
            self._send([update])
            self._updated = time.monotonic()

    def _send(self, updates: Sequence[Update]) -> None:
        for each in updates:
            self._tell("update", each.state, each.meta, each.preview)

    def is_aborted(self) -> bool:
        """As `current.Channel` has it."""
        return bool(self._ask("aborted"))

    def emit(self, value: Any) -> None:
        """As `arguments.Channel` has it."""
        self._tell("emit", dumps(value))

    def pull(self, start: int, stop: int | None) -> Sequence[bytes]:
        """As `arguments.Channel` has it."""
        results: list[bytes] = self._ask("pull", start, stop)
        return results

    def take(self, job_id: str, key: str) -> Any:
        """As `arguments.Channel` has it."""
        return _bound(loads(self._ask("take", job_id, key)))

    def keep(self, value: Any, data: bytes | None) -> str:
        """As `arguments.Channel` has it."""
        key: str = self._ask("keep", dumps(value) if data is None else data)
        return key

    def end(self) -> None:
        """Say nothing more: the call has ended, though a thread of its may live on."""
        self._send(self._voice.unsaid())
        self._voice.close()
        with self._lock:
            self._over = True

    def begin(self) -> None:
        """Say that the task's own time begins."""
        self._tell("begun")

    def _tell(self, *message: Any) -> None:
        if os.getpid() != self._here:
            return  # a fork of a task's: it is none of the call
        with self._alarm.held(), self._lock:
            if not self._over:
                self._pipe.send(*message)

    def _ask(self, verb: str, *words: Any) -> Any:
        check_fork(self._here)
        with self._alarm.held(), self._lock:
            if self._over:
                raise Superseded("the call has ended")
            question = next(_questions)
            self._pipe.send("ask", question, verb, words)
            answered = None
            while answered != question:  # a signal of the task's own may have ended an earlier one
                answered, done, answer = self._pipe.receive()
        if not done:
            raise load_exception(answer)
        return answer


class Child:
    """Runs the calls that come through a pipe."""

    def __init__(self, pipe: Pipe) -> None:
        self._alarm = Alarm()
        self._channel: PipeChannel | None = None
        self._pipe = pipe

    def serve(self) -> None:
        """Run calls until the runner is gone."""
        with suppress(EOFError, BrokenPipeError):
            _, *said = self._pipe.receive()
            execution = self._execution(Household(*said))
            while True:
                _, fields = self._pipe.receive()
                self._pipe.send("taken")
                call = Call(*fields)
                self._channel = PipeChannel(self._pipe, self._alarm, call)
                outcome = execution.run(call, self._channel)
                self._channel.end()
                self._pipe.send("outcome", outcome)

    def _execution(self, household: Household) -> Execution:
        settings_module, paths = household.settings_module, household.paths

        def find(name: str) -> Any:
            task = preload.find(settings_module, paths, name)
            _join(household.scheduler)
            return task

        return Execution(
            find=find,
            hostname=household.hostname,
            inline_limit=household.inline_limit,
            store_limit=household.store_limit,
            around=functools.partial(preload.close_old_connections, settings_module),
            soften=self._soften,
        )

    @contextmanager
    def _soften(self, limits: Limits) -> Iterator[None]:
        hard, soft = limits
        if hard is not None and self._channel is not None:
            self._channel.begin()
        with self._alarm.after(soft):
            yield


def _join(scheduler: str) -> None:
    """Let ``get_client()`` work, where the tasks' modules have imported distributed."""
    if scheduler and "distributed" in sys.modules:
        _connected(scheduler)


def _bound(value: Any) -> Any:
    """Return *value*, with its futures those of this process's client."""
    if "distributed" not in sys.modules:
        return value
    from distributed import get_client

    from dask_facade.cluster.remote import bound, is_remote

    return bound(get_client(), value) if is_remote(value) else value


@functools.cache
def _connected(scheduler: str) -> Any:
    from distributed import Client

    from dask_facade.worker.standin import stand_in

    try:
        client = Client(scheduler, timeout=JOIN_TIMEOUT)
    except OSError as error:
        logger.warning("tasks in a process of their own have no client: %s", error)
        return None
    stand_in(client)
    return client


def _end_with(pipe: int) -> None:
    """End this process, and those that it started, when *pipe* ends."""
    os.read(pipe, 1)
    kill_with_descendants(os.getpid())


def main(arguments: Sequence[str]) -> None:
    """Serve the runner at the other end of the socket that *arguments* name."""
    number, pipe = map(int, arguments)
    for each in (number, pipe):
        os.set_inheritable(each, False)
    threading.Thread(target=_end_with, args=(pipe,), name="dask-facade-end", daemon=True).start()
    connection = socket.socket(fileno=number)
    forget: Callable[[], None] = connection.close
    os.register_at_fork(after_in_child=forget)  # or its end would not tell of this one's
    Child(Pipe(connection)).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
