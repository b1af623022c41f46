"""The tables of the ledger in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import RLock

from dask_facade.jobs import Edge, Job, NewJob
from dask_facade.ledger.store import Lease
from dask_facade.messages import Call, Outcome, Shape
from dask_facade.serialization import NONE
from dask_facade.states import PENDING, WAITING_STATES


@dataclass(slots=True)
class Row:
    """What a database keeps of a job."""

    job: NewJob
    number: int  # in the order of submission
    created: float
    due: float | None
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
            ignore_result=job.ignore_result,
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


class Tables:
    """Rows and how they are found. Who uses them holds the lock."""

    def __init__(self) -> None:
        self.lock = RLock()
        self.rows: dict[str, Row] = {}
        self.groups: dict[str, list[str]] = {}
        self.children: dict[str, list[Edge]] = {}
        self.parents: dict[str, list[Edge]] = {}
        self.untaken: dict[str, None] = {}  # waiting rows that no leader has taken up, in order
        self.requests: list[tuple[str, str, Mapping[str, object]]] = []
        self.lease: Lease | None = None

    def at(self, id: str, attempt: int, hand: int) -> Row | None:
        """Return the row, if it is at this attempt and hand."""
        row = self.rows.get(id)
        return row if row is not None and (row.attempt, row.hand) == (attempt, hand) else None

    def waiting(self, id: str) -> Row | None:
        """Return the row, if nobody holds the job and it has not ended."""
        row = self.rows.get(id)
        return row if row is not None and row.state in WAITING_STATES else None

    def edges_to(self, id: str) -> list[Edge]:
        """Return what a job depends on, in the order of the positions."""
        return sorted(self.parents.get(id, ()), key=lambda edge: edge.position)

    def inputs(self, id: str) -> list[bytes]:
        """Return the results that a job takes, in the order of their positions."""
        parents = [self.rows.get(edge.parent_id) for edge in self.edges_to(id) if edge.takes_result]
        return [
            NONE if parent is None or parent.result is None else parent.result for parent in parents
        ]

    def call(self, row: Row) -> Call:
        """Return what a runner needs to run the job."""
        job = row.job
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
            inputs=tuple(self.inputs(job.id)[:1]) if job.shape == Shape.FIRST else (),
        )


def as_time(seconds: float | None) -> datetime | None:
    """Return seconds since the epoch as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
