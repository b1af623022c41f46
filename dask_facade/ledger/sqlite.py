"""The leader's session on SQLite: short immediate transactions that never wait for a lock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, tzinfo
from functools import lru_cache
from json import dumps
from typing import Any

from dask_facade.exceptions import (
    LeadershipLost,
    LedgerBusy,
    LedgerError,
    LedgerNotReady,
    LedgerRefused,
    LedgerUnavailable,
)
from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.ledger.ends import GOES_ON
from dask_facade.ledger.sql import (
    FRESH,
    IGNORED,
    IN_FLIGHT,
    INSERT_EDGE,
    INSERT_JOB,
    JOB,
    SAID_NO_MORE,
    WAITING,
    Statements,
    may_enter,
    statements,
)
from dask_facade.messages import Edge, NewJob, Outcome, Update
from dask_facade.packing import unpack_again
from dask_facade.states import PENDING, READY_STATES, RECEIVED, RETRY, STARTED, SUCCESS

_STATEMENTS = statements(
    mark="?",
    among="IN (SELECT value FROM json_each(?))",
    at="?",
    moment="?",
    json="?",
    by=" INDEXED BY {}",
    plain="+",
    own="job.id",
)
_KEPT = f"CASE WHEN {IGNORED.format(id=JOB + '.id')} THEN {{nothing}} ELSE ? END"
_END = {
    state: (
        f"UPDATE {JOB} SET state = '{state}',"
        f" result = {_KEPT.format(nothing='NULL') if state == SUCCESS else '?'},"
        f""" result_preview = {_KEPT.format(nothing="''") if state == SUCCESS else "?"},"""
        " traceback = ?, started = ?, finished = ?, runtime = ?, key = ?, size = ?"
        ", said = '', meta = NULL"
        f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {may_enter(state)}"
    )
    for state in sorted(READY_STATES)
}
_LEAVE = _END[SUCCESS].replace(", said = '', meta = NULL", "")
_GO_ON = {
    state: (
        f"UPDATE {JOB} SET state = '{state}', result = ?, result_preview = ?, traceback = ?,"
        " started = ?, eta = ?, options = ?, attempt = attempt + 1, open = NULL,"
        f" {SAID_NO_MORE}"
        f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {may_enter(state)}"
    )
    for state in sorted(GOES_ON)
}
_SAY = (
    f"UPDATE {JOB} SET said = ?, meta = ?, result_preview = ?"
    f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {IN_FLIGHT}"
)
_START = _SAY.replace("SET said = ?", f"SET state = '{STARTED}', {SAID_NO_MORE}").replace(
    "meta = NULL, ", ""
)
_INSERT_JOB = f"{INSERT_JOB} VALUES ({', '.join('?' * 20)}, {FRESH}) ON CONFLICT (id) DO NOTHING"
_INSERT_EDGE = f"{INSERT_EDGE} VALUES (?, ?, ?, ?)"
_RELEASE = (
    f"UPDATE {JOB} SET state = '{PENDING}', lost = ?, {SAID_NO_MORE}"
    f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {IN_FLIGHT}"
)
_CLAIM = (
    f"UPDATE {JOB} SET state = '{RECEIVED}', hand = hand + 1, open = 0, claimed = ?, runner = ?,"
    " worker = ?"
    f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {WAITING}"
)
_SET_OPEN = f"UPDATE {JOB} SET open = ? WHERE id = ?"
_BEGIN_DELAY = f"UPDATE {JOB} SET eta = ?, delay = 0 WHERE id = ?"


class SqliteSession:
    """A connection with timeout 0, as `connect` makes it; times are stored as of *zone*."""

    statements: Statements = _STATEMENTS

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], *, zone: tzinfo, not_ready: str
    ) -> None:
        self._connect = connect
        self._zone = zone
        self._not_ready = not_ready
        self._connection: sqlite3.Connection | None = None

    @contextmanager
    def transaction(self, epoch: int | None) -> Iterator[None]:
        """Begin at once, check *epoch* (None: do not), commit at the end; or roll back."""
        with self.reading():
            connection = self._connected()
            connection.execute("BEGIN IMMEDIATE")
            try:
                if epoch is not None and not self.rows(_STATEMENTS.fence, epoch):
                    raise LeadershipLost(f"epoch {epoch} is over: nothing was written")
                yield
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell the database's errors in our words."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._told(error) from error
        except (sqlite3.Error, UnicodeError, OverflowError) as error:
            raise LedgerRefused(f"the database refuses: {error}") from error

    def write_alone(self, epoch: int, batch: Batch) -> Written | None:
        """Return None: within one process, a transaction's statements cost little."""
        return None

    def rows(self, statement: str, *parameters: object) -> list[Any]:
        """Run *statement* and return its rows."""
        return self._connected().execute(statement, parameters).fetchall()

    def change(self, statement: str, *parameters: object) -> int:
        """Run *statement* and return how many rows it changed."""
        return self._connected().execute(statement, parameters).rowcount

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        cursor = self._connected().execute(_STATEMENTS.columns[table])
        return {column[0] for column in cursor.description}

    def among(self, values: Collection[str] | Collection[int]) -> object:
        """Return the parameter that the statements compare with "one of"."""
        return dumps(list(values))

    def now(self) -> float:
        """Return the time of this machine, which is that of the file, too."""
        return time.time()

    def look_at_clock(self) -> None:
        """Do nothing: there is no other clock."""

    def at(self, seconds: float) -> object:
        """Return the time that is *seconds* from now, as it is stored."""
        return stored(time.time() + seconds, self._zone)

    def seconds(self, time: datetime) -> float:
        """Return a time that was read, which is naive, as seconds since the epoch."""
        return time.replace(tzinfo=self._zone).timestamp()

    def moment(self, seconds: float | None) -> object:
        """Return a time in seconds since the epoch as it is stored."""
        return None if seconds is None else stored(seconds, self._zone)

    def insert(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> tuple[float, set[str]]:
        """Insert row by row; return when, and the ids that were free."""
        cursor = self._connected().cursor()
        now = time.time()
        free = {
            row[0]
            for row in job_rows(jobs, now, self._zone)
            if cursor.execute(_INSERT_JOB, row).rowcount
        }
        cursor.executemany(_INSERT_EDGE, edges)
        return now, free

    def end(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write outcomes one by one: the statement is prepared once."""
        cursor = self._connected().cursor()
        zone = self._zone
        moved: dict[str, Outcome] = {}
        for outcome in outcomes:
            id, attempt, hand, state, result, words, trace, started, finished, runtime, *kept = (
                outcome
            )
            if id in moved:
                continue
            start = None if started is None else stored(started, zone)
            if state in GOES_ON:
                cursor.execute(_GO_ON[state], self._going_on(outcome, start))
            else:
                finish = stored(finished, zone)
                length = None if started is None else runtime
                said = (result, words, trace, start, finish, length, kept[0], kept[1])
                statement = _LEAVE if outcome.leaves_state else _END[state]
                cursor.execute(statement, (*said, id, attempt, hand))
            if cursor.rowcount:
                moved[id] = outcome
        return list(moved.values())

    def _going_on(self, outcome: Outcome, start: str | None) -> tuple[Any, ...]:
        again = unpack_again(outcome.again)
        place = (outcome.id, outcome.attempt, outcome.hand)
        if outcome.state == RETRY:
            due = self.at(again.delay)
            said = (outcome.result, outcome.preview, outcome.traceback, start)
            return (*said, due, again.options, *place)
        due = self.at(again.delay) if again.delay else None
        return (None, "", None, None, due, again.options, *place)

    def update(self, updates: Sequence[Update]) -> None:
        """Write what running calls say, in their order."""
        connection = self._connected()
        for id, attempt, hand, state, meta, preview in updates:
            said = (meta or None, preview, id, attempt, hand)
            if state == STARTED:
                connection.execute(_START, said)
            else:
                connection.execute(_SAY, (state, *said))

    def release(self, releases: Sequence[Release]) -> list[tuple[str, int]]:
        """Write releases one by one."""
        cursor = self._connected().cursor()
        return [
            (id, hand)
            for id, attempt, hand, lost in releases
            if cursor.execute(_RELEASE, (lost, id, attempt, hand)).rowcount
        ]

    def claim(self, claims: Sequence[Claim]) -> list[tuple[str, int]]:
        """Write claims one by one."""
        cursor = self._connected().cursor()
        now = self.at(0)
        return [
            (id, hand)
            for id, attempt, hand, runner, worker in claims
            if cursor.execute(_CLAIM, (now, runner, worker, id, attempt, hand - 1)).rowcount
        ]

    def lower(self, counts: Mapping[str, int]) -> list[Any]:
        """Take from the counts of waiting jobs; return their rows with the new counts."""
        rows = [
            (*row[:-2], max(row[-2] - counts[row[0]], 0), row[-1])
            for row in self.rows(_STATEMENTS.waiting, self.among(counts))
            if row[-2]
        ]
        self.set_open([(row[-2], row[0]) for row in rows])
        return rows

    def set_open(self, counts: Sequence[tuple[int, str]]) -> None:
        """Write (count of open dependencies, id)."""
        self._connected().executemany(_SET_OPEN, counts)

    def begin_delays(self, delays: Mapping[str, float]) -> dict[str, float]:
        """Let jobs be due after their delay, from now; return when."""
        now = time.time()
        due = {id: now + delay for id, delay in delays.items()}
        rows = [(stored(time, self._zone), id) for id, time in due.items()]
        self._connected().executemany(_BEGIN_DELAY, rows)
        return due

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _told(self, error: sqlite3.OperationalError) -> LedgerError:
        words = str(error)
        if "locked" in words or "busy" in words:
            return LedgerBusy(f"another connection is writing: {words}")
        if words.startswith("no such") or "has no column" in words:
            return LedgerNotReady(f"{self._not_ready} ({words})")
        self.close()
        return LedgerUnavailable(f"the database does not answer: {words}")


def job_rows(jobs: Sequence[NewJob], created: float, zone: tzinfo) -> list[tuple[Any, ...]]:
    """Return jobs as `sql.INSERT_JOB` takes them.

    They are created at one time, but for microseconds that keep the order in which they were
    submitted.
    """
    first = round(created * 1_000_000)
    rows = []
    for place, job in enumerate(jobs):
        due, expires = (None if time is None else stored(time, zone) for time in job[6:8])
        rows.append((*job[:6], due, expires, *job[8:], _stored(first + place, zone)))
    return rows


def stored(seconds: float, zone: tzinfo) -> str:
    """Return seconds since the epoch as Django stores a time."""
    return _stored(round(seconds * 1_000_000), zone)


def _stored(microseconds: int, zone: tzinfo) -> str:
    whole, rest = divmod(microseconds, 1_000_000)
    return f"{_stored_second(whole, zone)}.{rest:06d}"


@lru_cache(64)  # the times of a batch lie in few seconds, and this is a quarter of its cost
def _stored_second(seconds: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None).isoformat(" ")
