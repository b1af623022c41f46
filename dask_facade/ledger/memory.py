"""The ledger in memory: what a database promises, but for outliving the process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dask_facade.exceptions import DuplicateTaskId, LeadershipLost
from dask_facade.jobs import Batch, Claim, Edge, InFlight, Job, NewJob, Release, Written
from dask_facade.ledger.ends import check_end, failure_of
from dask_facade.ledger.rows import Row, Tables
from dask_facade.ledger.store import Desk, Lease
from dask_facade.messages import Call, Outcome
from dask_facade.states import (
    IN_FLIGHT_STATES,
    PENDING,
    PROPAGATE_STATES,
    READY_STATES,
    RECEIVED,
    RETRY,
    SOURCES,
    SUCCESS,
    WAITING_STATES,
)


class MemoryStore:
    """The ledger of one process, for scripts without Django and for tests."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tables = Tables()

    def submit(
        self, jobs: Sequence[NewJob], edges: Sequence[Edge], after: Callable[[float], None]
    ) -> None:
        """Insert all of it or nothing; *after* is called at once."""
        tables = self._tables
        created = self._clock()
        with tables.lock:
            fresh: set[str] = set()
            for job in jobs:
                if job.id in tables.rows or job.id in fresh:
                    raise DuplicateTaskId(job.id)
                fresh.add(job.id)
            for job in jobs:
                due = None if job.eta is None else job.eta.timestamp()
                tables.rows[job.id] = Row(job, len(tables.rows), created, due)
                tables.untaken[job.id] = None
                if job.group_id is not None:
                    tables.groups.setdefault(job.group_id, []).append(job.id)
            for edge in edges:
                tables.children.setdefault(edge.parent_id, []).append(edge)
                tables.parents.setdefault(edge.child_id, []).append(edge)
        after(created)

    def fetch(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids; unknown ids are left out."""
        with self._tables.lock:
            rows = self._tables.rows
            return {id: rows[id].as_job() for id in ids if id in rows}

    def count_states(self, group_id: str) -> dict[str, int]:
        """Return how many jobs of a group are in each state."""
        with self._tables.lock:
            return dict(Counter(self._tables.rows[id].state for id in self.group(group_id)))

    def group(self, group_id: str) -> list[str]:
        """Return the ids of a group's jobs in the order in which they were submitted."""
        with self._tables.lock:
            return list(self._tables.groups.get(group_id, ()))

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""
        return self._tables.lease

    def request(self, kind: str, job_id: str, arguments: Mapping[str, object]) -> None:
        """Ask the leader for something."""
        with self._tables.lock:
            self._tables.requests.append((kind, job_id, dict(arguments)))

    def disconnect(self) -> None:
        """Nothing is connected."""

    def open_desk(self) -> Desk:
        """Return a desk on the same rows."""
        return MemoryDesk(self._tables, clock=self._clock)


class MemoryDesk:
    """The ledger in memory as the leading dispatcher has it."""

    def __init__(self, tables: Tables, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tables = tables

    def check_schema(self) -> None:
        """There is none."""

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""
        return self._tables.lease

    def lead(
        self, holder: str, addresses: Sequence[str], secret: bytes, seen: Lease | None
    ) -> Lease | None:
        """Take the lease if it still is as *seen* (None: there was no row), else return None."""
        with self._tables.lock:
            lease = self._tables.lease
            if lease != seen:
                return None
            if lease is None:
                lease = Lease(0, -1, "", (), secret)
            self._tables.lease = Lease(
                lease.epoch + 1, lease.beat + 1, holder, tuple(addresses), lease.secret or secret
            )
            return self._tables.lease

    def beat(self, epoch: int) -> None:
        """Say that the leader lives."""
        with self._tables.lock:
            lease = self._led(epoch)
            self._tables.lease = replace(lease, beat=lease.beat + 1)

    def resign(self, epoch: int) -> None:
        """Give the lease up: holder "" and no addresses; the epoch stays."""
        with self._tables.lock:
            self._tables.lease = replace(self._led(epoch), holder="", addresses=())

    def write(self, epoch: int, batch: Batch) -> Written:
        """Write *batch*, each part guarded, and what follows from it."""
        with self._tables.lock:
            self._led(epoch)
            for outcome in batch.outcomes:
                check_end(outcome)
            ended = self._end(batch.outcomes)
            failed: list[Outcome] = []
            ready: list[Call] = []
            self._follow(ended, failed, ready)
            return Written(
                outcomes=tuple(ended),
                failed=tuple(failed),
                released=tuple(self._release(batch.releases)),
                claimed=tuple(self._claim(batch.claims)),
                ready=tuple(ready),
            )

    def take_up(self, epoch: int, grace: float, horizon: float, limit: int) -> Sequence[Call]:
        """Take up to *limit* waiting rows that no leader has taken up; return those ready."""
        with self._tables.lock:
            self._led(epoch)
            now = self._clock()
            rows = [self._tables.rows[id] for id in self._tables.untaken]
            rows = [
                row
                for row in rows
                if (row.created <= now - grace if row.due is None else row.due <= now + horizon)
            ]
            rows.sort(key=lambda row: (-row.job.priority, row.created, row.due or 0.0, row.number))
            ready: list[Call] = []
            self._count_afresh(rows[:limit], [], ready)
            return ready

    def forget_taken(self, epoch: int) -> None:
        """Mark what earlier leaders took up, and did not hand out, as not taken up."""
        with self._tables.lock:
            self._led(epoch)
            for id, row in self._tables.rows.items():
                if row.open == 0 and row.state in WAITING_STATES:
                    row.open = None
                    self._tables.untaken[id] = None

    def in_flight(self) -> Sequence[InFlight]:
        """Return the calls that an earlier leader handed out."""
        with self._tables.lock:
            rows = [row for row in self._tables.rows.values() if row.state in IN_FLIGHT_STATES]
            return [InFlight(self._tables.call(row), row.runner, row.worker) for row in rows]

    def inputs(self, job_id: str, start: int, limit: int) -> tuple[Sequence[bytes], int]:
        """Return a job's inputs from position *start* on, and how many there are in all."""
        with self._tables.lock:
            results = self._tables.inputs(job_id)
        size = 0
        for end, result in enumerate(results[start:], start):
            size += len(result)
            if size > limit and end > start:
                return results[start:end], len(results)
        return results[start:], len(results)

    def take_requests(
        self, epoch: int, limit: int
    ) -> Sequence[tuple[str, str, Mapping[str, object]]]:
        """Remove the oldest requests and return them as (kind, job id, arguments)."""
        with self._tables.lock:
            self._led(epoch)
            taken = self._tables.requests[:limit]
            del self._tables.requests[:limit]
            return taken

    def close(self) -> None:
        """Nothing is open."""

    def _led(self, epoch: int) -> Lease:
        lease = self._tables.lease
        if lease is None or lease.epoch != epoch:
            raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
        return lease

    def _end(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        moved: dict[str, Outcome] = {}
        for outcome in outcomes:
            row = self._tables.at(outcome.id, outcome.attempt, outcome.hand)
            if row is None or outcome.id in moved or row.state not in SOURCES[outcome.state]:
                continue
            row.state = outcome.state
            row.result = outcome.result
            row.preview = outcome.preview
            row.traceback = outcome.traceback
            row.started = outcome.started
            if outcome.state == RETRY:
                row.attempt += 1
                row.due = outcome.finished
                row.open = None
                self._tables.untaken[outcome.id] = None
            else:
                row.finished = outcome.finished
                self._tables.untaken.pop(outcome.id, None)
            moved[outcome.id] = outcome
        return list(moved.values())

    def _release(self, releases: Sequence[Release]) -> list[tuple[str, int]]:
        moved = []
        for release in releases:
            row = self._tables.at(release.id, release.attempt, release.hand)
            if row is not None and row.state in SOURCES[PENDING]:
                row.state = PENDING
                row.lost = release.lost
                moved.append((release.id, release.hand))
        return moved

    def _claim(self, claims: Sequence[Claim]) -> list[tuple[str, int]]:
        moved = []
        for claim in claims:
            row = self._tables.at(claim.id, claim.attempt, claim.hand - 1)
            if row is not None and row.state in SOURCES[RECEIVED]:
                row.state = RECEIVED
                row.hand = claim.hand
                row.open = 0
                row.runner = claim.runner
                row.worker = claim.worker
                self._tables.untaken.pop(claim.id, None)
                moved.append((claim.id, claim.hand))
        return moved

    def _follow(self, ended: Sequence[Outcome], failed: list[Outcome], ready: list[Call]) -> None:
        """Lower the counts of those that wait for *ended*, or let them fail."""
        reasons: dict[str, Outcome] = {}
        lower: Counter[str] = Counter()
        for child_id, parent in self._children(ended):
            if parent.state == SUCCESS:
                lower[child_id] += 1
            else:
                reasons.setdefault(child_id, parent)
        self._fail(reasons, failed)
        unknown = []
        for child_id, count in lower.items():
            row = self._tables.waiting(child_id)
            if row is None:
                continue
            if row.open is None:
                if row.due is None:  # one with an eta is counted when that is near
                    unknown.append(row)
            elif row.open > 0:
                row.open = max(row.open - count, 0)
                if not row.open:
                    ready.append(self._tables.call(row))
        self._count_afresh(unknown, failed, ready)

    def _children(self, ended: Iterable[Outcome]) -> list[tuple[str, Outcome]]:
        return [
            (edge.child_id, outcome)
            for outcome in ended
            if outcome.state in READY_STATES
            for edge in self._tables.children.get(outcome.id, ())
        ]

    def _fail(self, reasons: Mapping[str, Outcome], failed: list[Outcome]) -> None:
        """Let the waiting jobs of *reasons* fail, then those that wait for them, and so on."""
        while reasons:
            now = self._clock()
            wave = [
                failure_of(
                    id, parent, attempt=row.attempt, hand=row.hand, shape=row.job.shape, now=now
                )
                for id, parent in reasons.items()
                if (row := self._tables.waiting(id)) is not None
            ]
            ended = self._end(wave)
            failed += ended
            reasons = {}
            for child_id, parent in self._children(ended):
                reasons.setdefault(child_id, parent)

    def _count_afresh(self, rows: Sequence[Row], failed: list[Outcome], ready: list[Call]) -> None:
        """Count what each of *rows* waits for; let those fail that wait in vain."""
        reasons: dict[str, Outcome] = {}
        for row in rows:
            row.open = 0
            self._tables.untaken.pop(row.job.id, None)
            for edge in self._tables.edges_to(row.job.id):
                parent = self._tables.rows.get(edge.parent_id)
                row.open += parent is None or parent.state != SUCCESS
                if parent is not None and parent.state in PROPAGATE_STATES:
                    reasons.setdefault(row.job.id, parent.as_end())
        self._fail(reasons, failed)
        ready += [self._tables.call(row) for row in rows if not row.open]
