"""What a ledger does, for whom: the seam between the services and a database.

Two sides, because two kinds of process use it. Any process submits and reads through a `JobStore`;
the leading dispatcher alone moves states, through the `Desk` it opened with its epoch. Nothing here
waits for a lock: who may wait (a dispatcher's loop, a thread) decides that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from dask_facade.jobs import Asked, Batch, Ending, InFlight, Job, Saying, Written
from dask_facade.messages import Call, Edge, NewJob, Spawn, Spawned, Update

TAKEN_BYTES = 16 * 2**20  # of arguments, with which no more rows are taken up at once


@dataclass(frozen=True, slots=True)
class Lease:
    """The row that says which dispatcher leads."""

    epoch: int  # grows with each change of leader
    beat: int  # grows while the leader lives
    holder: str  # "" after a clean end
    addresses: tuple[str, ...]  # of its lines
    secret: bytes  # what tokens are made with; the same for all leaders
    scheduler: str = ""  # address of the Dask scheduler that it works with; "" not yet


@dataclass(frozen=True, slots=True)
class Ran:
    """What is kept of an entry of the schedule."""

    last_run: float  # seconds since the epoch; when it became known, before the first
    runs: int


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

    def record(self, job: Job) -> bool:
        """Insert a job that nobody will run, as it is; tell whether it was written.

        Part of the caller's transaction. Its state is a ready one, or RETRY without an eta: then
        it waits for nothing and no leader takes it up. One that was written so before, and has not
        ended, is changed; but where others depend on it, the leader has to end it (`Desk.end`).
        """

    def now(self) -> float:
        """Return the ledger's time in seconds since the epoch."""

    def on_commit(self, after: Callable[[], None]) -> None:
        """Call *after* when the caller's open transaction commits; at once where none is open."""

    def fetch(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids, as the caller's transaction sees them.

        Unknown ids are left out.
        """

    def fetch_committed(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids, as they are committed, whatever the caller began."""

    def why_never(self, ids: Collection[str]) -> str:
        """Return why waiting for these jobs in the caller's open transaction would never end.

        "" where it can end: outside of any transaction, and inside one that wrote none of them.
        """

    def count_states(self, group_id: str) -> dict[str, int]:
        """Return how many jobs of a group are in each state."""

    def group(self, group_id: str) -> list[str]:
        """Return the ids of a group's jobs in the order in which they were submitted."""

    def children(self, job_id: str) -> list[tuple[str, str | None]]:
        """Return (id, group id) of the jobs whose parent this is, as they were submitted."""

    def save_group(self, group_id: str, tree: Sequence[object]) -> None:
        """Keep the shape of a group that was put together by hand: ids, and lists of such."""

    def saved_group(self, group_id: str) -> Sequence[object] | None:
        """Return what `save_group` got, or None."""

    def drop_group(self, group_id: str) -> None:
        """Forget what `save_group` got."""

    def schedules(self) -> dict[str, Ran]:
        """Return what is kept of the entries of the schedule, by name."""

    def note_run(self, name: str, last_run: float, runs: int) -> None:
        """Keep when an entry of the schedule ran last; an earlier time than is kept is no news."""

    def drop_schedules(self, names: Collection[str]) -> None:
        """Forget entries of the schedule."""

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""

    def request(self, kind: str, names: Sequence[str], arguments: Mapping[str, object]) -> None:
        """Ask the leader for the same of each name (see `jobs.Asked`): rows that it consumes."""

    def asked(self, kind: str, name: str) -> bool:
        """Tell whether the leader was asked for this, and has not consumed it."""

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

    def now(self) -> float:
        """Return the ledger's time in seconds since the epoch, as of the last beat; at once."""

    def announce(self, epoch: int, scheduler: str) -> None:
        """Write the address of the Dask scheduler into the lease."""

    def resign(self, epoch: int) -> None:
        """Give the lease up: holder "" and no addresses; the epoch stays."""

    def write(self, epoch: int, batch: Batch) -> Written:
        """Write *batch*, each part guarded, and what follows from it.

        An outcome moves a row that is at its attempt and hand and in a state of SOURCES. One that
        never began (hand of a waiting row) may end a waiting job. A claim moves a waiting row that
        is at its attempt and at ``hand - 1``. A release moves a row in flight at its attempt and
        hand back to PENDING. A job moves once in each part of a batch. A waiting job that is left
        is as if it was never taken up: `take_up` finds it again.

        An outcome of RETRY or PENDING has ``again``: the row goes on at the next attempt, due after
        its delay by the ledger's clock, with its options; where the job becomes another one, with
        all that this says (task, queue, priority, payload, preview, expires, shape, options,
        errbacks, acks_late, ignore_result, graph), and the results that it took so far are taken no
        more (its edges stay, takes_result is false). Its jobs and edges are inserted. A RETRY keeps
        the exception as result; a PENDING has none.

        For each job that moved to SUCCESS, the count of open dependencies of its waiting children
        is lowered; a child never counted before is counted afresh, unless it has an eta: `take_up`
        counts it when that is near. Children at zero are returned as ready, counted as taken up;
        one with a delay becomes due that long from now (once: the row's eta says when, its delay is
        0), and is returned as ready with that due time.
        For each job that moved to FAILURE or REVOKED, or was cut, waiting children become FAILURE
        in the same transaction, and theirs in turn: with the same result, preview and traceback;
        where the child takes a list (a chord's body) with ChordError "Dependency <id> raised
        <preview>". Those of a job that was cut, and theirs, become REVOKED instead, as
        TaskRevokedError.
        An outcome that leaves the state keeps what the job said of it; every other one ends that.

        For each job that moved to FAILURE, the jobs of its errbacks whose ids are not taken yet are
        inserted, with it as their parent, and returned as ready.
        """

    def take_up(
        self, epoch: int, grace: float, horizon: float, limit: int, without: Collection[str] = ()
    ) -> Written:
        """Take up to *limit* waiting rows that no leader has taken up; ready and failed are told.

        Fewer where they carry much: about TAKEN_BYTES. `Written.more` tells whether there may be
        others. Those of the queues *without* stay as they are, and hold no others back.

        Rows without an eta wait *grace* seconds first (their submitter's hint may be on its way);
        rows with one are taken *horizon* seconds ahead of it. Ordered by priority (larger first),
        then by creation. Dependencies are counted here; a delay begins here for what waits for
        nothing; dependants of failed jobs fail as in `write`.
        """

    def spawn(self, epoch: int, spawns: Sequence[Spawn]) -> Sequence[Spawned]:
        """Insert what running calls submit, each all or nothing, and answer in their order.

        Nothing is inserted for a parent that is not in flight at this attempt and hand
        (SUPERSEDED), or where an id is taken (DUPLICATE) by another job than a child of that
        parent that ``again`` says may be it.
        """

    def update(self, epoch: int, updates: Sequence[Update]) -> None:
        """Write what running calls say of their state, for those in flight at attempt and hand.

        STARTED is a state of the row; all others are kept beside it, with what was said.
        """

    def say(self, epoch: int, sayings: Sequence[Saying]) -> set[str]:
        """Write what others say of the state of jobs; return the ids of those not ended.

        It stands beside the row's own state until the job ends, is tried again or says something
        itself; that it is to be aborted, also when it begins, is given back or tried again.
        """

    def end(self, epoch: int, endings: Sequence[Ending]) -> Written:
        """End jobs that have not ended, whoever has them, or nobody; return what moved.

        What depends on them goes on, or fails, as in `write`.
        """

    def revoke(self, epoch: int, ids: Collection[str], reason: str) -> tuple[Written, set[str]]:
        """End waiting jobs as REVOKED; return what moved, and the ids that no row has.

        What waits for them fails as in `write`. The result is a TaskRevokedError of *reason*.
        """

    def reopen(self, epoch: int, ids: Collection[str]) -> set[str]:
        """Let FAILURE and REVOKED jobs wait again, at their next attempt; return their ids.

        With them, all the way down, dependants that never began and failed because of them.
        """

    def forget(self, epoch: int, ids: Collection[str]) -> set[str]:
        """Delete jobs that have ended, with the edges to them; return their ids."""

    def prune(self, epoch: int, older: float, limit: int) -> dict[str, str | None]:
        """Delete up to *limit* jobs that ended more than *older* seconds ago; oldest first.

        Return their ids, and `Job.future_at` of each. Those stay that a job which has not ended
        depends on, or is a child of.
        """

    def pause(self, epoch: int, queue: str, *, paused: bool) -> None:
        """Keep in mind whether a queue is paused."""

    def paused(self) -> set[str]:
        """Return the queues that are paused."""

    def forget_taken(self, epoch: int) -> None:
        """Mark what earlier leaders took up, and did not hand out, as not taken up."""

    def in_flight(self) -> Sequence[InFlight]:
        """Return the calls that an earlier leader handed out."""

    def later(self, limit: int) -> Sequence[Call]:
        """Return the calls that wait for a time to come, and were not taken up: nearest first."""

    def idle(self, limit: int, queues: Collection[str] | None = None) -> Sequence[str]:
        """Return the ids of calls that wait for a runner or their time alone; oldest first.

        Of these *queues*, or of all. Not those that wait to be tried again.
        """

    def inputs(self, job_id: str, start: int, limit: int) -> tuple[Sequence[bytes], int]:
        """Return a job's inputs from position *start* on, and how many there are in all.

        At most *limit* bytes of them, but at least one. Only results that the job takes count. One
        that is on the cluster alone is told as `serialization.dump_reference` writes it.
        """

    def revoked(self, limit: int) -> Sequence[str]:
        """Return the ids of REVOKED jobs, of those created last."""

    def requests(self, epoch: int, limit: int) -> Sequence[Asked]:
        """Return the oldest requests; they stay."""

    def drop_requests(self, epoch: int, numbers: Collection[int]) -> None:
        """Remove requests."""

    def close(self) -> None:
        """Close the connection."""


def calls_of(jobs: Iterable[NewJob], created: float, waiting: Collection[str]) -> list[Call]:
    """Return the calls of freshly written jobs, without those whose ids are in *waiting*.

    Nor those with a delay: it begins when a leader takes them up.
    """
    return [
        Call(
            id=job.id,
            task=job.task,
            attempt=1,
            hand=0,
            queue=job.queue,
            priority=job.priority,
            created=created,
            due=job.due,
            acks_late=job.acks_late,
            ignore_result=job.ignore_result,
            lost=0,
            root_id=job.root_id,
            parent_id=job.parent_id,
            group_id=job.group_id,
            shape=job.shape,
            payload=job.payload,
            expires=job.expires,
            graph=job.graph,
            options=job.options,
            near="",
            inputs=(),
        )
        for job in jobs
        if job.id not in waiting and not job.delay
    ]
