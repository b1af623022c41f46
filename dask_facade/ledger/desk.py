"""The leader's side of the ledger over a database: its transactions, and what follows from them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dask_facade.exceptions import LeadershipLost, LedgerNotReady
from dask_facade.jobs import Batch, InFlight, Written
from dask_facade.ledger.ends import check_end, failure_of
from dask_facade.ledger.sql import COLUMNS, Session
from dask_facade.ledger.store import Lease
from dask_facade.messages import Call, Outcome, Shape
from dask_facade.serialization import NONE
from dask_facade.states import PROPAGATE_STATES, READY_STATES, SUCCESS

_ID, _ATTEMPT, _HAND, _ETA, _SHAPE, _OPEN = 0, 2, 3, 7, 14, 16  # in a row of sql.CALL, open
_MOST_INPUTS = 10_000  # that are looked at for one slice


class SqlDesk:
    """The ledger as the leading dispatcher has it, through *session*."""

    def __init__(self, session: Session, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
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
            return lease_of(session.rows(self._said.lease)) if taken else None

    def beat(self, epoch: int) -> None:
        """Say that the leader lives."""
        with self._session.transaction(None):
            if not self._session.change(self._said.beat, self._session.at(0), epoch):
                raise LeadershipLost(f"epoch {epoch} is over: nothing was written")

    def resign(self, epoch: int) -> None:
        """Give the lease up: holder "" and no addresses; the epoch stays."""
        with self._session.transaction(None):
            if not self._session.change(self._said.resign, "[]", self._session.at(0), epoch):
                raise LeadershipLost(f"epoch {epoch} is over: nothing was written")

    def write(self, epoch: int, batch: Batch) -> Written:
        """Write *batch*, each part guarded, and what follows from it."""
        for outcome in batch.outcomes:
            check_end(outcome)
        session = self._session
        written = session.write_alone(epoch, batch)
        if written is not None:
            return written
        failed: list[Outcome] = []
        ready: list[Call] = []
        with session.transaction(epoch):
            outcomes = session.end(batch.outcomes) if batch.outcomes else []
            if outcomes:
                self._follow(outcomes, failed, ready)
            released = session.release(batch.releases) if batch.releases else []
            claimed = session.claim(batch.claims) if batch.claims else []
        return Written(
            outcomes=tuple(outcomes),
            failed=tuple(failed),
            released=tuple(released),
            claimed=tuple(claimed),
            ready=tuple(ready),
        )

    def take_up(self, epoch: int, grace: float, horizon: float, limit: int) -> Sequence[Call]:
        """Take up to *limit* waiting rows that no leader has taken up; return those ready."""
        session = self._session
        failed: list[Outcome] = []
        ready: list[Call] = []
        before, until = session.at(-grace), session.at(horizon)
        if not self._found(epoch, self._said.peek, before, until):
            return ()
        with session.transaction(epoch):
            rows = session.rows(self._said.new, before, limit)
            rows += session.rows(self._said.due, until, limit)
            rows.sort(key=lambda row: (-row[5], row[6]))
            if rows:
                self._count_afresh(rows[:limit], failed, ready)
        return ready

    def forget_taken(self, epoch: int) -> None:
        """Mark what earlier leaders took up, and did not hand out, as not taken up."""
        with self._session.transaction(epoch):
            self._session.change(self._said.forget_taken)

    def in_flight(self) -> Sequence[InFlight]:
        """Return the calls that an earlier leader handed out."""
        with self._session.reading():
            rows = self._session.rows(self._said.in_flight)
            calls = self._calls(rows)
            return [InFlight(call, *row[-2:]) for call, row in zip(calls, rows, strict=True)]

    def inputs(self, job_id: str, start: int, limit: int) -> tuple[Sequence[bytes], int]:
        """Return a job's inputs from position *start* on, and how many there are in all."""
        with self._session.reading():
            rows = self._session.rows(
                self._said.slice_of_inputs, job_id, _MOST_INPUTS, start, limit
            )
            ((total,),) = self._session.rows(self._said.count_inputs, job_id)
            return [NONE if result is None else result for (result,) in rows], total

    def take_requests(
        self, epoch: int, limit: int
    ) -> Sequence[tuple[str, str, Mapping[str, object]]]:
        """Remove the oldest requests and return them as (kind, job id, arguments)."""
        session = self._session
        if not self._found(epoch, self._said.peek_requests):
            return ()
        with session.transaction(epoch):
            rows = session.rows(self._said.requests, limit)
            if rows:
                session.change(self._said.drop_requests, session.among([row[0] for row in rows]))
            return [(kind, job_id, json.loads(words)) for _, kind, job_id, words in rows]

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

    def _follow(
        self, outcomes: Sequence[Outcome], failed: list[Outcome], ready: list[Call]
    ) -> None:
        """Lower the counts of those that wait for *outcomes*, or let them fail."""
        reasons: dict[str, Outcome] = {}
        lower: Counter[str] = Counter()
        inputs: dict[str, bytes | None] = {}
        for child_id, parent, takes_result in self._children(outcomes):
            if parent.state != SUCCESS:
                reasons.setdefault(child_id, parent)
                continue
            lower[child_id] += 1
            if takes_result:
                inputs[child_id] = parent.result
        self._fail(reasons, failed)
        if lower:
            self._lower(lower, inputs, failed, ready)

    def _children(self, outcomes: Sequence[Outcome]) -> list[tuple[str, Outcome, bool]]:
        """Return (child id, outcome of its parent, whether it takes the result) for each edge."""
        ended = [outcome for outcome in outcomes if outcome.state in READY_STATES]
        if not ended:
            return []
        ids = self._session.among([outcome.id for outcome in ended])
        children: dict[str, list[tuple[str, bool]]] = {}
        for parent_id, child_id, takes_result in self._session.rows(self._said.edges_from, ids):
            children.setdefault(parent_id, []).append((child_id, takes_result))
        if not children:
            return []
        return [
            (child_id, outcome, takes_result)
            for outcome in ended
            for child_id, takes_result in children.get(outcome.id, ())
        ]

    def _fail(self, reasons: Mapping[str, Outcome], failed: list[Outcome]) -> None:
        """Let the waiting jobs of *reasons* fail, then those that wait for them, and so on."""
        while reasons:
            now = self._clock()
            rows = {row[_ID]: row for row in self._waiting(list(reasons))}
            wave = [
                failure_of(
                    id,
                    parent,
                    attempt=rows[id][_ATTEMPT],
                    hand=rows[id][_HAND],
                    shape=rows[id][_SHAPE],
                    now=now,
                )
                for id, parent in reasons.items()
                if id in rows
            ]
            ended = self._session.end(wave)
            failed += ended
            reasons = {}
            for child_id, parent, _ in self._children(ended):
                reasons.setdefault(child_id, parent)

    def _lower(
        self,
        lower: Mapping[str, int],
        inputs: Mapping[str, bytes | None],
        failed: list[Outcome],
        ready: list[Call],
    ) -> None:
        """Take what has ended from the counts of waiting jobs; count those never counted."""
        rows = self._session.lower(lower)
        ready += self._calls([row for row in rows if not row[_OPEN]], inputs)
        counted = {row[_ID] for row in rows}
        if len(counted) < len(lower):
            others = [id for id in lower if id not in counted]
            waiting = {row[_ID]: row for row in self._waiting(others)}
            # One with an eta is counted when that is near.
            unknown = [
                waiting[id]
                for id in others
                if id in waiting and waiting[id][_OPEN] is None and waiting[id][_ETA] is None
            ]
            if unknown:
                self._count_afresh(unknown, failed, ready)

    def _count_afresh(self, rows: Sequence[Any], failed: list[Outcome], ready: list[Call]) -> None:
        """Count what each of *rows* waits for; let those fail that wait in vain."""
        session = self._session
        open = {row[_ID]: 0 for row in rows}
        lost: dict[str, str] = {}  # child -> the first parent that did not succeed
        ids = session.among(list(open))
        for child_id, parent_id, state in session.rows(self._said.edges_to, ids):
            open[child_id] += state != SUCCESS
            if state in PROPAGATE_STATES:
                lost.setdefault(child_id, parent_id)
        if lost:
            parents = self._ends(set(lost.values()))
            self._fail({id: parents[lost[id]] for id in open if id in lost}, failed)
        session.set_open([(count, id) for id, count in open.items() if id not in lost])
        ready += self._calls([row for row in rows if not open[row[_ID]]])

    def _calls(
        self, rows: Sequence[Any], inputs: Mapping[str, bytes | None] | None = None
    ) -> list[Call]:
        """Return rows of sql.CALL as calls, with the one input of those that take one.

        *inputs* has those that are known; the others are read.
        """
        known = dict(inputs or ())
        unread = [row[_ID] for row in rows if row[_SHAPE] == Shape.FIRST and row[_ID] not in known]
        if unread:
            ids = self._session.among(unread)
            for child_id, result in self._session.rows(self._said.inputs_of, ids):
                known.setdefault(child_id, result)
        return [self._call(row, known) for row in rows]

    def _call(self, row: Sequence[Any], inputs: Mapping[str, bytes | None]) -> Call:
        id, eta = row[_ID], row[_ETA]
        taken: tuple[bytes, ...] = ()
        if row[_SHAPE] == Shape.FIRST and id in inputs:
            result = inputs[id]
            taken = (NONE if result is None else result,)
        seconds = self._session.seconds
        due = None if eta is None else seconds(eta)
        return Call._make((*row[:6], seconds(row[6]), due, *row[8:16], taken, False))

    def _waiting(self, ids: Sequence[str]) -> list[Any]:
        return self._session.rows(self._said.waiting, self._session.among(ids))

    def _ends(self, ids: set[str]) -> dict[str, Outcome]:
        """Return how jobs ended, as far as their dependants are told."""
        rows = self._session.rows(self._said.ends, self._session.among(ids))
        return {
            id: Outcome(id, 0, 0, "", result, preview, traceback, None, 0.0, 0.0)
            for id, result, preview, traceback in rows
        }


def lease_of(rows: Sequence[Any]) -> Lease | None:
    """Return the lease in what `Statements.lease` selects."""
    for epoch, beat, holder, addresses, secret in rows:
        return Lease(epoch, beat, holder, tuple(json.loads(addresses)), bytes(secret))
    return None
