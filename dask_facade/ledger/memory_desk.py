"""The leader's side of the ledger in memory."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dask_facade.exceptions import LeadershipLost, LedgerRefused
from dask_facade.jobs import Asked, Batch, Claim, Ending, InFlight, Release, Saying, Written
from dask_facade.ledger.ends import (
    GOES_ON,
    SOON,
    can_be_kept,
    check_end,
    claims_to_end,
    ending_of,
    errbacks_of,
    failure_of,
    revocation_of,
)
from dask_facade.ledger.inputs import REFERENCE_SIZE, told_input
from dask_facade.ledger.rows import Row, Tables
from dask_facade.ledger.spawns import answer_to, joins_of, refusal_of, without_known
from dask_facade.ledger.store import Lease
from dask_facade.messages import Call, Outcome, Spawn, Spawned, Update, unpack_again
from dask_facade.states import (
    ABORTED,
    FAILURE,
    IN_FLIGHT_STATES,
    PENDING,
    PROPAGATE_STATES,
    READY_STATES,
    RECEIVED,
    RETRY,
    SOURCES,
    STARTED,
    SUCCESS,
)


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
            moving = self._moving(batch.outcomes)
            self._check_free(moving)
            failed: list[Outcome] = []
            ready: list[Call] = []
            self._end(moving)
            near = self._go_on(moving)
            self._follow(moving, failed, ready)
            self._count_afresh([row for row in near if row.open is None], failed, ready)
            released = self._release(batch.releases)
            claimed = self._claim(batch.claims)
            self._leave(batch.left)
            return Written(
                outcomes=tuple(moving),
                failed=tuple(failed),
                released=tuple(released),
                claimed=tuple(claimed),
                ready=tuple(ready),
            )

    def take_up(
        self, epoch: int, grace: float, horizon: float, limit: int, without: Collection[str] = ()
    ) -> Written:
        """Take up to *limit* waiting rows that no leader has taken up."""
        with self._tables.lock:
            self._led(epoch)
            now = self._clock()
            rows = [self._tables.rows[id] for id in self._tables.untaken]
            rows = [
                row
                for row in rows
                if (row.created <= now - grace if row.due is None else row.due <= now + horizon)
                and row.job.queue not in without
            ]
            rows.sort(key=lambda row: (-row.job.priority, row.created, row.number))
            failed: list[Outcome] = []
            ready: list[Call] = []
            self._count_afresh(rows[:limit], failed, ready)
            return Written((), tuple(failed), (), (), tuple(ready), len(rows[:limit]))

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
            self._claim(claims_to_end(endings, known))
            outcomes = [
                ending_of(each, rows[each.id].attempt, rows[each.id].hand, now)
                for each in endings
                if each.id in rows
            ]
            for outcome in outcomes:
                check_end(outcome)
            moving = self._moving(outcomes)
            failed: list[Outcome] = []
            ready: list[Call] = []
            self._end(moving)
            self._follow(moving, failed, ready)
            return Written(tuple(moving), tuple(failed), (), (), tuple(ready))

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
            failed: list[Outcome] = []
            ready: list[Call] = []
            self._end(revoked)
            self._follow(revoked, failed, ready)
            unknown = {id for id in ids if id not in self._tables.rows}
            return Written(tuple(revoked), tuple(failed), (), (), tuple(ready)), unknown

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

    def prune(self, epoch: int, older: float, limit: int) -> dict[str, bool]:
        """Delete up to *limit* jobs that ended more than *older* seconds ago; oldest first."""
        with self._tables.lock:
            self._led(epoch)
            tables, before = self._tables, self._clock() - older
            found: dict[str, bool] = {}
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
                    found[id] = bool(row.key)
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
            self._leave(self._tables.rows)

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

    def idle(self, limit: int) -> Sequence[str]:
        """Return the ids of calls that wait for a runner or their time alone; oldest first."""
        with self._tables.lock:
            rows = [row for row in self._tables.rows.values() if self._is_idle(row)]
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

    def _led(self, epoch: int) -> Lease:
        lease = self._tables.lease
        if lease is None or lease.epoch != epoch:
            raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
        return lease

    # Moves

    def _moving(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes that move their job: the first for each that may."""
        moving: dict[str, Outcome] = {}
        for outcome in outcomes:
            row = self._tables.at(outcome.id, outcome.attempt, outcome.hand)
            if row is not None and row.state in SOURCES[outcome.state]:
                moving.setdefault(outcome.id, outcome)
        return list(moving.values())

    def _check_free(self, outcomes: Sequence[Outcome]) -> None:
        """Raise LedgerRefused where a job of those that go on has an id that is taken."""
        seen = set(self._tables.rows)
        for outcome in outcomes:
            if outcome.state in GOES_ON:
                for job in unpack_again(outcome.again).jobs:
                    if job.id in seen:
                        raise LedgerRefused(f"the id {job.id!r} of a new job is taken")
                    seen.add(job.id)

    def _end(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            row = self._tables.rows[outcome.id]
            said, meta = row.said, row.meta
            row.forget_end()
            if outcome.leaves_state:
                row.said, row.meta = said, meta
            elif outcome.state in GOES_ON and said == ABORTED:
                row.said = said
            row.state = outcome.state
            if outcome.state in GOES_ON:
                row.attempt += 1
                row.open = None
                self._tables.untaken[outcome.id] = None
                if outcome.state == PENDING:
                    continue
            else:
                row.finished = outcome.finished
                self._tables.untaken.pop(outcome.id, None)
            row.started, row.traceback = outcome.started, outcome.traceback
            row.key, row.size = outcome.key, outcome.size
            ignored = outcome.state == SUCCESS and row.job.ignore_result
            if not ignored or self._tables.is_taken(outcome.id):
                row.result, row.preview = outcome.result, outcome.preview

    def _go_on(self, outcomes: Sequence[Outcome]) -> list[Row]:
        """Write what becomes of jobs that have not ended, and insert what comes beside them.

        Return those of both that may be ready soon.
        """
        now = self._clock()
        near: list[Row] = []
        beside: list[Row] = []
        for outcome in outcomes:
            if outcome.state not in GOES_ON:
                continue
            again = unpack_again(outcome.again)
            row = self._tables.rows[outcome.id]
            row.due = now + again.delay if again.delay or outcome.state == RETRY else None
            row.job = row.job._replace(options=again.options)
            for become in again.becomes:
                row.job = become._replace(
                    id=row.job.id,
                    owner=row.job.owner,
                    root_id=row.job.root_id,
                    parent_id=row.job.parent_id,
                    group_id=row.job.group_id,
                )
                self._tables.take_no_more(outcome.id)
            self._tables.insert(again.jobs, again.edges, now)
            if again.delay <= SOON:
                near.append(row)
            beside += [self._tables.rows[job.id] for job in again.jobs if job.due is None]
        return near + beside

    def _release(self, releases: Sequence[Release]) -> list[tuple[str, int]]:
        moved = []
        for release in releases:
            row = self._tables.at(release.id, release.attempt, release.hand)
            if row is not None and row.state in SOURCES[PENDING]:
                row.state = PENDING
                row.lost = release.lost
                row.say_no_more()
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

    def _leave(self, ids: Iterable[str]) -> None:
        for id in ids:
            row = self._tables.waiting(id)
            if row is not None and row.open == 0:
                row.open = None
                self._tables.untaken[id] = None

    # What follows

    def _follow(self, ended: Sequence[Outcome], failed: list[Outcome], ready: list[Call]) -> None:
        """Lower the counts of those that wait for *ended*, or let them fail."""
        reasons: dict[str, Outcome] = {}
        lower: Counter[str] = Counter()
        for child_id, parent in self._children(ended):
            if parent.state == SUCCESS and not parent.cut:
                lower[child_id] += 1
            else:
                reasons.setdefault(child_id, parent)
        self._call_back(ended, failed, ready, inherited=False)
        self._fail(reasons, failed, ready)
        unknown: list[Row] = []
        free: list[Row] = []
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
                    free.append(row)
        self._free(free, ready)
        self._count_afresh(unknown, failed, ready)

    def _children(self, ended: Iterable[Outcome]) -> list[tuple[str, Outcome]]:
        return [
            (edge.child_id, outcome)
            for outcome in ended
            if outcome.state in READY_STATES
            for edge in self._tables.children.get(outcome.id, ())
        ]

    def _fail(
        self, reasons: Mapping[str, Outcome], failed: list[Outcome], ready: list[Call]
    ) -> None:
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
            self._end(wave)
            failed += wave
            self._call_back(wave, failed, ready, inherited=True)
            reasons = {}
            for child_id, parent in self._children(wave):
                reasons.setdefault(child_id, parent)

    def _call_back(
        self,
        ended: Iterable[Outcome],
        failed: list[Outcome],
        ready: list[Call],
        *,
        inherited: bool,
    ) -> None:
        """Insert the error callbacks of those that failed."""
        now = self._clock()
        fresh: list[Row] = []
        for outcome in ended:
            if outcome.state == FAILURE:
                errbacks = self._tables.rows[outcome.id].job.errbacks
                for job in errbacks_of(outcome.id, errbacks, inherited=inherited):
                    if job.id not in self._tables.rows:
                        self._tables.insert([job], (), now)
                        fresh.append(self._tables.rows[job.id])
        self._count_afresh([row for row in fresh if row.due is None], failed, ready)

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
        self._fail(reasons, failed, ready)
        self._free([row for row in rows if not row.open], ready)

    def _free(self, rows: Sequence[Row], ready: list[Call]) -> None:
        """Tell of jobs that wait for nothing else; their delay begins."""
        now = self._clock()
        for row in rows:
            if row.delay:
                row.due, row.delay = now + row.delay, 0.0
            ready.append(self._tables.call(row))
