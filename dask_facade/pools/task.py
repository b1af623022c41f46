"""A task of a pool: what it is to run, and where."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dask_facade.canvas import Signature
from dask_facade.exceptions import EncodeError
from dask_facade.pools.exceptions import BadTask
from dask_facade.pools.journal import SimulationLog
from dask_facade.pools.running import CALL, EXECUTE
from dask_facade.serialization import dumps

OPTIONS = frozenset({"logfile", "errfile", "timeout", "task_env", "in_container"})
PASSED_OVER = frozenset(
    {
        "block",
        "launch_cmd_extra_args",
        "omp",
        "tag",
        "task_cpp",
        "task_gpp",
        "task_ppn",
        "whole_nodes",
        "whole_sockets",
    }
)
"""Options of IPS by which it says how MPI places processes: here they mean nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolTask:
    """One task. *program* is the path of its executable; None where *target* is a callable."""

    name: str
    nproc: int
    working_dir: str
    target: str | Callable[..., Any]
    program: str | None = None
    args: tuple[Any, ...] = ()
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    logfile: str | None = None
    errfile: str | None = None
    timeout: float | None = None

    @property
    def label(self) -> str:
        """What is called: the name of a file or a function."""
        if self.program is not None:
            return Path(self.program).name
        function = getattr(self.target, "func", self.target)  # of a partial
        return getattr(function, "__name__", type(function).__name__)

    @property
    def operation(self) -> str:
        """With what it is called."""
        words = map(str, self.args)
        return " ".join(words) if self.program is not None else f"({', '.join(words)})"

    @property
    def words(self) -> str:
        """What runs, for people: ``sleep 0.5`` or ``function(0.5)``."""
        blank = " " if self.program is not None and self.args else ""
        return f"{self.label}{blank}{self.operation}"

    def signature(
        self,
        *,
        logfile: str | None = None,
        errfile: str | None = None,
        log: SimulationLog | None = None,
        code: str = "",
        limit: int | None = None,
    ) -> Signature:
        """Return the call that runs it; it prints to *logfile* and *errfile* if it says nothing.

        Those are of the whole pool: what it prints is added to them. Its start and end are written
        to *log*, as said by *code*. What it returns has at most *limit* bytes. Raises BadTask where
        its callable or an argument cannot travel.
        """
        own = self.logfile is not None or self.errfile is not None
        words: dict[str, Any] = {
            "cwd": self.working_dir,
            "env": dict(self.env),
            "logfile": self.logfile if own else logfile,
            "errfile": self.errfile if own else errfile,
            "append": not own,
            "nproc": self.nproc,
            "log": None if log is None else self._told(log, code),
        }
        shown = f"{self.name}: {self.words}"
        if self.program is not None:
            argv = [str(self.target), *map(str, self.args)]
            words |= {"program": self.program, "timeout": self.timeout}
            made: Signature = EXECUTE.signature((argv,), words)
            return made.set(argsrepr=shown)
        try:
            dumps((self.target, self.args))
        except EncodeError as error:
            raise BadTask(self.name, f"{self.label} cannot travel to a worker: {error}") from error
        made = CALL.signature((self.target, list(self.args)), {**words, "limit": limit})
        return made.set(argsrepr=shown, time_limit=self.timeout)

    @property
    def told(self) -> dict[str, Any]:
        """What events say of it."""
        return {"target": self.label, "operation": self.operation, "timeout": self.timeout}

    def _told(self, log: SimulationLog, code: str) -> dict[str, Any]:
        return {
            "path": str(log.path),
            "began": log.began,
            "code": code,
            "task": self.name,
            "words": self.words,
            "more": self.told,
        }


def task_of(
    name: str,
    nproc: Any,
    working_dir: Any,
    target: Any,
    args: tuple[Any, ...],
    options: Mapping[str, Any],
) -> PoolTask:
    """Return the task that the words of `TaskPool.add_task` describe. Raises BadTask."""
    if unknown := options.keys() - OPTIONS - PASSED_OVER:
        raise BadTask(name, f"no such option: {', '.join(sorted(unknown))}")
    folder = Path.cwd() if working_dir is None else Path(working_dir).absolute()
    if not folder.is_dir():
        raise BadTask(name, f"its working directory {str(folder)!r} does not exist")
    program = None
    if not callable(target):
        target = _text(name, target)
        program = target if options.get("in_container") else _program(name, target)
    return PoolTask(
        name=name,
        nproc=_count(name, nproc),
        working_dir=str(folder),
        target=target,
        program=program,
        args=args,
        env=_environment(program, options.get("task_env")),
        logfile=_path(options.get("logfile")),
        errfile=_path(options.get("errfile")),
        timeout=_seconds(name, options.get("timeout")),
    )


def _environment(program: str | None, said: Mapping[Any, Any] | None) -> dict[str, str]:
    """Return what is added to the environment: to that of a program, the PYTHONPATH of this one.

    A worker has another one, which it finds its own modules by.
    """
    here = os.environ.get("PYTHONPATH")
    own = {} if here is None or program is None else {"PYTHONPATH": here}
    return {**own, **{str(key): str(value) for key, value in dict(said or {}).items()}}


def _text(name: str, target: Any) -> str:
    if not isinstance(target, str | os.PathLike):
        raise BadTask(name, f"it is to run {target!r}, which is neither a program nor callable")
    return os.fspath(target)


def _program(name: str, target: str) -> str:
    """Return the path of a program; a name without a directory is looked for on PATH."""
    found = shutil.which(target)
    if found is not None:
        return os.path.abspath(found)
    if os.path.dirname(target) and Path(target).is_file():
        raise BadTask(name, f"the program {target!r} is not executable")
    where = "" if os.path.dirname(target) else " on PATH"
    raise BadTask(name, f"there is no program {target!r}{where}")


def _count(name: str, nproc: Any) -> int:
    try:
        count = int(nproc)
    except (TypeError, ValueError):
        count = 0
    if count < 1:
        raise BadTask(name, f"nproc is a number of processors, at least 1, not {nproc!r}")
    return count


def _seconds(name: str, timeout: Any) -> float | None:
    if timeout is None:
        return None
    try:
        seconds = float(timeout)
    except (TypeError, ValueError):
        seconds = 0.0
    if not seconds > 0:
        raise BadTask(name, f"timeout is a number of seconds, more than 0, not {timeout!r}")
    return seconds


def _path(value: Any) -> str | None:
    return None if value is None else os.fspath(value)
