"""Ends of calls that the broker decides by itself."""

from __future__ import annotations

from dask_facade.exceptions import (
    DaskFacadeError,
    PayloadTooLarge,
    TaskRevokedError,
    WorkerLostError,
)
from dask_facade.messages import Call, Outcome
from dask_facade.serialization import dump_exception, preview
from dask_facade.states import FAILURE, REVOKED

EXPIRED = "expired"
TERMINATED = "terminated"
WITHDRAWN = "revoked"


def revoked(call: Call, reason: str, finished: float) -> Outcome:
    """Return how *call* ends that nobody shall run; *finished* is in seconds since the epoch."""
    return _end(call, REVOKED, TaskRevokedError(reason), finished)


def lost(call: Call, worker: str, finished: float) -> Outcome:
    """Return how *call* ends that a worker may have been running when it died."""
    times = f", {call.lost + 1} times" if call.lost else ""
    error = WorkerLostError(
        f"worker {worker} died while it may have been running job {call.id}{times}"
    )
    return _end(call, FAILURE, error, finished)


def too_large(call: Call, size: int, limit: int, finished: float) -> Outcome:
    """Return how *call* ends that no message takes."""
    what = f"all that job {call.id} is handed out with"
    return _end(call, FAILURE, PayloadTooLarge(what, size, limit), finished)


def orphaned(call: Call, finished: float) -> Outcome:
    """Return how *call* ends that waited for workers of a pool's own when these were gone."""
    error = WorkerLostError(
        f"job {call.id} waited in {call.queue!r}, and the workers of that pool are gone"
    )
    return _end(call, FAILURE, error, finished)


def _end(call: Call, state: str, error: DaskFacadeError, finished: float) -> Outcome:
    return Outcome(
        id=call.id,
        attempt=call.attempt,
        hand=call.hand,
        state=state,
        result=dump_exception(error),
        preview=preview(error),
        traceback=f"{type(error).__module__}.{type(error).__qualname__}: {error}\n",
        started=None,
        finished=finished,
        runtime=0.0,
    )
