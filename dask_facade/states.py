"""The states of a job: Celery's names, and from which state each may be entered."""

from __future__ import annotations

from collections.abc import Mapping

PENDING = "PENDING"  # waits in the ledger; also what an unknown id shows
RECEIVED = "RECEIVED"  # its claim is committed: a runner may have begun it
STARTED = "STARTED"
RETRY = "RETRY"
REJECTED = "REJECTED"  # no job here is ever in these two: what Celery's events call two endings
IGNORED = "IGNORED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
ABORTED = "ABORTED"  # one of a task's own, which others ask for

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

PRECEDENCE = (SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING)
"""What counts more comes first; a task's own states, for which None stands, before STARTED."""


def precedence(state: str | None) -> int:
    """Return the place of a state in PRECEDENCE."""
    return PRECEDENCE.index(state if state in PRECEDENCE else None)


class state(str):
    """The name of a state, of which one that counts more is the greater."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return precedence(other) < precedence(self)

    def __gt__(self, other: str) -> bool:
        return state(other) < self

    def __le__(self, other: str) -> bool:
        return not self > other

    def __ge__(self, other: str) -> bool:
        return not self < other
