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
from dask_facade.ledger.sql import IN_FLIGHT, JOB, WAITING, Statements, may_enter, statements
from dask_facade.messages import Outcome
from dask_facade.states import PENDING, READY_STATES, RECEIVED, RETRY

_STATEMENTS = statements(
    mark="?",
    among="IN (SELECT value FROM json_each(?))",
    at="?",
    json="?",
    by=" INDEXED BY {}",
    plain="+",
)
_END = {
    state: (
        f"UPDATE {JOB} SET state = '{state}', result = ?, result_preview = ?, traceback = ?,"
        " started = ?, finished = ?, runtime = ?"
        f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {may_enter(state)}"
    )
    for state in sorted(READY_STATES)
}
_RETRY = (
    f"UPDATE {JOB} SET state = '{RETRY}', result = ?, result_preview = ?, traceback = ?,"
    " started = ?, eta = ?, attempt = attempt + 1, open = NULL"
    f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {may_enter(RETRY)}"
)
_RELEASE = (
    f"UPDATE {JOB} SET state = '{PENDING}', lost = ?"
    f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {IN_FLIGHT}"
)
_CLAIM = (
    f"UPDATE {JOB} SET state = '{RECEIVED}', hand = hand + 1, open = 0, claimed = ?, runner = ?,"
    " worker = ?"
    f" WHERE id = ? AND attempt = ? AND hand = ? AND state IN {WAITING}"
)
_SET_OPEN = f"UPDATE {JOB} SET open = ? WHERE id = ?"


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

    def at(self, seconds: float) -> object:
        """Return the time that is *seconds* from now, as it is stored."""
        return _stored(time.time() + seconds, self._zone)

    def seconds(self, time: datetime) -> float:
        """Return a time that was read, which is naive, as seconds since the epoch."""
        return time.replace(tzinfo=self._zone).timestamp()

    def end(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write outcomes one by one: the statement is prepared once."""
        cursor = self._connected().cursor()
        zone = self._zone
        moved: dict[str, Outcome] = {}
        for outcome in outcomes:
            id, attempt, hand, state, result, preview, traceback, started, finished, runtime = (
                outcome
            )
            if id in moved:
                continue
            finish = _stored(finished, zone)
            start = None if started is None else _stored(started, zone)
            if state == RETRY:
                values = (result, preview, traceback, start, finish, id, attempt, hand)
                cursor.execute(_RETRY, values)
            else:
                length = None if started is None else runtime
                cursor.execute(
                    _END[state],
                    (result, preview, traceback, start, finish, length, id, attempt, hand),
                )
            if cursor.rowcount:
                moved[id] = outcome
        return list(moved.values())

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
            (*row[:-1], max(row[-1] - counts[row[0]], 0))
            for row in self.rows(_STATEMENTS.waiting, self.among(counts))
            if row[-1]
        ]
        self.set_open([(row[-1], row[0]) for row in rows])
        return rows

    def set_open(self, counts: Sequence[tuple[int, str]]) -> None:
        """Write (count of open dependencies, id)."""
        self._connected().executemany(_SET_OPEN, counts)

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


def _stored(seconds: float, zone: tzinfo) -> str:
    """Return seconds since the epoch as Django stores a time."""
    whole, rest = divmod(round(seconds * 1_000_000), 1_000_000)
    return f"{_stored_second(whole, zone)}.{rest:06d}"


@lru_cache(64)  # the times of a batch lie in few seconds, and this is a quarter of its cost
def _stored_second(seconds: int, zone: tzinfo) -> str:
    return datetime.fromtimestamp(seconds, zone).replace(tzinfo=None).isoformat(" ")
