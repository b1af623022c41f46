"""How a job may end or go on, and how one ends that depends on a job that did not succeed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from dask_facade.exceptions import ChordError, LedgerRefused, TaskRevokedError
from dask_facade.jobs import Claim, Ending, Saying
from dask_facade.ledger.spawns import LONGEST_DELAY, YEAR_10000, Known, check_jobs, check_name
from dask_facade.messages import NewJob, Outcome, Shape, Update
from dask_facade.packing import unpack_again, unpack_jobs
from dask_facade.serialization import dump_exception, preview, storable
from dask_facade.states import (
    FAILURE,
    PENDING,
    READY_STATES,
    RETRY,
    REVOKED,
    SUCCESS,
    WAITING_STATES,
)

logger = logging.getLogger(__name__)

GOES_ON = frozenset({RETRY, PENDING})
"""States of outcomes after which the job waits for its next attempt."""
SOON = 2.0
"""Seconds: what goes on within them is told as ready at once. The ledger keeps the rest."""

_ENDS = READY_STATES | GOES_ON
_LONGEST_STATE = 64


def check_end(outcome: Outcome) -> None:
    """Raise LedgerRefused for what no ledger can keep: a runner may send anything."""
    id, attempt, hand, state, result, preview, traceback, started, finished, _, key, size, _, _ = (
        outcome
    )
    try:
        if state not in _ENDS:
            raise ValueError(f"{state!r} is no end")
        for text in (id, preview, traceback or ""):
            if b"\0" in text.encode():
                raise ValueError("a text has a NUL in it")
        if not (0 <= finished < YEAR_10000 and 0 <= (started or 0) < YEAR_10000):
            raise ValueError("a time is none of this age")
        if not (0 <= attempt < 2**31 and 0 <= hand < 2**31):
            raise ValueError("its attempt or hand is out of range")
        if result is not None and not isinstance(result, bytes):
            raise TypeError(f"a result is bytes, not {type(result).__name__}")
        if key:
            check_name(key)
            _check_size(size)
        if state in GOES_ON:
            _check_again(outcome.again)
    except (ValueError, TypeError, AttributeError, LedgerRefused) as error:
        raise LedgerRefused(f"the end of job {id!r} cannot be stored: {error}") from error


def _check_again(data: bytes) -> None:
    again = unpack_again(data)
    if len(again.becomes) > 1:
        raise ValueError("it becomes several")
    if not 0 <= again.delay < LONGEST_DELAY:
        raise ValueError("its delay is out of range")
    check_jobs([*again.becomes, *again.jobs], again.edges)


def _check_size(size: int) -> None:
    if not 0 <= size < 2**63:
        raise ValueError("the size of its result is out of range")


def can_be_kept(update: Update | Saying) -> bool:
    """Tell whether what is said of a state fits in its row."""
    try:
        texts = (update.id, update.state, update.preview)
        return len(update.state) <= _LONGEST_STATE and all(b"\0" not in t.encode() for t in texts)
    except UnicodeError:
        return False


def failure_of(
    job_id: str, parent: Outcome, *, attempt: int, hand: int, shape: int, now: float
) -> Outcome:
    """Return how a waiting job ends with *parent*.

    A chord's body fails with ChordError, others as their parent did. Those of a job that was cut
    are revoked, and theirs in turn.
    """
    if parent.cut and parent.state != REVOKED:
        error: Exception = TaskRevokedError(f"job {parent.id} ended its chain")
        return _ended(job_id, REVOKED, error, attempt, hand, now)._replace(cut=True)
    result, words, traceback = parent.result, parent.preview, parent.traceback
    if shape & ~Shape.REFERENCES == Shape.LIST and not parent.cut:
        error = ChordError(f"Dependency {parent.id} raised {parent.preview}")
        result, words = dump_exception(error), preview(error)
        traceback = storable(
            f"{traceback or parent.preview}\n\n"
            "The above exception ended a job of the header, so the body did not run:\n\n"
            f"{_named(error)}\n"
        )
    return Outcome(
        id=job_id,
        attempt=attempt,
        hand=hand,
        state=REVOKED if parent.cut else FAILURE,
        result=result,
        preview=words,
        traceback=traceback,
        started=None,
        finished=now,
        runtime=0.0,
        cut=parent.cut,
    )


def claims_to_end(endings: Sequence[Ending], known: Mapping[str, Known]) -> list[Claim]:
    """Return what is claimed of *endings* first, by nobody.

    Without a run a job can only fail or be revoked; one that waits is to succeed all the same.
    """
    rows = ((end.id, known[end.id]) for end in endings if end.state == SUCCESS and end.id in known)
    return [
        Claim(id, row.attempt, row.hand + 1, "", "")
        for id, row in rows
        if row.state in WAITING_STATES
    ]


def ending_of(said: Ending, attempt: int, hand: int, now: float) -> Outcome:
    """Return how a job ends as somebody else than its worker says."""
    id, state, result, preview, traceback = said
    return Outcome(
        id=id,
        attempt=attempt,
        hand=hand,
        state=state,
        result=result,
        preview=preview,
        traceback=traceback,
        started=None,
        finished=now,
        runtime=0.0,
    )


def revocation_of(job_id: str, reason: str, *, attempt: int, hand: int, now: float) -> Outcome:
    """Return how a job ends that is revoked for *reason*."""
    return _ended(job_id, REVOKED, TaskRevokedError(reason), attempt, hand, now)


def _ended(
    job_id: str, state: str, error: Exception, attempt: int, hand: int, now: float
) -> Outcome:
    return Outcome(
        id=job_id,
        attempt=attempt,
        hand=hand,
        state=state,
        result=dump_exception(error),
        preview=preview(error),
        traceback=f"{_named(error)}\n",
        started=None,
        finished=now,
        runtime=0.0,
    )


def _named(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}: {error}"


def errbacks_of(job_id: str, data: bytes, *, inherited: bool) -> list[NewJob]:
    """Return the jobs that are made when this one fails; none where they cannot be read.

    *inherited* says that it failed because of one before it: a step of a chain then has none.
    """
    try:
        jobs = unpack_jobs(data)
        check_jobs(jobs, ())
    except (ValueError, LedgerRefused) as error:
        logger.error("the error callbacks of job %s are lost: %s", job_id, error)
        return []
    return [
        job._replace(parent_id=job_id, shape=job.shape & ~Shape.OWN)
        for job in jobs
        if not (inherited and job.shape & Shape.OWN)
    ]
