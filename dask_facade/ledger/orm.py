"""The ledger in a database of Django's: `JobStore` for one alias.

Submitting and reading go through Django's own connection of the calling thread, so a job is part
of the transaction in which it was submitted; statements are written by hand, for speed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, tzinfo
from functools import partial
from types import ModuleType
from typing import Any

from django.db import (
    DEFAULT_DB_ALIAS,
    DatabaseError,
    connections,
    transaction,
)
from django.db.backends.base.base import BaseDatabaseWrapper

from dask_facade.exceptions import ImproperlyConfigured, LedgerNotReady
from dask_facade.jobs import Job
from dask_facade.ledger.clock import SERVER_TIME, ServerClock
from dask_facade.ledger.connections import (
    close_second,
    connect_postgres,
    connect_sqlite,
    is_in_memory,
    is_open,
    is_writing,
    second,
    zone_of,
)
from dask_facade.ledger.desk import SqlDesk, lease_of
from dask_facade.ledger.inserting import WRITERS, record
from dask_facade.ledger.postgresql import PostgresSession
from dask_facade.ledger.sql import GROUP, JOB, READ_LEASE, REQUEST, SCHEDULE
from dask_facade.ledger.sqlite import SqliteSession, stored
from dask_facade.ledger.store import Desk, Lease, Ran
from dask_facade.messages import Edge, NewJob

_READ = (
    "SELECT id, task, state, attempt, queue, priority, arguments, result, result_preview,"
    " traceback, said, meta, key, size, ignore_result, graph, owner, worker, root_id, parent_id,"
    f" group_id, created, eta, started, finished FROM {JOB}"
)
_READ_TIMES = 21  # where the times begin
_COUNT_STATES = f"SELECT state, count(*) FROM {JOB} WHERE group_id = %s GROUP BY state"
_REQUEST = f"INSERT INTO {REQUEST} (kind, job_id, arguments, created) VALUES (%s, %s, %s, %s)"
_ASKED = f"SELECT 1 FROM {REQUEST} WHERE job_id = %s AND kind = %s LIMIT 1"
_SAVE_GROUP = (
    f"INSERT INTO {GROUP} (id, tree) VALUES (%s, %s)"
    " ON CONFLICT (id) DO UPDATE SET tree = excluded.tree"
)
_SAVED_GROUP = f"SELECT CAST(tree AS text) FROM {GROUP} WHERE id = %s"
_DROP_GROUP = f"DELETE FROM {GROUP} WHERE id = %s"
_SCHEDULES = f"SELECT name, last_run, runs FROM {SCHEDULE}"
_NOTE_RUN = (
    f"INSERT INTO {SCHEDULE} (name, last_run, runs) VALUES (%s, %s, %s)"
    " ON CONFLICT (name) DO UPDATE SET last_run = excluded.last_run, runs = excluded.runs"
    f" WHERE {SCHEDULE}.last_run < excluded.last_run"
)
_DROP_SCHEDULE = f"DELETE FROM {SCHEDULE} WHERE name = %s"
_READ_CHUNK = 1_000


class OrmStore:
    """The ledger in the database *alias*."""

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias
        self._clock = ServerClock()

    def submit(
        self, jobs: Sequence[NewJob], edges: Sequence[Edge], after: Callable[[float], None]
    ) -> None:
        """Insert all of it or nothing, as part of the caller's transaction if one is open."""
        if self._caller_is_elsewhere():
            # Written when that commits: a crash between the two commits loses it.
            write = partial(self._write, jobs, edges, after)
            transaction.on_commit(_Submission(jobs, write), using=DEFAULT_DB_ALIAS)
        else:
            self._write(jobs, edges, after)

    def _write(
        self, jobs: Sequence[NewJob], edges: Sequence[Edge], after: Callable[[float], None]
    ) -> None:
        connection = self._connection()
        with self._telling():
            created = WRITERS[connection.vendor](connection, jobs, edges)
        self._clock.hear(created)
        if connection.in_atomic_block:
            told = _Submission(jobs, partial(after, created))
            transaction.on_commit(told, using=self.alias)
        elif connection.get_autocommit():
            after(created)
        # Who commits by hand tells nobody when: the dispatcher finds the rows by itself.

    def now(self) -> float:
        """Return the server's time; on SQLite, which has none, this machine's."""
        if self._connection().vendor == "sqlite":
            return time.time()
        if self._clock.is_stale:
            ((seconds,),) = self._rows(SERVER_TIME)
            self._clock.hear(seconds)
        return self._clock.now()

    def record(self, job: Job) -> bool:
        """Insert a job that nobody will run, as it is; tell whether it was written."""
        with self._telling():
            return record(self._connection(), job)

    def on_commit(self, after: Callable[[], None]) -> None:
        """Call *after* when the caller's open transaction commits; at once where none is open."""
        alias = DEFAULT_DB_ALIAS if self._caller_is_elsewhere() else self.alias
        if connections[alias].in_atomic_block:
            transaction.on_commit(after, using=alias)
        else:
            after()  # and connect to nothing: a worker may have no way to the ledger

    def _caller_is_elsewhere(self) -> bool:
        """Tell whether the caller has a transaction open in the site's own database, not here."""
        return self.alias != DEFAULT_DB_ALIAS and connections[DEFAULT_DB_ALIAS].in_atomic_block

    def fetch(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids; unknown ids are left out."""
        return self._fetch(self._connection(), ids)

    def fetch_committed(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids, as they are committed, whatever the caller began."""
        connection = self._connection()
        if is_open(connection) and not is_in_memory(connection):
            connection = second(self.alias)
        return self._fetch(connection, ids)

    def _fetch(self, connection: BaseDatabaseWrapper, ids: Collection[str]) -> dict[str, Job]:
        zone = zone_of(connection)
        wanted = list(ids)
        jobs: dict[str, Job] = {}
        with self._telling(), connection.cursor() as cursor:
            for start in range(0, len(wanted), _READ_CHUNK):
                chunk = wanted[start : start + _READ_CHUNK]
                marks = ", ".join(["%s"] * len(chunk))
                cursor.execute(f"{_READ} WHERE id IN ({marks})", chunk)
                for row in cursor.fetchall():
                    times = [_aware(time, zone) for time in row[_READ_TIMES:]]
                    jobs[row[0]] = Job(*row[:_READ_TIMES], *times)
        return jobs

    def why_never(self, ids: Collection[str]) -> str:
        """Return why waiting for these jobs in the caller's open transaction would never end."""
        connection = self._connection()
        wanted = set(ids)
        for entry in (*connection.run_on_commit, *connections[DEFAULT_DB_ALIAS].run_on_commit):
            told = entry[1]
            if isinstance(told, _Submission) and (own := wanted.intersection(told.ids)):
                return (
                    f"job {min(own)} was submitted in the transaction that is open here: "
                    "it can run only once that is committed"
                )
        if not is_open(connection):
            return ""
        if connection.vendor == "sqlite" and is_writing(connection):
            return (
                "the transaction that is open here has written to the SQLite database: "
                "nobody else can write to it, so no job can end, until that is committed"
            )
        return ""

    def count_states(self, group_id: str) -> dict[str, int]:
        """Return how many jobs of a group are in each state."""
        return dict(self._rows(_COUNT_STATES, group_id))

    def group(self, group_id: str) -> list[str]:
        """Return the ids of a group's jobs in the order in which they were submitted."""
        statement = f"SELECT id FROM {JOB} WHERE group_id = %s ORDER BY {self._in_order}"
        return [id for (id,) in self._rows(statement, group_id)]

    def children(self, job_id: str) -> list[tuple[str, str | None]]:
        """Return (id, group id) of the jobs whose parent this is, as they were submitted."""
        statement = f"SELECT id, group_id FROM {JOB} WHERE parent_id = %s ORDER BY {self._in_order}"
        return [(id, group_id) for id, group_id in self._rows(statement, job_id)]

    @property
    def _in_order(self) -> str:
        # PostgreSQL tells the rows of one statement apart by microseconds of their creation.
        return "created, rowid" if self._connection().vendor == "sqlite" else "created"

    def save_group(self, group_id: str, tree: Sequence[object]) -> None:
        """Keep the shape of a group that was put together by hand: ids, and lists of such."""
        self._change(_SAVE_GROUP, group_id, json.dumps(tree))

    def saved_group(self, group_id: str) -> Sequence[object] | None:
        """Return what `save_group` got, or None."""
        for (tree,) in self._rows(_SAVED_GROUP, group_id):
            return list(json.loads(tree))
        return None

    def drop_group(self, group_id: str) -> None:
        """Forget what `save_group` got."""
        self._change(_DROP_GROUP, group_id)

    def schedules(self) -> dict[str, Ran]:
        """Return what is kept of the entries of the schedule, by name."""
        return {name: Ran(last_run, runs) for name, last_run, runs in self._rows(_SCHEDULES)}

    def note_run(self, name: str, last_run: float, runs: int) -> None:
        """Keep when an entry of the schedule ran last; an earlier time than is kept is no news."""
        self._change(_NOTE_RUN, name, last_run, runs)

    def drop_schedules(self, names: Collection[str]) -> None:
        """Forget entries of the schedule."""
        for name in names:
            self._change(_DROP_SCHEDULE, name)

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""
        return lease_of(self._rows(READ_LEASE))

    def request(self, kind: str, names: Sequence[str], arguments: Mapping[str, object]) -> None:
        """Ask the leader for the same of each name: rows that it consumes."""
        connection = self._connection()
        created: str | datetime = datetime.now(UTC)
        if connection.vendor == "sqlite":
            created = stored(time.time(), zone_of(connection))
        said = json.dumps(dict(arguments))
        with self._telling(), connection.cursor() as cursor:
            cursor.executemany(_REQUEST, [(kind, name, said, created) for name in names])

    def asked(self, kind: str, name: str) -> bool:
        """Tell whether the leader was asked for this, and has not consumed it."""
        return bool(self._rows(_ASKED, name, kind))

    def disconnect(self) -> None:
        """Close the calling thread's connection, where there is one outside of a transaction."""
        connection = connections[self.alias]
        if connection.connection is not None and not connection.in_atomic_block:
            connection.close()
        close_second(self.alias)

    def open_desk(self) -> Desk:
        """Return a connection for a leader, of its own, usable from any one thread at a time."""
        connection = self._connection()
        if connection.vendor == "sqlite":
            return SqlDesk(
                SqliteSession(
                    partial(connect_sqlite, self.alias),
                    zone=zone_of(connection),
                    not_ready=self._not_ready,
                )
            )
        driver: ModuleType = connection.Database  # type: ignore[attr-defined]  # not in the stubs
        if driver.__name__ != "psycopg":
            raise ImproperlyConfigured(
                "a dispatcher on PostgreSQL needs psycopg 3: pip install 'psycopg[binary]'"
            )
        return SqlDesk(
            PostgresSession(
                partial(connect_postgres, self.alias),
                driver=driver,
                not_ready=self._not_ready,
            )
        )

    def _connection(self) -> BaseDatabaseWrapper:
        connection = connections[self.alias]
        if connection.vendor not in WRITERS:
            raise ImproperlyConfigured(
                f"the ledger cannot be in {connection.display_name} (database {self.alias!r}): "
                "use PostgreSQL or SQLite, as a database of its own beside yours if need be"
            )
        return connection

    def _rows(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        with self._telling(), self._connection().cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())

    def _change(self, statement: str, *parameters: str | float | datetime) -> None:
        with self._telling(), self._connection().cursor() as cursor:
            cursor.execute(statement, parameters)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Say what to do where the tables are missing; all else passes."""
        try:
            yield
        except DatabaseError as error:
            words = str(error)
            if (
                getattr(error.__cause__, "sqlstate", None) in ("42P01", "42703")
                or "no such table" in words
                or "has no column" in words
                or "no such column" in words
            ):
                raise LedgerNotReady(f"{self._not_ready} ({words})") from error
            raise

    @property
    def _not_ready(self) -> str:
        database = "" if self.alias == "default" else f" --database={self.alias}"
        return (
            "the ledger's tables are missing or of another release: "
            f"run `python manage.py migrate dask_facade{database}`"
        )


class _Submission:
    """What is done when the transaction of a submission commits."""

    def __init__(self, jobs: Sequence[NewJob], then: Callable[[], None]) -> None:
        self._jobs = jobs
        self._then = then

    @property
    def ids(self) -> set[str]:
        """The ids of its jobs."""
        return {job.id for job in self._jobs}

    def __call__(self) -> None:
        self._then()


def _aware(time: datetime | None, zone: tzinfo) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=zone)
