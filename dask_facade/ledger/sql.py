"""The ledger's statements, for both databases, and the session that runs them for a leader."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.messages import Outcome
from dask_facade.states import IN_FLIGHT_STATES, PENDING, SOURCES, WAITING_STATES

JOB = "dask_facade_job"
EDGE = "dask_facade_edge"
REQUEST = "dask_facade_request"
LEASE = "dask_facade_lease"
LEASE_NAME = "dispatcher"

COLUMNS = {
    JOB: (
        "id",
        "task",
        "queue",
        "priority",
        "payload",
        "arguments",
        "state",
        "attempt",
        "hand",
        "lost",
        "open",
        "runner",
        "worker",
        "acks_late",
        "ignore_result",
        "shape",
        "root_id",
        "parent_id",
        "group_id",
        "created",
        "eta",
        "claimed",
        "started",
        "finished",
        "runtime",
        "result",
        "result_preview",
        "traceback",
    ),
    EDGE: ("id", "parent_id", "child_id", "position", "takes_result"),
    REQUEST: ("id", "kind", "job_id", "arguments", "created"),
    LEASE: ("name", "epoch", "beat", "holder", "addresses", "secret", "updated"),
}
"""Table -> its columns in this release."""

CALL = (
    "id, task, attempt, hand, queue, priority, created, eta, acks_late, ignore_result, lost, "
    "root_id, parent_id, group_id, shape, payload"
)


def words(states: Collection[str]) -> str:
    """Return states as SQL's list. Sorted, as in the conditions of the indexes: SQLite compares."""
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


WAITING = words(WAITING_STATES)
IN_FLIGHT = words(IN_FLIGHT_STATES)


def may_enter(state: str) -> str:
    """Return the states from which a job may enter *state* as SQL's list."""
    return words(SOURCES[state])


@dataclass(frozen=True, slots=True)
class Statements:
    """What both databases say alike, but for the marks of parameters."""

    fence: str
    edges_from: str
    edges_to: str
    waiting: str
    inputs_of: str
    ends: str
    peek: str
    new: str
    due: str
    in_flight: str
    slice_of_inputs: str
    count_inputs: str
    forget_taken: str
    peek_requests: str
    requests: str
    drop_requests: str
    lease: str
    first_lease: str
    next_lease: str
    beat: str
    resign: str
    columns: dict[str, str]


def statements(*, mark: str, among: str, at: str, json: str, by: str, plain: str) -> Statements:
    """Return the statements for one database.

    *mark* stands for a parameter, *among* is "= one of the ids of a parameter", *at* a time told by
    a parameter, *json* a parameter that is JSON. *by* names the index to use where the database
    would rather take another, and *plain* keeps it from looking rows up by the column behind it.
    """
    fence = f"SELECT epoch FROM {LEASE} WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
    new = (
        f"SELECT {CALL}, open FROM {JOB}{by.format('dask_facade_new')}"
        f" WHERE state = '{PENDING}' AND open IS NULL AND eta IS NULL AND created <= {at}"
    )
    due = (
        f"SELECT {CALL}, open FROM {JOB}{by.format('dask_facade_due')}"
        f" WHERE state IN {WAITING} AND open IS NULL AND eta IS NOT NULL AND eta <= {at}"
    )
    return Statements(
        fence=fence,
        edges_from=(
            f"SELECT parent_id, child_id, takes_result FROM {EDGE}"
            f" WHERE parent_id {among} ORDER BY id"
        ),
        edges_to=(
            f"SELECT edge.child_id, edge.parent_id, parent.state FROM {EDGE} edge"
            f" LEFT JOIN {JOB} parent ON parent.id = edge.parent_id"
            f" WHERE edge.child_id {among} ORDER BY edge.child_id, edge.position, edge.id"
        ),
        waiting=f"SELECT {CALL}, open FROM {JOB} WHERE id {among} AND {plain}state IN {WAITING}",
        inputs_of=(
            f"SELECT edge.child_id, parent.result FROM {EDGE} edge"
            f" JOIN {JOB} parent ON parent.id = edge.parent_id"
            f" WHERE edge.child_id {among} AND edge.takes_result"
        ),
        ends=f"SELECT id, result, result_preview, traceback FROM {JOB} WHERE id {among}",
        peek=f"SELECT ({fence}), EXISTS ({new}), EXISTS ({due})",
        new=f"{new} ORDER BY priority DESC, created LIMIT {mark}",
        due=f"{due} ORDER BY eta LIMIT {mark}",
        in_flight=(
            f"SELECT {CALL}, runner, worker FROM {JOB}{by.format('dask_facade_in_flight')}"
            f" WHERE state IN {IN_FLIGHT}"
        ),
        slice_of_inputs=(
            "SELECT result FROM ("
            "SELECT parent.result AS result, row_number() OVER reading AS place,"
            " sum(coalesce(length(parent.result), 5)) OVER reading AS size"
            f" FROM (SELECT id, parent_id, position FROM {EDGE}"
            f" WHERE child_id = {mark} AND takes_result"
            f" ORDER BY position, id LIMIT {mark} OFFSET {mark}) edge"
            f" LEFT JOIN {JOB} parent ON parent.id = edge.parent_id"
            " WINDOW reading AS (ORDER BY edge.position, edge.id)"
            f") input WHERE place = 1 OR size <= {mark} ORDER BY place"
        ),
        count_inputs=f"SELECT count(*) FROM {EDGE} WHERE child_id = {mark} AND takes_result",
        forget_taken=(
            f"UPDATE {JOB}{by.format('dask_facade_taken')} SET open = NULL"
            f" WHERE open = 0 AND state IN {WAITING}"
        ),
        peek_requests=f"SELECT ({fence}), EXISTS (SELECT 1 FROM {REQUEST})",
        requests=(
            f"SELECT id, kind, job_id, CAST(arguments AS text) FROM {REQUEST}"
            f" ORDER BY id LIMIT {mark}"
        ),
        drop_requests=f"DELETE FROM {REQUEST} WHERE id {among}",
        lease=(
            "SELECT epoch, beat, holder, CAST(addresses AS text), secret"
            f" FROM {LEASE} WHERE name = '{LEASE_NAME}'"
        ),
        first_lease=(
            f"INSERT INTO {LEASE} (holder, addresses, secret, updated, name, epoch, beat)"
            f" VALUES ({mark}, {json}, {mark}, {at}, '{LEASE_NAME}', 1, 0)"
            " ON CONFLICT (name) DO NOTHING"
        ),
        next_lease=(
            f"UPDATE {LEASE} SET epoch = epoch + 1, beat = beat + 1, holder = {mark},"
            f" addresses = {json},"
            f" secret = CASE WHEN length(secret) = 0 THEN {mark} ELSE secret END, updated = {at}"
            f" WHERE name = '{LEASE_NAME}'"
            f" AND epoch = {mark} AND beat = {mark} AND holder = {mark}"
        ),
        beat=(
            f"UPDATE {LEASE} SET beat = beat + 1, updated = {at}"
            f" WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
        ),
        resign=(
            f"UPDATE {LEASE} SET holder = '', addresses = {json}, updated = {at}"
            f" WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
        ),
        columns={table: f"SELECT * FROM {table} LIMIT 0" for table in COLUMNS},
    )


class Session(Protocol):
    """The leader's connection to one database.

    It connects when it is first asked, and anew after the database was away. All but `close` raise
    what the database raises only within `transaction` or `reading`, which tell it in our words.
    """

    statements: Statements

    def transaction(self, epoch: int | None) -> AbstractContextManager[None]:
        """Begin, check *epoch* (None: do not), commit at the end; roll back after any error."""

    def reading(self) -> AbstractContextManager[None]:
        """Run statements that only read."""

    def write_alone(self, epoch: int, batch: Batch) -> Written | None:
        """Write a batch that nothing follows from, if that is faster than a transaction.

        None: nothing was done, for a database without such a way or a batch that is not so.
        """

    def rows(self, statement: str, *parameters: object) -> list[Any]:
        """Run *statement* and return its rows, tuples."""

    def change(self, statement: str, *parameters: object) -> int:
        """Run *statement* and return how many rows it changed."""

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""

    def among(self, values: Collection[str] | Collection[int]) -> object:
        """Return the parameter that `statements` compares with "one of"."""

    def at(self, seconds: float) -> object:
        """Return the parameter for the time that is *seconds* from now."""

    def seconds(self, time: datetime) -> float:
        """Return a time that was read as seconds since the epoch."""

    def end(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write outcomes, guarded; return those that moved their job."""

    def release(self, releases: Sequence[Release]) -> list[tuple[str, int]]:
        """Write releases, guarded; return (id, hand) of those that moved."""

    def claim(self, claims: Sequence[Claim]) -> list[tuple[str, int]]:
        """Write claims, guarded; return (id, hand) of those that moved."""

    def lower(self, counts: Mapping[str, int]) -> list[Any]:
        """Take from the counts of waiting jobs that wait for something; return their rows, as
        `Statements.waiting` does, with the new counts.
        """

    def set_open(self, counts: Sequence[tuple[int, str]]) -> None:
        """Write (count of open dependencies, id)."""

    def close(self) -> None:
        """Close the connection."""
