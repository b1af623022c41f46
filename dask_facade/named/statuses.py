"""The statuses of named jobs, and Celery's state that each of them means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dask_facade import states

PENDING = "Pending"  # nothing was executed yet
SUBMITTED = "Submitted"
RUNNING = "Running"
VARIOUS = "Various"  # of its leaves some may have ended, but not all
PAUSED = "Paused"
COMPLETE = "Complete"
ERROR = "Error"
ABORTED = "Aborted"
VARIOUS_COMPLETE = "Various-Complete"  # all leaves have ended, and not all of them well
RESULTS_READY = "Results-Ready"  # it ended well; the result is on the cluster alone
OTHER = "Other"  # words of the project's own


class Meaning(NamedTuple):
    """What a status means in Celery's states."""

    state: str
    told_by: tuple[str, ...] = ()  # states of the ledger's job that alone make this status


MEANINGS: Mapping[str, Meaning] = {
    PENDING: Meaning(states.PENDING),
    SUBMITTED: Meaning(states.PENDING, (states.PENDING, states.RETRY)),
    RUNNING: Meaning(states.STARTED, (states.RECEIVED, states.STARTED)),
    VARIOUS: Meaning(states.STARTED),
    PAUSED: Meaning(states.PENDING),
    COMPLETE: Meaning(states.SUCCESS, (states.SUCCESS,)),
    ERROR: Meaning(states.FAILURE, (states.FAILURE,)),
    ABORTED: Meaning(states.REVOKED, (states.REVOKED,)),
    VARIOUS_COMPLETE: Meaning(states.FAILURE),
    RESULTS_READY: Meaning(states.SUCCESS),
    OTHER: Meaning(states.STARTED),
}
"""The one table between statuses and states."""

STATUS_OF: Mapping[str, str] = {
    state: status for status, meaning in MEANINGS.items() for state in meaning.told_by
}
"""The ledger's state -> the status that it makes."""

STATUSES = tuple(MEANINGS)
PRE_RUNNING = frozenset({PENDING, SUBMITTED})
RUNNING_STATUSES = frozenset({RUNNING, VARIOUS})
ACTIVE = frozenset({SUBMITTED, RUNNING, VARIOUS, PAUSED})
NON_TERMINAL = ACTIVE | PRE_RUNNING
TERMINAL = frozenset({COMPLETE, ERROR, ABORTED, VARIOUS_COMPLETE, RESULTS_READY})
ENDED_WELL = frozenset({COMPLETE, RESULTS_READY})
ENDED_BADLY = TERMINAL - ENDED_WELL


def kind_of(status: str) -> str:
    """Return the status that *status* is, Other for words of the project's own."""
    return status if status in MEANINGS else OTHER


def state_of(status: str) -> str:
    """Return Celery's state of a status, also of words of the project's own."""
    return MEANINGS[kind_of(status)].state
