"""How a submission is written through the caller's own connection: below the ORM, for speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from functools import partial

from django.db import IntegrityError, OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from dask_facade.exceptions import DuplicateTaskId
from dask_facade.jobs import Job
from dask_facade.ledger.connections import zone_of
from dask_facade.ledger.postgresql import EDGE_FIELDS, JOB_FIELDS, insert_plan, plan_columns
from dask_facade.ledger.sql import EDGE, FRESH, INSERT_EDGE, INSERT_JOB, JOB
from dask_facade.ledger.sqlite import job_rows, stored
from dask_facade.messages import Edge, NewJob, Shape
from dask_facade.serialization import dump_arguments
from dask_facade.states import RETRY

_CHUNK = 10_000  # rows of one statement
_ASKED_AT_ONCE = 1_000  # ids
_HASTY_TRIES = 50  # of a lone INSERT on SQLite, before it waits as the site's other writes do
_HASTY_PAUSE = 0.0003  # seconds between them
_SQLITE_JOB = f"{INSERT_JOB} VALUES ({', '.join(['%s'] * 20)}, {FRESH})"


def _write_sqlite(
    connection: BaseDatabaseWrapper, jobs: Sequence[NewJob], edges: Sequence[Edge]
) -> float:
    """Insert row by row, prepared once; return the time of creation."""
    created = time.time()
    rows = job_rows(jobs, created, zone_of(connection))
    with connection.cursor() as cursor:
        if len(rows) == 1 and not edges:
            lone = partial(cursor.execute, f"{_SQLITE_JOB} ON CONFLICT (id) DO NOTHING", rows[0])
            if connection.in_atomic_block:
                lone()
            else:
                _at_once(connection, lone)
            if not cursor.rowcount:
                raise DuplicateTaskId(jobs[0].id)
            return created
        with _naming_duplicates(connection, jobs), transaction.atomic(using=connection.alias):
            cursor.executemany(_SQLITE_JOB, rows)
            if edges:
                cursor.executemany(f"{INSERT_EDGE} VALUES (%s, %s, %s, %s)", edges)
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
    f"{INSERT_JOB} VALUES (%s, %s, %s, %s, %s, %s, to_timestamp(%s::float8),"
    f" to_timestamp(%s::float8), {', '.join(['%s'] * 11)}, clock_timestamp(), {FRESH})"
    " ON CONFLICT (id) DO NOTHING RETURNING extract(epoch FROM created)::float8"
)
_PLAN_ON_POSTGRES = insert_plan("%s", unless_taken="", told="")


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
                columns = plan_columns(job_rows, JOB_FIELDS) + plan_columns(edge_rows, EDGE_FIELDS)
                cursor.execute(_PLAN_ON_POSTGRES, (created, start, *columns))
                (created,) = cursor.fetchone()
    assert created is not None
    return created


@contextmanager
def _naming_duplicates(connection: BaseDatabaseWrapper, jobs: Sequence[NewJob]) -> Iterator[None]:
    """Say which id is taken, after a rollback."""
    try:
        yield
    except IntegrityError as error:
        seen = _taken(connection, [job.id for job in jobs])
        for job in jobs:
            if job.id in seen:
                raise DuplicateTaskId(job.id) from error
            seen.add(job.id)
        raise


def _taken(connection: BaseDatabaseWrapper, ids: Sequence[str]) -> set[str]:
    """Return those of *ids* that jobs have."""
    taken: set[str] = set()
    with connection.cursor() as cursor:
        for start in range(0, len(ids), _ASKED_AT_ONCE):
            part = ids[start : start + _ASKED_AT_ONCE]
            marks = ", ".join(["%s"] * len(part))
            cursor.execute(f"SELECT id FROM {JOB} WHERE id IN ({marks})", part)
            taken.update(id for (id,) in cursor.fetchall())
    return taken


_RECORDED = (
    *("id", "task", "queue", "priority", "payload", "arguments", "delay", "acks_late"),
    *("ignore_result", "graph", "owner", "root_id", "parent_id", "group_id", "shape", "options"),
    *("errbacks", "created", "state", "attempt", "hand", "lost", "runner", "worker", "result"),
    *("result_preview", "traceback", "said", "meta", "key", "size", "finished"),
)
_CHANGED = (
    *("state", "attempt", "worker", "result", "result_preview", "traceback", "said", "meta"),
    "finished",
)
_RECORD = (
    f"INSERT INTO {JOB} AS job ({', '.join(_RECORDED)})"
    f" VALUES ({', '.join(['%s'] * len(_RECORDED))})"
    f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{each} = excluded.{each}' for each in _CHANGED)}"
    # Who is to be tried again was claimed, and has an eta: this one was recorded.
    f" WHERE job.state = '{RETRY}' AND job.hand = 0 AND job.eta IS NULL AND"
    f" (excluded.finished IS NULL OR NOT EXISTS (SELECT 1 FROM {EDGE} WHERE parent_id = job.id))"
)


def record(connection: BaseDatabaseWrapper, job: Job) -> bool:
    """Insert a job that nobody will run, or change it; tell whether it was written."""
    now: str | datetime = datetime.now(UTC)
    if connection.vendor == "sqlite":
        now = stored(time.time(), zone_of(connection))
    row = (
        *(job.id, job.task, job.queue, job.priority, dump_arguments((), {}), job.arguments),
        *(0.0, False, job.ignore_result, False, job.owner, job.root_id or job.id),
        *(job.parent_id, job.group_id, Shape.NOTHING, b"", b"", now, job.state, job.attempt),
        *(0, 0, "", job.worker, job.result, job.result_preview, job.traceback, job.said),
        *(job.meta, "", 0, now if job.ready else None),
    )
    with connection.cursor() as cursor:
        cursor.execute(_RECORD, row)
        return bool(cursor.rowcount)


WRITERS = {"sqlite": _write_sqlite, "postgresql": _write_postgres}
"""By the database's vendor."""
