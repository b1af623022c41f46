"""The leader's side of the ledger over a database: its transactions, and what follows from them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from dask_facade.elsewhere import scheduler_at
from dask_facade.exceptions import LeadershipLost, LedgerBusy, LedgerNotReady
from dask_facade.jobs import Asked, Batch, Ending, InFlight, Saying, Written
from dask_facade.ledger.calls import ATTEMPT, HAND, ID, PAYLOAD, calls_of_rows
from dask_facade.ledger.consequences import Consequences
from dask_facade.ledger.ends import can_be_kept, check_end, claims_to_end, ending_of, revocation_of
from dask_facade.ledger.inputs import told_input
from dask_facade.ledger.session import Session
from dask_facade.ledger.spawns import Known, answer_to, joins_of, refusal_of, without_known
from dask_facade.ledger.sql import COLUMNS
from dask_facade.ledger.store import TAKEN_BYTES, Lease
from dask_facade.messages import Call, Edge, NewJob, Spawn, Spawned, Update
from dask_facade.states import PENDING, READY_STATES

_MOST_INPUTS = 10_000  # that are looked at for one slice
_NOTHING = Written((), (), (), (), ())


class SqlDesk:
    """The ledger as the leading dispatcher has it, through *session*."""

    def __init__(self, session: Session) -> None:
        self._said = session.statements
        self._session = session

    def check_schema(self) -> None:
        """Raise LedgerNotReady unless the tables are those of this release."""
        with self._session.reading():
            for table, columns in COLUMNS.items():
                wrong = self._session.columns(table).symmetric_difference(columns)
                if wrong:
                    raise LedgerNotReady(
                        f"table {table} is of another release (see {', '.join(sorted(wrong))}): "
                        "run `python manage.py migrate dask_facade` with the release that you use"
                    )

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""
        with self._session.reading():
            return lease_of(self._session.rows(self._said.lease))

    def lead(
        self, holder: str, addresses: Sequence[str], secret: bytes, seen: Lease | None
    ) -> Lease | None:
        """Take the lease if it still is as *seen* (None: there was no row), else return None."""
        session = self._session
        mine = (holder, json.dumps(list(addresses)), secret, session.at(0))
        with session.transaction(None):
            if seen is None:
                taken = session.change(self._said.first_lease, *mine)
            else:
                taken = session.change(
                    self._said.next_lease, *mine, seen.epoch, seen.beat, seen.holder
                )
            session.look_at_clock()
            return lease_of(session.rows(self._said.lease)) if taken else None

    def beat(self, epoch: int) -> None:
        """Say that the leader lives."""
        self._change_lease(self._said.beat, epoch)

    def announce(self, epoch: int, scheduler: str) -> None:
        """Write the address of the Dask scheduler into the lease."""
        self._change_lease(self._said.announce, epoch, scheduler)

    def resign(self, epoch: int) -> None:
        """Give the lease up: holder "" and no addresses; the epoch stays."""
        self._change_lease(self._said.resign, epoch, "[]")

    def _change_lease(self, statement: str, epoch: int, *parameters: object) -> None:
        with self._session.transaction(None):
            if not self._session.change(statement, *parameters, self._session.at(0), epoch):
                raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
            self._session.look_at_clock()

    def now(self) -> float:
        """Return the database's time in seconds since the epoch, as of the last beat."""
        return self._session.now()

    def write(self, epoch: int, batch: Batch) -> Written:
        """Write *batch*, each part guarded, and what follows from it."""
        for outcome in batch.outcomes:
            check_end(outcome)
        session = self._session
        written = session.write_alone(epoch, batch)
        if written is not None:
            return written
        follows = Consequences(session)
        with session.transaction(epoch):
            outcomes = session.end(batch.outcomes) if batch.outcomes else []
            if outcomes:
                follows.follow(outcomes)
            released = session.release(batch.releases) if batch.releases else []
            claimed = session.claim(batch.claims) if batch.claims else []
            if batch.left:
                session.change(self._said.leave, session.among(batch.left))
        return Written(
            outcomes=tuple(outcomes),
            failed=tuple(follows.failed),
            released=tuple(released),
            claimed=tuple(claimed),
            ready=tuple(follows.ready),
        )

    def take_up(
        self, epoch: int, grace: float, horizon: float, limit: int, without: Collection[str] = ()
    ) -> Written:
        """Take up to *limit* waiting rows that no leader has taken up, of queues not *without*."""
        session = self._session
        new = (session.at(-grace), session.among(list(without)))
        due = (session.at(horizon), session.among(list(without)))
        if not self._found(epoch, self._said.peek, *new, *due):
            return _NOTHING
        follows = Consequences(session)
        with session.transaction(epoch):
            rows = session.rows(self._said.new, *new, limit, TAKEN_BYTES)
            rows += session.rows(self._said.due, *due, limit, TAKEN_BYTES)
            rows.sort(key=lambda row: (-row[5], row[6]))
            follows.count_afresh(rows[:limit])
        more = len(rows) >= limit or sum(len(row[PAYLOAD]) for row in rows) >= TAKEN_BYTES
        return Written((), tuple(follows.failed), (), (), tuple(follows.ready), more)

    def spawn(self, epoch: int, spawns: Sequence[Spawn]) -> Sequence[Spawned]:
        """Insert what running calls submit, each all or nothing, and answer in their order."""
        session = self._session
        answers = {place: refusal_of(spawn) for place, spawn in enumerate(spawns)}
        sound = [(place, spawn) for place, spawn in enumerate(spawns) if answers[place] is None]
        jobs: list[NewJob] = []
        edges: list[Edge] = []
        joins: list[Edge] = []
        with session.transaction(epoch):
            known = self._known(spawn for _, spawn in sound)
            kin = self._kin(spawn for _, spawn in sound)
            for place, spawn in sound:
                answer = answers[place] = answer_to(spawn, known, kin)
                if answer is None:
                    jobs += spawn.jobs
                    edges += (new := without_known(spawn, kin))
                    if kin:
                        joins += joins_of(spawn._replace(edges=new))
                        kin.update((edge.parent_id, edge.child_id) for edge in new)
                    known.update((j.id, Known(PENDING, 1, 0, j.parent_id, 0.0)) for j in spawn.jobs)
            created = 0.0
            if jobs or edges:
                created, free = session.insert(jobs, edges)
                if len(free) < len(jobs):
                    raise LedgerBusy("another connection is writing jobs with the same ids")
            for id, count in Counter(edge.child_id for edge in joins).items():
                session.change(self._said.wait_for_more, count, id)
        told = []
        for place, spawn in enumerate(spawns):
            answer = answers[place] or Spawned(spawn.number, created, "", "")
            told.append(
                answer if answer.refusal or answer.created else answer._replace(created=created)
            )
        return told

    def _known(self, spawns: Iterable[Spawn]) -> dict[str, Known]:
        ids: set[str] = set()
        for spawn in spawns:
            ids.add(spawn.parent_id)
            ids.update(job.id for job in spawn.jobs)
        return self._read_known(ids)

    def _read_known(self, ids: Collection[str]) -> dict[str, Known]:
        session = self._session
        rows = session.rows(self._said.known, session.among(ids)) if ids else []
        return {id: Known._make((*known, session.seconds(created))) for id, *known, created in rows}

    def _kin(self, spawns: Iterable[Spawn]) -> set[tuple[str, str]]:
        """Return (parent id, child id) of edges, for spawns that let known jobs wait for more."""
        ids: set[str] = set()
        for spawn in spawns:
            if joins := joins_of(spawn):
                ids.add(spawn.parent_id)
                ids.update(edge.parent_id for edge in joins)
        session = self._session
        rows = session.rows(self._said.edges_from, session.among(ids)) if ids else []
        return {(parent_id, child_id) for parent_id, child_id, _ in rows}

    def update(self, epoch: int, updates: Sequence[Update]) -> None:
        """Write what running calls say of their state, for those in flight at attempt and hand."""
        with self._session.transaction(epoch):
            self._session.update([update for update in updates if can_be_kept(update)])

    def say(self, epoch: int, sayings: Sequence[Saying]) -> set[str]:
        """Write what others say of the state of jobs; return the ids of those not ended."""
        session = self._session
        with session.transaction(epoch):
            return {
                id
                for id, state, meta, preview in filter(can_be_kept, sayings)
                if session.change(self._said.say, state, meta or None, preview, id)
            }

    def end(self, epoch: int, endings: Sequence[Ending]) -> Written:
        """End jobs that have not ended, whoever has them; return what moved."""
        session = self._session
        follows = Consequences(session)
        with session.transaction(epoch):
            known = self._read_known([each.id for each in endings])
            claimed = dict(session.claim(claims_to_end(endings, known)))
            now = session.now()
            outcomes = [
                ending_of(each, row.attempt, claimed.get(each.id, row.hand), now)
                for each in endings
                if (row := known.get(each.id)) is not None
            ]
            for outcome in outcomes:
                check_end(outcome)
            moved = session.end(outcomes)
            follows.follow(moved)
        return Written(tuple(moved), tuple(follows.failed), (), (), tuple(follows.ready))

    def revoke(self, epoch: int, ids: Collection[str], reason: str) -> tuple[Written, set[str]]:
        """End waiting jobs as REVOKED; return what moved, and the ids that no row has.

        What others recorded as not ended stays: it is theirs to end.
        """
        session = self._session
        follows = Consequences(session)
        wanted = session.among(list(dict.fromkeys(ids)))
        with session.transaction(epoch):
            known = {row[0] for row in session.rows(self._said.known, wanted)}
            now = session.now()
            waiting = {row[ID]: row for row in session.rows(self._said.revocable, wanted)}
            outcomes = session.end(
                [
                    revocation_of(
                        id, reason, attempt=waiting[id][ATTEMPT], hand=waiting[id][HAND], now=now
                    )
                    for id in dict.fromkeys(ids)
                    if id in waiting
                ]
            )
            follows.follow(outcomes)
        written = Written(tuple(outcomes), tuple(follows.failed), (), (), tuple(follows.ready))
        return written, set(ids) - known

    def reopen(self, epoch: int, ids: Collection[str]) -> set[str]:
        """Let FAILURE and REVOKED jobs wait again, at their next attempt; return their ids."""
        session = self._session
        opened: set[str] = set()
        with session.transaction(epoch):
            wave = session.rows(self._said.unsuccessful, session.among(list(ids)))
            while wave:
                found = [id for (id,) in wave]
                session.change(self._said.reopen, session.at(0), session.among(found))
                opened.update(found)
                wave = session.rows(self._said.failed_by, session.among(found))
        return opened

    def forget(self, epoch: int, ids: Collection[str]) -> set[str]:
        """Delete jobs that have ended, with the edges to them; return their ids."""
        session = self._session
        with session.transaction(epoch):
            ended = [id for (id,) in session.rows(self._said.ended, session.among(list(ids)))]
            needed = {id for (id,) in session.rows(self._said.needed, session.among(ended))}
            over = [id for id in ended if id not in needed]
            if over:
                session.change(self._said.forget, session.among(over))
                session.change(self._said.forget_edges, session.among(over))
        return set(over)

    def prune(self, epoch: int, older: float, limit: int) -> dict[str, str | None]:
        """Delete up to *limit* jobs that ended more than *older* seconds ago; oldest first."""
        session = self._session
        with session.reading():
            if not self._expired(older, 1):
                return {}
        with session.transaction(epoch):
            found = self._expired(older, limit)
            ids = session.among(list(found))
            session.change(self._said.forget, ids)
            session.change(self._said.forget_edges, ids)
        return found

    def _expired(self, older: float, limit: int) -> dict[str, str | None]:
        session, found = self._session, dict[str, str | None]()
        before = session.at(-older)
        for state in sorted(READY_STATES):
            left = limit - len(found)
            rows = session.rows(self._said.expired, state, before, before, left) if left else []
            found.update((id, None if at is None else scheduler_at(at)) for id, at in rows)
        return found

    def pause(self, epoch: int, queue: str, *, paused: bool) -> None:
        """Keep in mind whether a queue is paused."""
        with self._session.transaction(epoch):
            self._session.change(self._said.pause, queue, paused)

    def paused(self) -> set[str]:
        """Return the queues that are paused."""
        with self._session.reading():
            return {name for (name,) in self._session.rows(self._said.paused)}

    def forget_taken(self, epoch: int) -> None:
        """Mark what earlier leaders took up, and did not hand out, as not taken up."""
        with self._session.transaction(epoch):
            self._session.change(self._said.forget_taken)

    def in_flight(self) -> Sequence[InFlight]:
        """Return the calls that an earlier leader handed out."""
        with self._session.reading():
            rows = self._session.rows(self._said.in_flight)
            calls = calls_of_rows(self._session, rows)
            return [InFlight(call, *row[-2:]) for call, row in zip(calls, rows, strict=True)]

    def later(self, limit: int) -> Sequence[Call]:
        """Return the calls that wait for a time to come, and were not taken up: nearest first."""
        session = self._session
        with session.reading():
            rows = session.rows(self._said.later, session.at(0), limit)
            return calls_of_rows(session, rows)

    def idle(self, limit: int, queues: Collection[str] | None = None) -> Sequence[str]:
        """Return the ids of calls that wait for a runner or their time alone; oldest first."""
        session = self._session
        with session.reading():
            if queues is None:
                return [id for (id,) in session.rows(self._said.idle, limit)]
            rows = session.rows(self._said.idle_of, session.among(queues), limit)
            return [id for (id,) in rows]

    def inputs(self, job_id: str, start: int, limit: int) -> tuple[Sequence[bytes], int]:
        """Return a job's inputs from position *start* on, and how many there are in all."""
        with self._session.reading():
            rows = self._session.rows(
                self._said.slice_of_inputs, job_id, _MOST_INPUTS, start, limit
            )
            ((total,),) = self._session.rows(self._said.count_inputs, job_id)
            return [told_input(*row) for row in rows], total

    def revoked(self, limit: int) -> Sequence[str]:
        """Return the ids of REVOKED jobs, of those created last."""
        with self._session.reading():
            return [id for (id,) in self._session.rows(self._said.revoked, limit)]

    def requests(self, epoch: int, limit: int) -> Sequence[Asked]:
        """Return the oldest requests; they stay."""
        if not self._found(epoch, self._said.peek_requests):
            return ()
        with self._session.reading():
            rows = self._session.rows(self._said.requests, limit)
            return [
                Asked(number, kind, name, json.loads(said)) for number, kind, name, said in rows
            ]

    def drop_requests(self, epoch: int, numbers: Collection[int]) -> None:
        """Remove requests."""
        session = self._session
        with session.transaction(epoch):
            session.change(self._said.drop_requests, session.among(list(numbers)))

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _found(self, epoch: int, peek: str, *parameters: object) -> bool:
        """Look for work without a transaction: there mostly is none, and others may write."""
        with self._session.reading():
            ((current, *found),) = self._session.rows(peek, epoch, *parameters)
        if current is None:
            raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
        return any(found)


def lease_of(rows: Sequence[Any]) -> Lease | None:
    """Return the lease in what `Statements.lease` selects."""
    for epoch, beat, holder, addresses, secret, scheduler in rows:
        return Lease(epoch, beat, holder, tuple(json.loads(addresses)), bytes(secret), scheduler)
    return None
