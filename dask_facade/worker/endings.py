"""How a run ended, in the words that the ledger keeps."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

from dask_facade.exceptions import TaskRevokedError
from dask_facade.messages import Call, Outcome
from dask_facade.serialization import dump_exception, preview, storable
from dask_facade.states import FAILURE, REVOKED

TRACEBACK_LIMIT = 64 * 1024
"""Characters of a traceback, at most: its end is kept."""

TERMINATED = TaskRevokedError("terminated")


class ExceptionInfo:
    """What the hooks of a task are told of an exception, under Celery's names."""

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.traceback = trace_of(exception)
        self.type = type(exception)

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


class Ending(NamedTuple):
    """The part of an Outcome that a run decides."""

    state: str
    result: bytes | None
    preview: str
    traceback: str | None = None
    key: str = ""
    size: int = 0
    again: bytes = b""
    cut: bool = False


def outcome_of(call: Call, ending: Ending, started: float, runtime: float) -> Outcome:
    """Return the outcome of *call*, which took *runtime* seconds from *started* on."""
    return Outcome(
        call.id,
        call.attempt,
        call.hand,
        ending.state,
        ending.result,
        ending.preview,
        ending.traceback,
        started,
        started + runtime,
        runtime,
        ending.key,
        ending.size,
        ending.again,
        ending.cut,
    )


def failed(error: BaseException, limit: int | None, trace: str | None = None) -> Ending:
    """Return the end of a run that failed so; the exception takes at most *limit* bytes."""
    return Ending(FAILURE, dump_exception(error, limit=limit), preview(error), trace)


def terminated() -> Ending:
    """Return the end of a run that was ended on request."""
    return Ending(REVOKED, dump_exception(TERMINATED), preview(TERMINATED))


def withdrawn() -> Ending:
    """Return the end of a run that was revoked before it began."""
    error = TaskRevokedError("revoked")
    return Ending(REVOKED, dump_exception(error), preview(error))


def trace_of(error: BaseException) -> str:
    """Return the traceback of an exception as text, from the first frame that is not ours."""
    trace = error.__traceback__
    while trace is not None and _is_ours(trace.tb_frame.f_globals.get("__name__")):
        trace = trace.tb_next
    text = storable("".join(traceback.format_exception(type(error), error, trace)))
    return text[-TRACEBACK_LIMIT:]


def _is_ours(module: Any) -> bool:
    return module in _OURS or str(module).startswith("dask_facade.worker.")


_OURS = ("dask_facade.task", "dask_facade.serialization", "dask_facade.registry")
