"""The ledger in a database of Django's: `JobStore` for one alias.

Submitting and reading go through Django's own connection of the calling thread, so a job is part
of the transaction in which it was submitted; statements are written by hand, for speed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, tzinfo
from functools import cache, partial
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from django.db import DatabaseError, IntegrityError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from dask_facade.exceptions import DuplicateTaskId, ImproperlyConfigured, LedgerNotReady
from dask_facade.jobs import Edge, Job, NewJob
from dask_facade.ledger.desk import SqlDesk, lease_of
from dask_facade.ledger.postgresql import PostgresSession
from dask_facade.ledger.sql import EDGE, JOB, LEASE, LEASE_NAME, REQUEST
from dask_facade.ledger.sqlite import SqliteSession
from dask_facade.ledger.store import Desk, Lease
from dask_facade.states import PENDING

_READ = (
    "SELECT id, task, state, attempt, queue, priority, arguments, result, result_preview,"
    " traceback, ignore_result, worker, root_id, parent_id, group_id,"
    f" created, eta, started, finished FROM {JOB}"
)
_COUNT_STATES = f"SELECT state, count(*) FROM {JOB} WHERE group_id = %s GROUP BY state"
_LEASE = (
    "SELECT epoch, beat, holder, CAST(addresses AS text), secret"
    f" FROM {LEASE} WHERE name = '{LEASE_NAME}'"
)
_REQUEST = f"INSERT INTO {REQUEST} (kind, job_id, arguments, created) VALUES (%s, %s, %s, %s)"
_INSERT = (
    f"INSERT INTO {JOB} (id, task, queue, priority, payload, arguments, eta, acks_late,"
    " ignore_result, root_id, parent_id, group_id, shape, created, state, attempt, hand, lost,"
    " runner, worker, result_preview)"
)
_FRESH = f"'{PENDING}', 1, 0, 0, '', '', ''"
_INSERT_EDGES = f"INSERT INTO {EDGE} (parent_id, child_id, position, takes_result)"
_CHUNK = 10_000  # rows of one statement
_READ_CHUNK = 1_000
_HASTY_TRIES = 50  # of a lone INSERT on SQLite, before it waits as the site's other writes do
_HASTY_PAUSE = 0.0003  # seconds between them


class OrmStore:
    """The ledger in the database *alias*."""

    def __init__(self, alias: str = "default") -> None:
        self.alias = alias

    def submit(
        self, jobs: Sequence[NewJob], edges: Sequence[Edge], after: Callable[[float], None]
    ) -> None:
        """Insert all of it or nothing, as part of the caller's transaction if one is open."""
        connection = self._connection()
        with self._telling():
            created = _WRITERS[connection.vendor](connection, jobs, edges)
        if connection.in_atomic_block:
            transaction.on_commit(partial(after, created), using=self.alias)
        elif connection.get_autocommit():
            after(created)
        # Who commits by hand tells nobody when: the dispatcher finds the rows by itself.

    def fetch(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids; unknown ids are left out."""
        connection = self._connection()
        zone = zone_of(connection)
        wanted = list(ids)
        jobs: dict[str, Job] = {}
        with self._telling(), connection.cursor() as cursor:
            for start in range(0, len(wanted), _READ_CHUNK):
                chunk = wanted[start : start + _READ_CHUNK]
                marks = ", ".join(["%s"] * len(chunk))
                cursor.execute(f"{_READ} WHERE id IN ({marks})", chunk)
                for row in cursor.fetchall():
                    jobs[row[0]] = Job(*row[:15], *[_aware(time, zone) for time in row[15:]])
        return jobs

    def count_states(self, group_id: str) -> dict[str, int]:
        """Return how many jobs of a group are in each state."""
        return dict(self._rows(_COUNT_STATES, group_id))

    def group(self, group_id: str) -> list[str]:
        """Return the ids of a group's jobs in the order in which they were submitted."""
        # PostgreSQL tells the rows of one statement apart by microseconds of their creation.
        last = ", rowid" if self._connection().vendor == "sqlite" else ""
        statement = f"SELECT id FROM {JOB} WHERE group_id = %s ORDER BY created{last}"
        return [id for (id,) in self._rows(statement, group_id)]

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""
        return lease_of(self._rows(_LEASE))

    def request(self, kind: str, job_id: str, arguments: Mapping[str, object]) -> None:
        """Ask the leader for something: a row that it consumes."""
        connection = self._connection()
        now = datetime.now(UTC)
        created = _text(now, zone_of(connection)) if connection.vendor == "sqlite" else now
        with self._telling(), connection.cursor() as cursor:
            cursor.execute(_REQUEST, (kind, job_id, json.dumps(dict(arguments)), created))

    def disconnect(self) -> None:
        """Close the calling thread's connection, where there is one outside of a transaction."""
        connection = connections[self.alias]
        if connection.connection is not None and not connection.in_atomic_block:
            connection.close()

    def open_desk(self) -> Desk:
        """Return a connection for a leader, of its own, usable from any one thread at a time."""
        connection = self._connection()
        if connection.vendor == "sqlite":
            return SqlDesk(
                SqliteSession(
                    partial(_connect_sqlite, self.alias),
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
                partial(_connect_postgres, self.alias),
                driver=driver,
                not_ready=self._not_ready,
            )
        )

    def _connection(self) -> BaseDatabaseWrapper:
        connection = connections[self.alias]
        if connection.vendor not in _WRITERS:
            raise ImproperlyConfigured(
                f"the ledger cannot be in {connection.display_name} (database {self.alias!r}): "
                "use PostgreSQL or SQLite, as a database of its own beside yours if need be"
            )
        return connection

    def _rows(self, statement: str, *parameters: str) -> list[tuple[Any, ...]]:
        with self._telling(), self._connection().cursor() as cursor:
            cursor.execute(statement, parameters)
            return list(cursor.fetchall())

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


def zone_of(connection: BaseDatabaseWrapper) -> tzinfo:
    """Return the zone in which the database's times without one are."""
    return _zone(connection.timezone_name)


@cache
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def _aware(time: datetime | None, zone: tzinfo) -> datetime | None:
    return time if time is None or time.tzinfo else time.replace(tzinfo=zone)


def _text(time: datetime, zone: tzinfo) -> str:
    return time.astimezone(zone).replace(tzinfo=None).isoformat(" ", "microseconds")


def _write_sqlite(
    connection: BaseDatabaseWrapper, jobs: Sequence[NewJob], edges: Sequence[Edge]
) -> float:
    """Insert row by row, prepared once; return the time of creation."""
    zone = zone_of(connection)
    created = time.time()
    stamp = _text(datetime.fromtimestamp(created, UTC), zone)
    rows = [
        (*job[:6], None if job.eta is None else _text(job.eta, zone), *job[7:], stamp)
        for job in jobs
    ]
    insert = f"{_INSERT} VALUES ({', '.join(['%s'] * 14)}, {_FRESH})"
    with connection.cursor() as cursor:
        if len(rows) == 1 and not edges:
            lone = partial(cursor.execute, f"{insert} ON CONFLICT (id) DO NOTHING", rows[0])
            if connection.in_atomic_block:
                lone()
            else:
                _at_once(connection, lone)
            if not cursor.rowcount:
                raise DuplicateTaskId(jobs[0].id)
            return created
        with _naming_duplicates(connection, jobs), transaction.atomic(using=connection.alias):
            cursor.executemany(insert, rows)
            if edges:
                cursor.executemany(f"{_INSERT_EDGES} VALUES (%s, %s, %s, %s)", edges)
    return created


def _at_once(connection: BaseDatabaseWrapper, write: Callable[[], object]) -> None:
    """Write when the other writer is done, and not when SQLite would look again.

    Commits of the dispatcher take a tenth of a millisecond, SQLite's steps while it waits are of 1
    ms and up: its own patience comes last, so that the time limit stays the site's.
    """
    raw = connection.connection
    ((patience,),) = raw.execute("PRAGMA busy_timeout").fetchall()
    raw.execute("PRAGMA busy_timeout = 0")
    try:
        for _ in range(_HASTY_TRIES):
            try:
                write()
            except OperationalError as error:
                if "locked" not in str(error):
                    raise
                time.sleep(_HASTY_PAUSE)
            else:
                return
    finally:
        raw.execute(f"PRAGMA busy_timeout = {patience}")
    write()


_LONE_ON_POSTGRES = (
    f"{_INSERT} VALUES ({', '.join(['%s'] * 13)}, clock_timestamp(), {_FRESH})"
    " ON CONFLICT (id) DO NOTHING RETURNING extract(epoch FROM created)::float8"
)
_PLAN_ON_POSTGRES = (
    # One time for all, but for microseconds that keep the order in which they were submitted.
    "WITH moment AS MATERIALIZED"
    " (SELECT coalesce(to_timestamp(%s::float8), clock_timestamp()) AS time),"
    f" job AS ({_INSERT} SELECT said.id, task, queue, priority, payload, arguments, eta, acks_late,"
    " ignore_result, root_id, parent_id, group_id, shape,"
    f" moment.time + (%s + said.place - 1) * interval '1 microsecond', {_FRESH}"
    " FROM moment, unnest(%s::text[], %s::text[], %s::text[], %s::int[], %s::bytea[], %s::text[],"
    " %s::timestamptz[], %s::bool[], %s::bool[], %s::text[], %s::text[], %s::text[],"
    " %s::smallint[]) WITH ORDINALITY AS said (id, task, queue, priority, payload, arguments, eta,"
    " acks_late, ignore_result, root_id, parent_id, group_id, shape, place)),"
    f" edge AS ({_INSERT_EDGES} SELECT * FROM"
    " unnest(%s::text[], %s::text[], %s::int[], %s::bool[]))"
    " SELECT extract(epoch FROM time)::float8 FROM moment"
)


def _write_postgres(
    connection: BaseDatabaseWrapper, jobs: Sequence[NewJob], edges: Sequence[Edge]
) -> float:
    """Insert all in one statement, unless there is too much; return the time of creation."""
    with connection.cursor() as cursor:
        if len(jobs) == 1 and not edges:
            cursor.execute(_LONE_ON_POSTGRES, jobs[0])
            row = cursor.fetchone()
            if row is None:
                raise DuplicateTaskId(jobs[0].id)
            return float(row[0])
        size = max(len(jobs), len(edges), 1)
        alone = size <= _CHUNK and not connection.in_atomic_block
        whole = nullcontext() if alone else transaction.atomic(using=connection.alias)
        created: float | None = None
        with _naming_duplicates(connection, jobs), whole:
            for start in range(0, size, _CHUNK):
                job_rows, edge_rows = jobs[start : start + _CHUNK], edges[start : start + _CHUNK]
                cursor.execute(
                    _PLAN_ON_POSTGRES,
                    (created, start, *_columns(job_rows, 13), *_columns(edge_rows, 4)),
                )
                (created,) = cursor.fetchone()
    assert created is not None
    return created


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] or [[]] * width


@contextmanager
def _naming_duplicates(connection: BaseDatabaseWrapper, jobs: Sequence[NewJob]) -> Iterator[None]:
    """Say which id is taken, after a rollback."""
    try:
        yield
    except IntegrityError as error:
        taken = OrmStore(connection.alias).fetch([job.id for job in jobs]).keys()
        seen: set[str] = set(taken)
        for job in jobs:
            if job.id in seen:
                raise DuplicateTaskId(job.id) from error
            seen.add(job.id)
        raise


_WRITERS = {"sqlite": _write_sqlite, "postgresql": _write_postgres}


def _connected(alias: str, options: Mapping[str, object]) -> Any:
    """Return a new connection of the driver's, set up by Django, with *options* besides its own."""
    wrapper = connections.create_connection(alias)
    wrapper.settings_dict = {
        **wrapper.settings_dict,
        "OPTIONS": {**wrapper.settings_dict["OPTIONS"], **options},
    }
    wrapper.inc_thread_sharing()
    # Django refuses to connect in a thread whose event loop is running, as a dispatcher's is.
    with ThreadPoolExecutor(1) as helper:
        helper.submit(wrapper.connect).result()
    return wrapper.connection


def _connect_sqlite(alias: str) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connected(alias, {"timeout": 0})
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _connect_postgres(alias: str) -> Any:
    settings = connections.settings[alias]
    return _connected(
        alias,
        {
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
            **settings["OPTIONS"],
            "pool": None,
            "server_side_binding": True,
            # Set for sites behind a pooler that changes connections between transactions.
            "prepare_threshold": None if settings.get("DISABLE_SERVER_SIDE_CURSORS") else 0,
        },
    )
