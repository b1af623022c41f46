"""The tables of the ledger in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock

from dask_facade.jobs import Asked, Job
from dask_facade.ledger.inputs import error_inputs, told_first
from dask_facade.ledger.spawns import Known
from dask_facade.ledger.store import Lease, Ran
from dask_facade.messages import Call, Edge, NewJob, Outcome, Shape
from dask_facade.states import ABORTED, PENDING, RETRY, WAITING_STATES


@dataclass(slots=True)
class Row:
    """What a database keeps of a job."""

    job: NewJob
    number: int  # in the order of submission
    created: float
    due: float | None
    delay: float
    state: str = PENDING
    attempt: int = 1
    hand: int = 0
    lost: int = 0
    open: int | None = None  # None: not taken up; else how many dependencies it waits for
    runner: str = ""
    worker: str = ""
    started: float | None = None
    finished: float | None = None
    result: bytes | None = None
    preview: str = ""
    traceback: str | None = None
    said: str = ""
    meta: bytes | None = None
    key: str = ""
    size: int = 0

    def as_job(self) -> Job:
        """Return the row as readers see it."""
        job = self.job
        return Job(
            id=job.id,
            task=job.task,
            state=self.state,
            attempt=self.attempt,
            queue=job.queue,
            priority=job.priority,
            arguments=job.preview,
            result=self.result,
            result_preview=self.preview,
            traceback=self.traceback,
            said=self.said,
            meta=self.meta,
            key=self.key,
            size=self.size,
            ignore_result=job.ignore_result,
            graph=job.graph,
            owner=job.owner,
            worker=self.worker,
            root_id=job.root_id,
            parent_id=job.parent_id,
            group_id=job.group_id,
            created=as_time(self.created),
            eta=as_time(self.due),
            started=as_time(self.started),
            finished=as_time(self.finished),
        )

    def as_end(self) -> Outcome:
        """Return how the job ended, as far as its dependants are told."""
        return Outcome(
            id=self.job.id,
            attempt=self.attempt,
            hand=self.hand,
            state=self.state,
            result=self.result,
            preview=self.preview,
            traceback=self.traceback,
            started=None,
            finished=0.0,
            runtime=0.0,
        )

    def as_known(self) -> Known:
        """Return what a spawn is compared with."""
        return Known(self.state, self.attempt, self.hand, self.job.parent_id, self.created)

    def is_recorded(self) -> bool:
        """Tell whether nobody will run the job, and it has not ended.

        Who is to be tried again was claimed, and has an eta.
        """
        return self.state == RETRY and not self.hand and self.due is None

    def say_no_more(self) -> None:
        """Have it not say any more what it said while it ran, but that it is to be aborted."""
        self.said, self.meta = (ABORTED if self.said == ABORTED else ""), None

    def forget_end(self) -> None:
        """Have the row say nothing of how it ended, or of what it said while it ran."""
        self.started = self.finished = self.result = self.traceback = self.meta = None
        self.preview = self.said = self.key = ""
        self.size = 0


class Tables:
    """Rows and how they are found. Who uses them holds the lock."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.rows: dict[str, Row] = {}
        self.groups: dict[str, list[str]] = {}
        self.born: dict[str, list[str]] = {}  # by parent_id, in order
        self.children: dict[str, list[Edge]] = {}
        self.parents: dict[str, list[Edge]] = {}
        self.untaken: dict[str, None] = {}  # waiting rows that no leader has taken up, in order
        self.requests: dict[int, Asked] = {}
        self.paused: set[str] = set()
        self.trees: dict[str, str] = {}  # of groups put together by hand, as JSON
        self.schedules: dict[str, Ran] = {}
        self.lease: Lease | None = None
        self._inserted = 0
        self._requested = 0

    def insert(self, jobs: Iterable[NewJob], edges: Iterable[Edge], created: float) -> None:
        """Insert jobs whose ids are free."""
        for job in jobs:
            self._inserted += 1
            self.rows[job.id] = Row(job, self._inserted, created, job.due, job.delay)
            self.untaken[job.id] = None
            if job.group_id is not None:
                self.groups.setdefault(job.group_id, []).append(job.id)
            if job.parent_id is not None:
                self.born.setdefault(job.parent_id, []).append(job.id)
        for edge in edges:
            self.children.setdefault(edge.parent_id, []).append(edge)
            self.parents.setdefault(edge.child_id, []).append(edge)

    def remove(self, id: str) -> None:
        """Delete a row, and the edges to it."""
        job = self.rows.pop(id).job
        if job.group_id is not None:
            self.groups[job.group_id].remove(id)
        if job.parent_id is not None:
            self.born[job.parent_id].remove(id)
        for edge in self.parents.pop(id, ()):
            self.children[edge.parent_id].remove(edge)

    def ask(self, asked: Asked) -> None:
        """Keep a request, with a number of its own."""
        self._requested += 1
        self.requests[self._requested] = asked._replace(number=self._requested)

    def take_no_more(self, id: str) -> None:
        """Let a job have none of the results that its edges brought it so far."""
        for edge in self.parents.pop(id, ()):
            left = edge._replace(takes_result=False)
            siblings = self.children[edge.parent_id]
            siblings[siblings.index(edge)] = left
            self.parents.setdefault(id, []).append(left)

    def at(self, id: str, attempt: int, hand: int) -> Row | None:
        """Return the row, if it is at this attempt and hand."""
        row = self.rows.get(id)
        return row if row is not None and (row.attempt, row.hand) == (attempt, hand) else None

    def waiting(self, id: str) -> Row | None:
        """Return the row, if nobody holds the job and it has not ended."""
        row = self.rows.get(id)
        return row if row is not None and row.state in WAITING_STATES else None

    def is_taken(self, id: str) -> bool:
        """Tell whether a job takes the result of this one."""
        return any(edge.takes_result for edge in self.children.get(id, ()))

    def edges_to(self, id: str) -> list[Edge]:
        """Return what a job depends on, in the order of the positions."""
        return sorted(self.parents.get(id, ()), key=lambda edge: edge.position)

    def inputs(self, id: str) -> list[Row | None]:
        """Return the rows whose results a job takes, in the order of their positions."""
        return [self.rows.get(edge.parent_id) for edge in self.edges_to(id) if edge.takes_result]

    def call(self, row: Row) -> Call:
        """Return what a runner needs to run the job."""
        job = row.job
        taken: Sequence[Row | None] = ()
        if job.shape & ~Shape.REFERENCES != Shape.ERROR and job.shape != Shape.NOTHING:
            taken = self.inputs(job.id)
        kept = [each for each in taken if each is not None and each.key]
        largest = max(kept, key=lambda each: each.size, default=None)
        return Call(
            id=job.id,
            task=job.task,
            attempt=row.attempt,
            hand=row.hand,
            queue=job.queue,
            priority=job.priority,
            created=row.created,
            due=row.due,
            acks_late=job.acks_late,
            ignore_result=job.ignore_result,
            lost=row.lost,
            root_id=job.root_id,
            parent_id=job.parent_id,
            group_id=job.group_id,
            shape=job.shape,
            payload=job.payload,
            expires=job.expires,
            graph=job.graph,
            options=job.options,
            near="" if largest is None else largest.worker,
            inputs=self._told(row, taken),
        )

    def _told(self, row: Row, taken: Sequence[Row | None]) -> tuple[bytes, ...]:
        job = row.job
        if job.shape & ~Shape.REFERENCES == Shape.ERROR:
            parent = self.rows.get(job.parent_id or "")
            if parent is None:
                return ()
            of = parent.job
            return error_inputs(
                of.id, parent.result, parent.preview, parent.traceback, of.task, of.payload
            )
        if job.shape != Shape.FIRST or not taken:
            return ()
        first = taken[0]
        if first is None:
            return (told_first(None, None, None, None, None),)
        return (told_first(first.result, first.job.id, first.key, first.worker, first.size),)


def as_time(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
