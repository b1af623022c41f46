"""Where a named job stands, told from its row and from what the ledger says of its work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from dask_facade.named import statuses
from dask_facade.states import FAILURE, PENDING, REVOKED, SUCCESS


@dataclass(frozen=True, slots=True)
class Seen:
    """What the ledger says of a job, without its result."""

    state: str
    said: str = ""  # a state of its own
    words: str = ""  # the preview of its result or exception
    is_far: bool = False  # the result is on the cluster alone
    worker: str = ""
    claimed: datetime | None = None
    started: datetime | None = None
    finished: datetime | None = None


@dataclass(frozen=True, slots=True)
class Own:
    """What a named job's row says."""

    executed: datetime | None = None
    held: bool = False  # it is to wait until it is resumed
    stopped: bool = False
    refusal: str = ""  # why its work could not be submitted
    status: str = ""  # words of the project's own
    message: str = ""  # likewise
    has_work: bool = False  # a job of the ledger is its work
    has_results: bool = False  # another one is what its results function does
    is_parent: bool = False  # its work is that of its leaves


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a named job stands."""

    status: str
    message: str = ""
    start_time: datetime | None = None
    completion_time: datetime | None = None
    executed: datetime | None = None
    beneath: str = ""  # the status that words of the project's own hide

    @property
    def kind(self) -> str:
        """The status, or what it would be without words of the project's own."""
        return self.beneath or statuses.kind_of(self.status)

    def run_time(self, now: datetime) -> timedelta | None:
        """Return how long it ran, or has been running; None before it was executed."""
        start = self.start_time or self.executed
        return None if start is None else (self.completion_time or now) - start


def standing_of(own: Own, work: Seen | None, results: Seen | None) -> Standing:
    """Return where a job stands that is no parent.

    *work* and *results* are None where it has none, or where the ledger has forgotten it.
    """
    if not own.has_work:
        return _unsubmitted(own)
    if work is None or (own.has_results and results is None):
        return Standing(statuses.ERROR, _GONE, executed=own.executed)
    last = results if results is not None and work.state == SUCCESS else work
    status = statuses.STATUS_OF[last.state]
    if own.held and work.state in (PENDING, REVOKED):
        status = statuses.PAUSED
    elif last is not work and status not in statuses.TERMINAL:
        status = statuses.RUNNING
    elif last.state == FAILURE and own.stopped:
        status = statuses.ABORTED  # what it stopped for is no fault of its own
    elif status == statuses.COMPLETE and last.is_far:
        status = statuses.RESULTS_READY
    ended = status in statuses.TERMINAL
    beneath = status
    if not ended and status != statuses.PAUSED:
        status = own.status or last.said or status
    return Standing(
        status,
        own.message or (last.words if status in statuses.ENDED_BADLY else ""),
        work.started or (None if ended or status == statuses.PAUSED else work.claimed),
        last.finished if ended else None,
        own.executed,
        beneath,
    )


_GONE = "the ledger has forgotten its job"


def _unsubmitted(own: Own) -> Standing:
    if own.stopped:
        return Standing(statuses.ABORTED, own.message, executed=own.executed)
    if own.refusal:
        return Standing(statuses.ERROR, own.message or own.refusal, executed=own.executed)
    beneath = statuses.PAUSED if own.held else statuses.PENDING
    status = beneath if own.held else own.status or beneath
    return Standing(status, own.message, executed=own.executed, beneath=beneath)


def standing_of_parent(own: Own, leaves: Sequence[Standing]) -> Standing:
    """Return where a job stands whose work is that of its leaves; with counts of how they ended."""
    if not leaves:
        return Standing(statuses.ABORTED, "its leaves were deleted", executed=own.executed)
    counts = Counter(leaf.kind for leaf in leaves)
    words = ", ".join(f"{counts[each]} {each}" for each in statuses.STATUSES if counts[each])
    starts = [leaf.start_time for leaf in leaves if leaf.start_time is not None]
    ends = [leaf.completion_time for leaf in leaves if leaf.completion_time is not None]
    if not counts.keys() <= statuses.TERMINAL:
        status = statuses.VARIOUS
    elif counts.keys() <= statuses.ENDED_WELL:
        status = statuses.COMPLETE
    else:
        status = statuses.VARIOUS_COMPLETE
    ended = status in statuses.TERMINAL
    return Standing(
        status if ended else own.status or status,
        own.message or words,
        min(starts, default=None),
        max(ends, default=None) if ended else None,
        own.executed,
        status,
    )
