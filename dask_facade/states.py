"""The states of a job: Celery's names, and from which state each may be entered."""

from __future__ import annotations

from collections.abc import Mapping

PENDING = "PENDING"  # waits in the ledger; also what an unknown id shows
RECEIVED = "RECEIVED"  # its claim is committed: a runner may have begun it
STARTED = "STARTED"
RETRY = "RETRY"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES

WAITING_STATES = frozenset({PENDING, RETRY})  # nobody holds the job
IN_FLIGHT_STATES = frozenset({RECEIVED, STARTED})  # a runner holds the job

SOURCES: Mapping[str, frozenset[str]] = {
    PENDING: IN_FLIGHT_STATES,  # given back by a runner that surely had not begun it
    RECEIVED: WAITING_STATES,
    STARTED: frozenset({RECEIVED}),
    RETRY: IN_FLIGHT_STATES,
    SUCCESS: IN_FLIGHT_STATES,
    FAILURE: WAITING_STATES | IN_FLIGHT_STATES,  # also without a run: a failed dependency
    REVOKED: WAITING_STATES | IN_FLIGHT_STATES,
}
"""State -> the states from which a job may enter it. Nothing leaves a ready state."""
