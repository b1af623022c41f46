"""What becomes of a job when one that it depends on did not succeed."""

from __future__ import annotations

from dask_facade.exceptions import ChordError
from dask_facade.messages import Outcome, Shape
from dask_facade.serialization import dump_exception, preview, storable
from dask_facade.states import FAILURE


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
