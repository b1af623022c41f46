"""How a job may end, and how one ends that depends on a job that did not succeed."""

from __future__ import annotations

from dask_facade.exceptions import ChordError, LedgerRefused
from dask_facade.messages import Outcome, Shape
from dask_facade.serialization import dump_exception, preview, storable
from dask_facade.states import FAILURE, READY_STATES, RETRY

_ENDS = READY_STATES | {RETRY}
_YEAR_10000 = 253402300800.0  # seconds since the epoch


def check_end(outcome: Outcome) -> None:
    """Raise LedgerRefused for what no ledger can keep: a runner may send anything."""
    id, attempt, hand, state, result, preview, traceback, started, finished, _ = outcome
    try:
        if state not in _ENDS:
            raise ValueError(f"{state!r} is no end")
        for text in (id, preview, traceback or ""):
            if b"\0" in text.encode():
                raise ValueError("a text has a NUL in it")
        if not (0 <= finished < _YEAR_10000 and 0 <= (started or 0) < _YEAR_10000):
            raise ValueError("a time is none of this age")
        if not (0 <= attempt < 2**31 and 0 <= hand < 2**31):
            raise ValueError("its attempt or hand is out of range")
        if result is not None and not isinstance(result, bytes):
            raise TypeError(f"a result is bytes, not {type(result).__name__}")
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerRefused(f"the end of job {id!r} cannot be stored: {error}") from error


def failure_of(
    job_id: str, parent: Outcome, *, attempt: int, hand: int, shape: int, now: float
) -> Outcome:
    """Return how a waiting job ends with *parent*: a chord's body with ChordError, others alike."""
    result, words, traceback = parent.result, parent.preview, parent.traceback
    if shape == Shape.LIST:
        error = ChordError(f"Dependency {parent.id} raised {parent.preview}")
        result, words = dump_exception(error), preview(error)
        traceback = storable(
            f"{traceback or parent.preview}\n\n"
            "The above exception ended a job of the header, so the body did not run:\n\n"
            f"{type(error).__module__}.{type(error).__qualname__}: {error}\n"
        )
    return Outcome(
        id=job_id,
        attempt=attempt,
        hand=hand,
        state=FAILURE,
        result=result,
        preview=words,
        traceback=traceback,
        started=None,
        finished=now,
        runtime=0.0,
    )
