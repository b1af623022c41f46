"""The simulation log: what happened to tasks, a line of JSON each."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

LAUNCH = "IPS_LAUNCH_DASK_TASK"
TASK_END = "IPS_TASK_END"

RUNNING = "Running"
SUCCEEDED = "Succeeded"
FAILED = "Failed"
TIMED_OUT = "Timed out"

logger = logging.getLogger(__name__)


class SimulationLog:
    """A file to which several processes add events; *began*: seconds since the epoch.

    Where it cannot be written to, or read, that is a warning: no task or simulation fails for it.
    """

    def __init__(self, path: str | Path, *, began: float | None = None) -> None:
        self.began = time.time() if began is None else began
        self.path = Path(path).absolute()
        self._ended: set[str] = set()  # ids of jobs whose ends were read
        self._read = 0  # bytes

    def has_end_of(self, id: str) -> bool:
        """Tell whether the worker of a job has written its end."""
        if id not in self._ended:
            with self._tried("read"), suppress(FileNotFoundError), self.path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if line.endswith(b"\n"):
                        self._read += len(line)
                        self._ended |= _end_in(line)
        return id in self._ended

    def write(
        self,
        code: str,
        eventtype: str,
        comment: str,
        *,
        ok: bool = True,
        state: str = RUNNING,
        when: float | None = None,
        **more: Any,
    ) -> None:
        """Add an event of the component *code*, at *when* (epoch seconds; None: now)."""
        when = time.time() if when is None else when
        event = {
            "code": code,
            "eventtype": eventtype,
            "ok": ok,
            "walltime": f"{max(0.0, when - self.began):.2f}",
            "time": time.strftime("%Y-%m-%d|%H:%M:%SUTC", time.gmtime(when)),
            "state": state,
            "comment": comment,
            **more,
        }
        with self._tried("written to"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a") as file:
                file.write(json.dumps(event) + "\n")

    def begins(self, code: str, task: str, words: str, when: float, **more: Any) -> None:
        """Add the start of a task."""
        comment = f"task_name = {task}, Target = {words}"
        self.write(code, LAUNCH, comment, when=when, **more)

    def ends(
        self, code: str, task: str, state: str, began: float, over: float, **more: Any
    ) -> None:
        """Add the end of a task that *began*, and was *over*, then (seconds since the epoch).

        *more* may tell its timeout.
        """
        elapsed = max(0.0, over - began)
        took, timeout = f"elapsed time = {elapsed:.2f}s", more.pop("timeout", None)
        if state == TIMED_OUT and timeout is not None:
            took = f"timed-out after {timeout}s"
        self.write(
            code,
            TASK_END,
            f"task_name = {task}, {took}",
            ok=state == SUCCEEDED,
            state=state,
            when=over,
            start_time=began,
            elapsed_time=round(elapsed, 6),
            **more,
        )

    @contextmanager
    def _tried(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            logger.warning("%s cannot be %s: %s", self.path, what, error)


def _end_in(line: bytes) -> set[str]:
    """Return the id of the job whose end a line tells, as a set of one; of another line, none.

    Others may write to the file, too, and a worker may die while it does.
    """
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return set()
    if not isinstance(event, dict) or event.get("eventtype") != TASK_END:
        return set()
    id = event.get("task_id")
    return {id} if isinstance(id, str) else set()


class Watched:
    """A task that is written of where it runs. *state* is how it ended."""

    def __init__(self) -> None:
        self.state = SUCCEEDED


@contextmanager
def watched(told: Mapping[str, Any] | None, id: str | None) -> Iterator[Watched]:
    """Write of the start and the end of the task whose job is *id*, as *told*; None: nothing.

    Where the file cannot be written to, who submitted the task writes of its end.
    """
    seen = Watched()
    if told is None:
        yield seen
        return
    log = SimulationLog(told["path"], began=told["began"])
    code, task, more = told["code"], told["task"], {"task_id": id, **told["more"]}
    began = time.time()
    log.begins(code, task, told["words"], began, task_id=id)
    try:
        yield seen
    except BaseException:
        seen.state = FAILED
        raise
    finally:
        log.ends(code, task, seen.state, began, time.time(), **more)
