"""What a ledger does, for whom: the seam between the services and a database.

Two sides, because two kinds of process use it. Any process submits and reads through a `JobStore`;
the leading dispatcher alone moves states, through the `Desk` it opened with its epoch. Nothing here
waits for a lock: who may wait (a dispatcher's loop, a thread) decides that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dask_facade.jobs import Batch, Edge, InFlight, Job, NewJob, Written
from dask_facade.messages import Call


@dataclass(frozen=True, slots=True)
class Lease:
    """The row that says which dispatcher leads."""

    epoch: int  # grows with each change of leader
    beat: int  # grows while the leader lives
    holder: str  # "" after a clean end
    addresses: tuple[str, ...]  # of its lines
    secret: bytes  # what tokens are made with; the same for all leaders


class JobStore(Protocol):
    """The ledger as every process has it."""

    def submit(
        self, jobs: Sequence[NewJob], edges: Sequence[Edge], after: Callable[[float], None]
    ) -> None:
        """Insert all of it or nothing, as part of the caller's transaction if one is open.

        *after* is called with the rows' time of creation (seconds since the epoch) once they are
        committed, and never after a rollback. Raises DuplicateTaskId if an id is taken,
        LedgerNotReady if the tables are missing; the database's own errors pass through.
        """

    def fetch(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids; unknown ids are left out."""

    def count_states(self, group_id: str) -> dict[str, int]:
        """Return how many jobs of a group are in each state."""

    def group(self, group_id: str) -> list[str]:
        """Return the ids of a group's jobs in the order in which they were submitted."""

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""

    def request(self, kind: str, job_id: str, arguments: Mapping[str, object]) -> None:
        """Ask the leader for something: a row that it consumes."""

    def disconnect(self) -> None:
        """Close the calling thread's connection, where there is one outside of a transaction."""

    def open_desk(self) -> Desk:
        """Return a connection for a leader, of its own, usable from any one thread at a time."""


class Desk(Protocol):
    """The ledger as the leading dispatcher has it.

    Each method is one transaction. Those that write first check that *epoch* is still the lease's,
    and raise LeadershipLost if not. All raise LedgerBusy when another connection is writing,
    LedgerUnavailable when the database is away, LedgerRefused when it will not take what it got.
    """

    def check_schema(self) -> None:
        """Raise LedgerNotReady unless the tables are those of this release."""

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""

    def lead(
        self, holder: str, addresses: Sequence[str], secret: bytes, seen: Lease | None
    ) -> Lease | None:
        """Take the lease if it still is as *seen* (None: there was no row), else return None.

        *secret* is written only where there was none. The epoch grows by one.
        """

    def beat(self, epoch: int) -> None:
        """Say that the leader lives."""

    def resign(self, epoch: int) -> None:
        """Give the lease up: holder "" and no addresses; the epoch stays."""

    def write(self, epoch: int, batch: Batch) -> Written:
        """Write *batch*, each part guarded, and what follows from it.

        An outcome moves a row that is at its attempt and hand and in a state of SOURCES. One that
        never began (hand of a waiting row) may end a waiting job. A claim moves a waiting row that
        is at its attempt and at ``hand - 1``. A release moves a row in flight at its attempt and
        hand back to PENDING. A job moves once in each part of a batch. An outcome of RETRY makes
        the next attempt, due when the outcome says it finished.

        For each job that moved to SUCCESS, the count of open dependencies of its waiting children
        is lowered; a child never counted before is counted afresh, unless it has an eta: `take_up`
        counts it when that is near. Children at zero are returned as ready, counted as taken up.
        For each job that moved to FAILURE or REVOKED, waiting children become FAILURE in the same
        transaction, and theirs in turn: with the same result, preview and traceback; where the
        child takes a list (a chord's body) with ChordError "Dependency <id> raised <preview>".
        """

    def take_up(self, epoch: int, grace: float, horizon: float, limit: int) -> Sequence[Call]:
        """Take up to *limit* waiting rows that no leader has taken up; return those that are ready.

        Rows without an eta wait *grace* seconds first (their submitter's hint may be on its way);
        rows with one are taken *horizon* seconds ahead of it. Ordered by priority (larger first),
        then by creation. Dependencies are counted here; dependants of failed jobs fail as in
        `write` and are not returned.
        """

    def forget_taken(self, epoch: int) -> None:
        """Mark what earlier leaders took up, and did not hand out, as not taken up."""

    def in_flight(self) -> Sequence[InFlight]:
        """Return the calls that an earlier leader handed out."""

    def inputs(self, job_id: str, start: int, limit: int) -> tuple[Sequence[bytes], int]:
        """Return a job's inputs from position *start* on, and how many there are in all.

        At most *limit* bytes of them, but at least one. Only results that the job takes count.
        """

    def take_requests(
        self, epoch: int, limit: int
    ) -> Sequence[tuple[str, str, Mapping[str, object]]]:
        """Remove the oldest requests and return them as (kind, job id, arguments)."""

    def close(self) -> None:
        """Close the connection."""


def calls_of(jobs: Iterable[NewJob], created: float, waiting: Collection[str]) -> list[Call]:
    """Return the calls of freshly written jobs, without those whose ids are in *waiting*."""
    return [
        Call(
            id=job.id,
            task=job.task,
            attempt=1,
            hand=0,
            queue=job.queue,
            priority=job.priority,
            created=created,
            due=None if job.eta is None else job.eta.timestamp(),
            acks_late=job.acks_late,
            ignore_result=job.ignore_result,
            lost=0,
            root_id=job.root_id,
            parent_id=job.parent_id,
            group_id=job.group_id,
            shape=job.shape,
            payload=job.payload,
            inputs=(),
        )
        for job in jobs
        if job.id not in waiting
    ]
