"""Calls that run in a child process of their runner, which can be killed without a neighbour."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import astuple, dataclass
from typing import Any

import psutil  # type: ignore[import-untyped]  # it has no types

from dask_facade.exceptions import DaskFacadeError, DecodeError, TimeLimitExceeded, WorkerLostError
from dask_facade.messages import Again, Call, Edge, NewJob, Outcome
from dask_facade.packing import pack_again
from dask_facade.serialization import dump_exception, dumps, loads
from dask_facade.states import PENDING
from dask_facade.worker.arguments import Channel
from dask_facade.worker.endings import Ending, failed, outcome_of, terminated
from dask_facade.worker.pipe import Pipe

logger = logging.getLogger(__name__)

LOOK_EVERY = 1.0  # seconds; a child that lives on in another process's hands still ends its pipe
DIES_WITHIN = 2.0  # seconds from the end of a child's pipe to its own
STOP_TIMEOUT = 0.5  # seconds for a process, and what it starts, to stand still before its end
MAX_DEATHS = 3  # of a call with acks_late, as of one whose worker dies


@dataclass(frozen=True, slots=True)
class Household:
    """What a child is told at its start: how its runner runs calls."""

    hostname: str
    inline_limit: int
    store_limit: int
    settings_module: str
    paths: tuple[str, ...]
    scheduler: str = ""  # of the Dask cluster, for tasks that work with it


class Isolation:
    """Runs calls, one at a time, in a process that is started for the first and kept.

    Only `kill`, `close` and `abandon` may be called by another thread than that of `run`.
    """

    def __init__(self, household: Household) -> None:
        self._child: _Child | None = None
        self._household = household
        self._killed = False
        self._last: tuple[str, int] | None = None
        self._lock = threading.Lock()

    def run(
        self, call: Call, channel: Channel, limits: tuple[float | None, float | None]
    ) -> Outcome:
        """Run *call* and return how it ended, whatever becomes of the process that runs it."""
        started, clock = time.time(), time.perf_counter()
        with self._lock:
            self._last, self._killed = (call.id, call.hand), False
        try:
            return _listen(self._taken(call), call, channel, limits[0])
        except TimeLimitExceeded as error:
            self._end(0.0)
            logger.error(
                "%s[%s] has run for its time limit of %s s: its process is ended",
                call.task,
                call.id,
                limits[0],
            )
            ending = failed(error, None)
        except (EOFError, OSError) as error:
            how = self._end(DIES_WITHIN) or str(error)
            ending = terminated() if self._killed else _lost(call, how)
        except BaseException:  # whatever it is in the middle of, the next call is not for it
            self._end(0.0)
            raise
        return outcome_of(call, ending, started, time.perf_counter() - clock)

    def kill(self, id: str, hand: int) -> bool:
        """End a call if it is the last one that ran here; tell whether it is."""
        with self._lock:
            if self._last != (id, hand):
                return False
            self._killed = True
            if self._child is not None and self._child.busy:
                self._child.kill()
            return True

    def close(self) -> None:
        """End the child."""
        self._end(0.0)

    def abandon(self) -> None:
        """Let go of the child without ending it: in a forked process, it is the parent's."""
        if self._child is not None:
            self._child.let_go()

    def _taken(self, call: Call) -> _Child:
        """Return a child that has taken *call*; one that died before it could is replaced, once."""
        child = self._started()
        try:
            return child.take(call)
        except (EOFError, OSError) as error:
            logger.info("the process for %s[%s] had ended: %s", call.task, call.id, error)
            self._end(DIES_WITHIN)
        return self._started().take(call)

    def _started(self) -> _Child:
        """Return a child that waits for a call; raise EOFError if the call was killed already."""
        with self._lock:
            if self._killed:
                raise EOFError("it was killed before it began")
            if self._child is not None and self._child.has_ended():
                self._child.end()
                self._child = None
            if self._child is None:
                self._child = _Child(self._household)
            self._child.busy = True
            return self._child

    def _end(self, patience: float) -> str:
        """End the child, which has *patience* seconds to do so itself; return how it ended."""
        child = self._child
        if child is None:
            return ""
        deadline = time.monotonic() + patience
        while not child.has_ended() and time.monotonic() < deadline:
            time.sleep(0.002)
        with self._lock:
            self._child = None
            return child.end()


class _Child:
    """The process. It ends when the last copy of *alive* does, and takes its own children along."""

    def __init__(self, household: Household) -> None:
        self.busy = False
        ours, theirs = socket.socketpair()
        ends, self._alive = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _MODULE, str(theirs.fileno()), str(ends)],
                pass_fds=(theirs.fileno(), ends),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                    "PYTHONUNBUFFERED": "1",
                },
            )
        except OSError:
            ours.close()
            os.close(self._alive)
            raise
        finally:
            theirs.close()
            os.close(ends)
        self.pipe = Pipe(ours)
        self.pipe.send("household", *astuple(household))

    def take(self, call: Call) -> _Child:
        """Let it take *call* and return itself; raise EOFError or OSError if it is gone."""
        self.pipe.send("call", call)
        while self.hear(LOOK_EVERY) is None:
            pass
        return self

    def hear(self, timeout: float) -> list[Any] | None:
        """Return the next message, or None after *timeout* seconds; raise EOFError if it is gone.

        Its pipe may be open in the hands of others.
        """
        try:
            return self.pipe.receive(min(timeout, LOOK_EVERY))
        except TimeoutError:
            if self.has_ended():
                raise EOFError("its process has ended") from None
            return None

    def has_ended(self) -> bool:
        """Tell whether the process has ended; its id stays taken until `end`."""
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def kill(self) -> None:
        """End the process, and those that it started, at once."""
        kill_with_descendants(self._process.pid)

    def end(self) -> str:
        """End the process if it has not, and say how it ended."""
        self.kill()
        status = self._process.wait()
        self.let_go()
        if status < 0:
            return f"signal {-status} ({signal.Signals(-status).name})"
        return f"exit status {status}"

    def let_go(self) -> None:
        """Close what leads to it."""
        self.pipe.close()
        os.close(self._alive)


def kill_with_descendants(leader: int) -> None:
    """End a process group by its leader's id, and what the leader has started in other sessions."""
    started = _stopped(leader)
    if leader != os.getpid():  # first, or it would tell how those ended that it waits for
        with suppress(ProcessLookupError):
            os.kill(leader, signal.SIGKILL)
    for each in started:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        logger.debug("process %s had ended", leader)


def _stopped(leader: int) -> list[psutil.Process]:
    """Stop a process and all below it, so that none starts another unseen; return those below.

    Where that is this process, it goes on.
    """
    deadline = time.monotonic() + STOP_TIMEOUT
    below: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(leader)
        known = {os.getpid()}
        while time.monotonic() < deadline:
            below = [each for each in top.children(recursive=True) if each.pid != os.getpid()]
            running = [each for each in (top, *below) if each.pid not in known]
            if not running:
                break
            for each in running:
                with suppress(psutil.NoSuchProcess):
                    each.suspend()
                    if _has_stopped(each):
                        known.add(each.pid)
    return below


def _has_stopped(process: psutil.Process) -> bool:
    """Tell whether a process begins nothing more: it may be in the middle of a fork."""
    return process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def _listen(child: _Child, call: Call, channel: Channel, hard: float | None) -> Outcome:
    """Serve what the child says until it says how *call* ended.

    Raises TimeLimitExceeded *hard* seconds after its task began, EOFError and OSError when the
    child is gone.
    """
    deadline: float | None = None
    while True:
        left = LOOK_EVERY if deadline is None else deadline - time.monotonic()
        if left <= 0:
            raise TimeLimitExceeded(hard)
        match child.hear(left):
            case ["outcome", fields]:
                child.busy = False
                return Outcome(*fields)
            case ["begun"]:
                deadline = None if hard is None else time.monotonic() + hard
            case ["update", state, meta, shown]:
                channel.update(state, meta, shown)
            case ["emit", value]:
                _emit(channel, value)
            case ["ask", question, verb, words]:
                child.pipe.send(question, *_answer(channel, verb, words))


def _emit(channel: Channel, value: bytes) -> None:
    try:
        channel.emit(loads(value))
    except DecodeError as error:
        logger.warning("what a task said cannot be read in its runner: %s", error)


def _answer(channel: Channel, verb: str, words: list[Any]) -> tuple[bool, Any]:
    """Return whether what the child asks was done, and the answer or the exception."""
    try:
        match verb, words:
            case "spawn", [jobs, edges]:
                return True, channel.spawn(
                    [NewJob(*fields) for fields in jobs], [Edge(*fields) for fields in edges]
                )
            case "aborted", []:
                return True, channel.is_aborted()
            case "pull", [start, stop]:
                return True, channel.pull(start, stop)
            case "take", [job_id, key]:
                return True, dumps(channel.take(job_id, key))
            case "keep", [data]:
                return True, channel.keep(loads(data), data)
    except (DaskFacadeError, OSError) as error:
        return False, dump_exception(error)
    raise ValueError(f"the child asks for {verb!r}")


def _lost(call: Call, how: str) -> Ending:
    """Return the end of a run whose process died: another one, where the call may run again."""
    error = WorkerLostError(f"the process that ran {call.task}[{call.id}] ended: {how}")
    logger.error("%s", error)
    options = loads(call.options) if call.options else {}
    deaths = options.get("deaths", 0) + 1
    if not call.acks_late or deaths >= MAX_DEATHS:
        return failed(error, None)
    again = Again(0.0, dumps({**options, "deaths": deaths, "requeued": True}), (), (), ())
    return Ending(PENDING, None, "", again=pack_again(again))


_MODULE = "dask_facade.worker.child"
