"""The tasks that run a pool's executables and callables, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from typing import IO, Any

from dask_facade import current
from dask_facade.exceptions import PayloadTooLarge
from dask_facade.making import make_task
from dask_facade.pools import processes, slots
from dask_facade.pools.journal import FAILED, TIMED_OUT, watched
from dask_facade.serialization import dumps

_SET_FOR_PYTHON = ("PYTHONPATH", "PYTHONUNBUFFERED")
"""What is set for the worker's own Python, which another one must not find."""


def execute(
    argv: Sequence[str],
    *,
    program: str,
    cwd: str,
    env: Mapping[str, str],
    logfile: str | None = None,
    errfile: str | None = None,
    append: bool = False,
    timeout: float | None = None,
    nproc: int = 1,
    log: Mapping[str, Any] | None = None,
) -> int:
    """Run a program in *cwd* and return its exit status, as `processes.run` has it.

    *env* is added to the environment. What it prints goes to *logfile* and *errfile*, relative to
    *cwd*; a logfile alone gets both. *log*: what `journal.watched` is told.
    """
    inherited = {name: each for name, each in os.environ.items() if name not in _SET_FOR_PYTHON}
    with slots.taken(nproc), watched(log, current.job().id) as seen, ExitStack() as files:
        out = _opened(files, cwd, logfile, append=append)
        err = _opened(files, cwd, errfile, append=append)
        status, in_time = processes.run(
            argv,
            program=program,
            cwd=cwd,
            env={**inherited, **env},
            family=_family(),
            stdout=out,
            stderr=subprocess.STDOUT if err is None and out is not None else err,
            timeout=timeout,
        )
        if status != 0:
            seen.state = FAILED if in_time else TIMED_OUT
        return status


def call(
    function: Callable[..., Any],
    args: Sequence[Any],
    *,
    cwd: str,
    env: Mapping[str, str],
    logfile: str | None = None,
    errfile: str | None = None,
    append: bool = False,
    nproc: int = 1,
    log: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> Any:
    """Call *function* in *cwd*, with *env* added to the environment; return what it returns.

    What it and the programs that it starts print goes where `execute` says. Raises PayloadTooLarge
    for a value of more than *limit* bytes: these workers do not live as long as the result.
    """
    with slots.taken(nproc), watched(log, current.job().id), ExitStack() as files:
        out = _opened(files, cwd, logfile, append=append)
        err = _opened(files, cwd, errfile, append=append) or out
        with chdir(cwd), _environment(env), _printing(1, out), _printing(2, err):
            value = function(*args)
            _check_size(value, limit)
            return value


def _family() -> processes.Family:
    """Return how a program's family is found: a runner's child is there for its call alone."""
    job = current.job()
    return processes.Own() if job.channel is None or job.is_eager else processes.Adopted()


def _opened(files: ExitStack, cwd: str, name: str | None, *, append: bool) -> IO[bytes] | None:
    if name is None:
        return None
    return files.enter_context(Path(cwd, name).open("ab" if append else "wb"))


def _check_size(value: Any, limit: int | None) -> None:
    if limit is not None and (size := len(dumps(value))) > limit:
        raise PayloadTooLarge("the result", size, limit)


@contextmanager
def _environment(added: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(added)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _printing(number: int, file: IO[bytes] | None) -> Iterator[None]:
    """Let what this process prints to a descriptor go to *file*. It runs one task at a time."""
    if file is None:
        yield
        return
    stream = sys.stdout if number == 1 else sys.stderr
    stream.flush()
    before = os.dup(number)
    os.dup2(file.fileno(), number)
    try:
        yield
    finally:
        stream.flush()
        os.dup2(before, number)
        os.close(before)


EXECUTE = make_task(execute, "", {"isolate": True})
CALL = make_task(call, "", {"isolate": True})
