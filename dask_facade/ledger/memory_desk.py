"""The leader's side of the ledger in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import accumulate

from dask_facade.elsewhere import future_at
from dask_facade.exceptions import LeadershipLost
from dask_facade.jobs import Asked, Batch, Ending, InFlight, Saying, Written
from dask_facade.ledger.ends import (
    can_be_kept,
    check_end,
    claims_to_end,
    ending_of,
    revocation_of,
)
from dask_facade.ledger.inputs import REFERENCE_SIZE, told_input
from dask_facade.ledger.memory_consequences import MemoryConsequences
from dask_facade.ledger.memory_moves import Moves
from dask_facade.ledger.rows import Row, Tables
from dask_facade.ledger.spawns import answer_to, joins_of, refusal_of, without_known
from dask_facade.ledger.store import TAKEN_BYTES, Lease
from dask_facade.messages import Call, Spawn, Spawned, Update
from dask_facade.states import (
    FAILURE,
    IN_FLIGHT_STATES,
    PENDING,
    PROPAGATE_STATES,
    READY_STATES,
    RETRY,
    REVOKED,
    STARTED,
    WAITING_STATES,
)


class MemoryDesk:
    """The ledger in memory as the leading dispatcher has it."""

    def __init__(self, tables: Tables, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._moves = Moves(tables, clock)
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

    def now(self) -> float:
        """Return the time of the store's clock."""
        return self._clock()

    def announce(self, epoch: int, scheduler: str) -> None:
        """Write the address of the Dask scheduler into the lease."""
        with self._tables.lock:
            self._tables.lease = replace(self._led(epoch), scheduler=scheduler)

    def resign(self, epoch: int) -> None:
        """Give the lease up: holder "" and no addresses; the epoch stays."""
        with self._tables.lock:
            lease = self._led(epoch)
            self._tables.lease = replace(lease, holder="", addresses=(), scheduler="")

    def write(self, epoch: int, batch: Batch) -> Written:
        """Write *batch*, each part guarded, and what follows from it."""
        with self._tables.lock:
            self._led(epoch)
            for outcome in batch.outcomes:
                check_end(outcome)
            moving = self._moves.moving(batch.outcomes)
            self._moves.check_free(moving)
            follows = self._follows()
            self._moves.end(moving)
            near = self._moves.go_on(moving)
            follows.follow(moving)
            near = [row for row in near if row.open is None and row.state in WAITING_STATES]
            follows.count_afresh(near)
            released = self._moves.release(batch.releases)
            claimed = self._moves.claim(batch.claims)
            self._moves.leave(batch.left)
            return Written(
                outcomes=tuple(moving),
                failed=tuple(follows.failed),
                released=tuple(released),
                claimed=tuple(claimed),
                ready=tuple(follows.ready),
            )

    def take_up(
        self, epoch: int, grace: float, horizon: float, limit: int, without: Collection[str] = ()
    ) -> Written:
        """Take up to *limit* waiting rows that no leader has taken up."""
        with self._tables.lock:
            self._led(epoch)
            now = self._clock()
            waiting = [self._tables.rows[id] for id in self._tables.untaken]
            waiting = [row for row in waiting if row.job.queue not in without]
            new = [row for row in waiting if row.due is None and row.created <= now - grace]
            new.sort(key=_turn_of)
            due = [(row.due, row) for row in waiting if row.due is not None]
            due = [each for each in due if each[0] <= now + horizon]
            due.sort(key=lambda each: (each[0], each[1].number))
            rows = _first(new, limit) + _first([row for _, row in due], limit)
            rows.sort(key=_turn_of)
            follows = self._follows()
            follows.count_afresh(rows[:limit])
            more = len(rows) >= limit or sum(map(_size_of, rows)) >= TAKEN_BYTES
            return Written((), tuple(follows.failed), (), (), tuple(follows.ready), more)

    def spawn(self, epoch: int, spawns: Sequence[Spawn]) -> Sequence[Spawned]:
        """Insert what running calls submit, each all or nothing, and answer in their order."""
        with self._tables.lock:
            self._led(epoch)
            created = self._clock()
            return [self._spawned(spawn, created) for spawn in spawns]

    def _spawned(self, spawn: Spawn, created: float) -> Spawned:
        ids = [spawn.parent_id, *(job.id for job in spawn.jobs)]
        tables = self._tables
        rows, joins = tables.rows, joins_of(spawn)
        kin: set[tuple[str, str]] = set()
        for parent_id in {spawn.parent_id, *(edge.parent_id for edge in joins)} if joins else ():
            kin.update((parent_id, edge.child_id) for edge in tables.children.get(parent_id, ()))
        answer = refusal_of(spawn) or answer_to(
            spawn, {id: rows[id].as_known() for id in ids if id in rows}, kin
        )
        if answer is not None:
            return answer
        edges = without_known(spawn, kin)
        tables.insert(spawn.jobs, edges, created)
        for edge in joins_of(spawn._replace(edges=edges)):
            row = tables.waiting(edge.child_id)
            if row is not None and row.open:
                row.open += 1
        return Spawned(spawn.number, created, "", "")

    def update(self, epoch: int, updates: Sequence[Update]) -> None:
        """Write what running calls say of their state, for those in flight at attempt and hand."""
        with self._tables.lock:
            self._led(epoch)
            for update in filter(can_be_kept, updates):
                row = self._tables.at(update.id, update.attempt, update.hand)
                if row is None or row.state not in IN_FLIGHT_STATES:
                    continue
                if update.state == STARTED:
                    row.state = STARTED
                    row.say_no_more()
                else:
                    row.said = update.state
                row.meta, row.preview = update.meta or None, update.preview

    def say(self, epoch: int, sayings: Sequence[Saying]) -> set[str]:
        """Write what others say of the state of jobs; return the ids of those not ended."""
        with self._tables.lock:
            self._led(epoch)
            moved: set[str] = set()
            for id, state, meta, preview in filter(can_be_kept, sayings):
                row = self._tables.rows.get(id)
                if row is not None and row.state not in READY_STATES:
                    row.said, row.meta = state, meta or None
                    if row.state != RETRY:
                        row.preview = preview
                    moved.add(id)
            return moved

    def end(self, epoch: int, endings: Sequence[Ending]) -> Written:
        """End jobs that have not ended, whoever has them; return what moved."""
        with self._tables.lock:
            self._led(epoch)
            now, rows = self._clock(), self._tables.rows
            known = {each.id: rows[each.id].as_known() for each in endings if each.id in rows}
            self._moves.claim(claims_to_end(endings, known))
            outcomes = [
                ending_of(each, rows[each.id].attempt, rows[each.id].hand, now)
                for each in endings
                if each.id in rows
            ]
            for outcome in outcomes:
                check_end(outcome)
            moving = self._moves.moving(outcomes)
            follows = self._follows()
            self._moves.end(moving)
            follows.follow(moving)
            return Written(tuple(moving), tuple(follows.failed), (), (), tuple(follows.ready))

    def revoke(self, epoch: int, ids: Collection[str], reason: str) -> tuple[Written, set[str]]:
        """End waiting jobs as REVOKED; return what moved, and the ids that no row has."""
        with self._tables.lock:
            self._led(epoch)
            now = self._clock()
            revoked = [
                revocation_of(id, reason, attempt=row.attempt, hand=row.hand, now=now)
                for id in dict.fromkeys(ids)
                if (row := self._tables.waiting(id)) is not None
                and (row.state == PENDING or row.due is not None)  # else others recorded it
            ]
            follows = self._follows()
            self._moves.end(revoked)
            follows.follow(revoked)
            written = Written(tuple(revoked), tuple(follows.failed), (), (), tuple(follows.ready))
            return written, {id for id in ids if id not in self._tables.rows}

    def reopen(self, epoch: int, ids: Collection[str]) -> set[str]:
        """Let FAILURE and REVOKED jobs wait again, at their next attempt; return their ids."""
        with self._tables.lock:
            self._led(epoch)
            rows = self._tables.rows
            wave = [
                rows[id]
                for id in dict.fromkeys(ids)
                if id in rows and rows[id].state in PROPAGATE_STATES
            ]
            opened: set[str] = set()
            while wave:
                for row in wave:
                    self._reopen(row)
                    opened.add(row.job.id)
                wave = self._failed_by(wave)
            return opened

    def _reopen(self, row: Row) -> None:
        row.state, row.attempt, row.open, row.lost = PENDING, row.attempt + 1, None, 0
        row.forget_end()
        if row.hand:
            row.due = None
        if row.job.expires is not None and row.job.expires <= self._clock():
            row.job = row.job._replace(expires=None)
        self._tables.untaken[row.job.id] = None

    def _failed_by(self, parents: Sequence[Row]) -> list[Row]:
        """Return the jobs that failed, never begun, with *parents* and with no other."""
        rows = self._tables.rows
        found: dict[str, Row] = {}
        for parent in parents:
            for edge in self._tables.children.get(parent.job.id, ()):
                row = rows.get(edge.child_id)
                if row is None or row.state != FAILURE or row.hand:
                    continue
                others = (rows.get(each.parent_id) for each in self._tables.edges_to(row.job.id))
                if not any(each is not None and each.state in PROPAGATE_STATES for each in others):
                    found[row.job.id] = row
        return list(found.values())

    def forget(self, epoch: int, ids: Collection[str]) -> set[str]:
        """Delete jobs that have ended, with the edges to them; return their ids."""
        with self._tables.lock:
            self._led(epoch)
            gone = {id for id in ids if self._is_over(id)}
            for id in gone:
                self._tables.remove(id)
            return gone

    def _is_over(self, id: str) -> bool:
        """Tell whether a job has ended, and all that depend on it."""
        rows = self._tables.rows
        children = [edge.child_id for edge in self._tables.children.get(id, ())]
        return id in rows and all(
            each not in rows or rows[each].state in READY_STATES for each in (id, *children)
        )

    def prune(self, epoch: int, older: float, limit: int) -> dict[str, str | None]:
        """Delete up to *limit* jobs that ended more than *older* seconds ago; oldest first."""
        with self._tables.lock:
            self._led(epoch)
            tables, before = self._tables, self._clock() - older
            found: dict[str, str | None] = {}
            for id, row in tables.rows.items():
                followers = [edge.child_id for edge in tables.children.get(id, ())]
                followers += tables.born.get(id, ())
                if (
                    len(found) < limit
                    and row.state in READY_STATES
                    and row.finished is not None
                    and row.finished <= before
                    and all(
                        tables.rows[each].state in READY_STATES
                        for each in followers
                        if each in tables.rows
                    )
                ):
                    found[id] = future_at(graph=row.job.graph, queue=row.job.queue, key=row.key)
            for id in found:
                tables.remove(id)
            return found

    def pause(self, epoch: int, queue: str, *, paused: bool) -> None:
        """Keep in mind whether a queue is paused."""
        with self._tables.lock:
            self._led(epoch)
            (self._tables.paused.add if paused else self._tables.paused.discard)(queue)

    def paused(self) -> set[str]:
        """Return the queues that are paused."""
        with self._tables.lock:
            return set(self._tables.paused)

    def forget_taken(self, epoch: int) -> None:
        """Mark what earlier leaders took up, and did not hand out, as not taken up."""
        with self._tables.lock:
            self._led(epoch)
            self._moves.leave(self._tables.rows)

    def in_flight(self) -> Sequence[InFlight]:
        """Return the calls that an earlier leader handed out."""
        with self._tables.lock:
            rows = [row for row in self._tables.rows.values() if row.state in IN_FLIGHT_STATES]
            return [InFlight(self._tables.call(row), row.runner, row.worker) for row in rows]

    def later(self, limit: int) -> Sequence[Call]:
        """Return the calls that wait for a time to come, and were not taken up: nearest first."""
        with self._tables.lock:
            now = self._clock()
            rows = [self._tables.rows[id] for id in self._tables.untaken]
            waiting = [(row.due, row) for row in rows if row.due is not None and row.due > now]
            waiting.sort(key=lambda each: each[0])
            return [self._tables.call(row) for _, row in waiting[:limit]]

    def idle(self, limit: int, queues: Collection[str] | None = None) -> Sequence[str]:
        """Return the ids of calls that wait for a runner or their time alone; oldest first."""
        with self._tables.lock:
            rows = [row for row in self._tables.rows.values() if self._is_idle(row)]
            rows = [row for row in rows if queues is None or row.job.queue in queues]
            rows.sort(key=lambda row: (row.created, row.number))
            return [row.job.id for row in rows[:limit]]

    def _is_idle(self, row: Row) -> bool:
        if row.state != PENDING or row.open or row.job.graph:
            return False
        parents = [self._tables.rows.get(e.parent_id) for e in self._tables.edges_to(row.job.id)]
        return all(parent is None or parent.state in READY_STATES for parent in parents)

    def inputs(self, job_id: str, start: int, limit: int) -> tuple[Sequence[bytes], int]:
        """Return a job's inputs from position *start* on, and how many there are in all."""
        with self._tables.lock:
            taken = self._tables.inputs(job_id)
            told: list[bytes] = []
            size = 0
            for row in taken[start:]:
                result = (
                    told_input(None, None, None, None, None)
                    if row is None
                    else told_input(row.result, row.job.id, row.key, row.worker, row.size)
                )
                kept = row is not None and row.result is None and row.key
                size += REFERENCE_SIZE if kept else len(result)
                if size > limit and told:
                    break
                told.append(result)
            return told, len(taken)

    def revoked(self, limit: int) -> Sequence[str]:
        """Return the ids of REVOKED jobs, of those created last."""
        with self._tables.lock:
            rows = [row for row in self._tables.rows.values() if row.state == REVOKED]
            rows.sort(key=lambda row: (row.created, row.number), reverse=True)
            return [row.job.id for row in rows[:limit]]

    def requests(self, epoch: int, limit: int) -> Sequence[Asked]:
        """Return the oldest requests; they stay."""
        with self._tables.lock:
            self._led(epoch)
            return list(self._tables.requests.values())[:limit]

    def drop_requests(self, epoch: int, numbers: Collection[int]) -> None:
        """Remove requests."""
        with self._tables.lock:
            self._led(epoch)
            for number in numbers:
                self._tables.requests.pop(number, None)

    def close(self) -> None:
        """Nothing is open."""

    def _follows(self) -> MemoryConsequences:
        return MemoryConsequences(self._tables, self._moves, self._clock)

    def _led(self, epoch: int) -> Lease:
        lease = self._tables.lease
        if lease is None or lease.epoch != epoch:
            raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
        return lease


def _first(rows: Sequence[Row], limit: int) -> list[Row]:
    """Return the first of *rows*: so many, and none behind TAKEN_BYTES."""
    before = accumulate(map(_size_of, rows), initial=0)
    return [row for row, size in zip(rows[:limit], before, strict=False) if size < TAKEN_BYTES]


def _size_of(row: Row) -> int:
    return len(row.job.payload)


def _turn_of(row: Row) -> tuple[int, float, int]:
    return -row.job.priority, row.created, row.number
