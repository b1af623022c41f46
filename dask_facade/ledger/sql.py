"""The ledger's statements, for both databases."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from dask_facade.ledger.inputs import REFERENCE_SIZE
from dask_facade.states import (
    ABORTED,
    FAILURE,
    IN_FLIGHT_STATES,
    PENDING,
    PROPAGATE_STATES,
    READY_STATES,
    RETRY,
    REVOKED,
    SOURCES,
    UNREADY_STATES,
    WAITING_STATES,
)

JOB = "dask_facade_job"
EDGE = "dask_facade_edge"
REQUEST = "dask_facade_request"
LEASE = "dask_facade_lease"
QUEUE = "dask_facade_queue"
GROUP = "dask_facade_saved_group"
SCHEDULE = "dask_facade_schedule"
NAMED = "dask_facade_daskjob"
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
        "graph",
        "owner",
        "shape",
        "options",
        "errbacks",
        "root_id",
        "parent_id",
        "group_id",
        "created",
        "eta",
        "expires",
        "delay",
        "claimed",
        "started",
        "finished",
        "runtime",
        "result",
        "result_preview",
        "traceback",
        "said",
        "meta",
        "key",
        "size",
    ),
    EDGE: ("id", "parent_id", "child_id", "position", "takes_result"),
    REQUEST: ("id", "kind", "job_id", "arguments", "created"),
    LEASE: ("name", "epoch", "beat", "holder", "addresses", "secret", "scheduler", "updated"),
    QUEUE: ("name", "paused"),
    GROUP: ("id", "tree"),
    SCHEDULE: ("name", "last_run", "runs"),
    NAMED: (
        "id",
        "name",
        "description",
        "label",
        "owner",
        "creation_time",
        "execute_time",
        "extended_properties",
        "scheduler_id",
        "forget",
        "key",
        "parent_id",
        "is_parent",
        "results_function",
        "ledger_id",
        "results_id",
        "work",
        "held",
        "stopped",
        "refusal",
        "own_status",
        "own_message",
    ),
}
"""Table -> its columns in this release."""

READ_LEASE = (
    "SELECT epoch, beat, holder, CAST(addresses AS text), secret, scheduler"
    f" FROM {LEASE} WHERE name = '{LEASE_NAME}'"
)

CALL = (
    "id, task, attempt, hand, queue, priority, created, eta, acks_late, ignore_result, lost, "
    "root_id, parent_id, group_id, shape, payload, expires, graph, options"
)
WAITING_CALL = f"{CALL}, open, delay"

INSERT_JOB = (
    f"INSERT INTO {JOB} (id, task, queue, priority, payload, arguments, eta, expires, delay,"
    " acks_late, ignore_result, graph, owner, root_id, parent_id, group_id, shape, options,"
    " errbacks, created, state, attempt, hand, lost, runner, worker, result_preview, said, key,"
    " size)"
)
"""Insert a NewJob, its time of creation, and `FRESH`."""
FRESH = f"'{PENDING}', 1, 0, 0, '', '', '', '', '', 0"
INSERT_EDGE = f"INSERT INTO {EDGE} (parent_id, child_id, position, takes_result)"


def words(states: Collection[str]) -> str:
    """Return states as SQL's list. Sorted, as in the conditions of the indexes: SQLite compares."""
    return "(" + ", ".join(f"'{state}'" for state in sorted(states)) + ")"


WAITING = words(WAITING_STATES)
IN_FLIGHT = words(IN_FLIGHT_STATES)
UNREADY = words(UNREADY_STATES)
SAID_NO_MORE = f"said = CASE WHEN said = '{ABORTED}' THEN said ELSE '' END, meta = NULL"
"""What a job said while it ran; that it is to be aborted stands until it ends."""
IGNORED = (
    "ignore_result AND NOT EXISTS"
    f" (SELECT 1 FROM {EDGE} taking WHERE taking.parent_id = {{id}} AND taking.takes_result)"
)
"""Whether the result of a job is not kept: nobody wants it, and no other job takes it."""


def may_enter(state: str) -> str:
    """Return the states from which a job may enter *state* as SQL's list."""
    return words(SOURCES[state])


def _first(waiting: str, order: str, mark: str) -> str:
    """Return what reads the first of *waiting*: so many, and none behind so many bytes to carry.

    Only of those that are read, the arguments themselves are looked at.
    """
    return (
        f"SELECT {WAITING_CALL} FROM (SELECT id AS taken, sum(size) OVER line - size AS before"
        f" FROM (SELECT id, priority, created, eta, length(payload) AS size {waiting}"
        f" ORDER BY {order} LIMIT {mark}) found"
        f" WINDOW line AS (ORDER BY {order}, id ROWS UNBOUNDED PRECEDING)) first"
        f" JOIN {JOB} ON id = taken WHERE before < {mark}"
    )


@dataclass(frozen=True, slots=True)
class Statements:
    """What both databases say alike, but for the marks of parameters."""

    fence: str
    edges_from: str
    edges_to: str
    waiting: str
    revocable: str
    inputs_of: str
    nearest: str
    errors_of: str
    errbacks: str
    ends: str
    known: str
    wait_for_more: str
    say: str
    peek: str
    new: str
    due: str
    in_flight: str
    later: str
    idle: str
    idle_of: str
    revoked: str
    slice_of_inputs: str
    count_inputs: str
    become: str
    take_no_more: str
    unsuccessful: str
    failed_by: str
    reopen: str
    ended: str
    needed: str
    expired: str
    forget: str
    forget_edges: str
    pause: str
    paused: str
    forget_taken: str
    leave: str
    peek_requests: str
    requests: str
    drop_requests: str
    lease: str
    first_lease: str
    next_lease: str
    beat: str
    announce: str
    resign: str
    columns: dict[str, str]


def statements(
    *, mark: str, among: str, at: str, moment: str, json: str, by: str, plain: str, own: str
) -> Statements:
    """Return the statements for one database.

    *mark* stands for a parameter, *among* is "= one of the ids of a parameter", *at* and *moment*
    times told by a parameter (`Session.at`, `Session.moment`), *json* a parameter that is JSON.
    *by* names the index to use where the database would rather take another, and *plain* keeps it
    from looking rows up by the column behind it. *own* is the id of the row `job`, collated as the
    columns by which others name it: else they are not looked up by their indexes.
    """
    fence = f"SELECT epoch FROM {LEASE} WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
    new = (
        f"FROM {JOB}{by.format('dask_facade_new')}"
        f" WHERE state = '{PENDING}' AND open IS NULL AND eta IS NULL AND created <= {at}"
        f" AND NOT queue {among}"
    )
    due = (
        f"FROM {JOB}{by.format('dask_facade_due')}"
        f" WHERE state IN {WAITING} AND open IS NULL AND eta IS NOT NULL AND eta <= {at}"
        f" AND NOT queue {among}"
    )
    idle = (
        f"SELECT id FROM {JOB} job WHERE state = '{PENDING}' AND (open IS NULL OR open = 0)"
        f" AND NOT graph AND NOT EXISTS (SELECT 1 FROM {EDGE} edge"
        f" JOIN {JOB} parent ON parent.id = edge.parent_id"
        f" WHERE edge.child_id = {own} AND parent.state NOT IN {words(READY_STATES)}"
        " LIMIT 1 OFFSET 0)"
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
        waiting=(
            f"SELECT {WAITING_CALL} FROM {JOB} WHERE id {among} AND {plain}state IN {WAITING}"
        ),
        revocable=(
            f"SELECT {WAITING_CALL} FROM {JOB} WHERE id {among} AND {plain}state IN {WAITING}"
            # What is RETRY without a time was never ours: others said so (`JobStore.record`).
            f" AND (state = '{PENDING}' OR eta IS NOT NULL)"
        ),
        inputs_of=(
            "SELECT edge.child_id, parent.result, parent.id, parent.key, parent.worker,"
            f" parent.size FROM {EDGE} edge LEFT JOIN {JOB} parent ON parent.id = edge.parent_id"
            f" WHERE edge.child_id {among} AND edge.takes_result"
        ),
        nearest=(
            f"SELECT edge.child_id, parent.size, parent.worker FROM {EDGE} edge"
            f" JOIN {JOB} parent ON parent.id = edge.parent_id"
            f" WHERE edge.child_id {among} AND edge.takes_result AND parent.key <> ''"
            " ORDER BY edge.child_id, edge.position, edge.id"
        ),
        errors_of=(
            "SELECT child.id, parent.id, parent.result, parent.result_preview, parent.traceback,"
            f" parent.task, parent.payload FROM {JOB} child"
            f" JOIN {JOB} parent ON parent.id = child.parent_id WHERE child.id {among}"
        ),
        errbacks=f"SELECT id, errbacks FROM {JOB} WHERE id {among} AND length(errbacks) > 0",
        ends=f"SELECT id, result, result_preview, traceback FROM {JOB} WHERE id {among}",
        known=(f"SELECT id, state, attempt, hand, parent_id, created FROM {JOB} WHERE id {among}"),
        wait_for_more=(
            f"UPDATE {JOB} SET open = open + {mark}"
            f" WHERE id = {mark} AND {plain}state IN {WAITING} AND open > 0"
        ),
        say=(
            f"UPDATE {JOB} SET said = {mark}, meta = {mark}, result_preview ="
            f" CASE WHEN state = '{RETRY}' THEN result_preview ELSE {mark} END"
            f" WHERE id = {mark} AND {plain}state IN {UNREADY}"
        ),
        peek=f"SELECT ({fence}), EXISTS (SELECT 1 {new}), EXISTS (SELECT 1 {due})",
        new=_first(new, "priority DESC, created", mark),
        due=_first(due, "eta", mark),
        in_flight=(
            f"SELECT {CALL}, runner, worker FROM {JOB}{by.format('dask_facade_in_flight')}"
            f" WHERE state IN {IN_FLIGHT}"
        ),
        later=(
            f"SELECT {CALL} FROM {JOB}{by.format('dask_facade_due')}"
            f" WHERE state IN {WAITING} AND open IS NULL AND eta IS NOT NULL AND eta > {at}"
            f" ORDER BY eta LIMIT {mark}"
        ),
        idle=f"{idle} ORDER BY created LIMIT {mark}",
        idle_of=f"{idle} AND queue {among} ORDER BY created LIMIT {mark}",
        revoked=(
            f"SELECT id FROM {JOB} WHERE state = '{REVOKED}' ORDER BY created DESC LIMIT {mark}"
        ),
        slice_of_inputs=(
            "SELECT result, id, key, worker, bytes FROM ("
            "SELECT parent.result AS result, parent.id AS id, parent.key AS key,"
            " parent.worker AS worker, parent.size AS bytes, row_number() OVER reading AS place,"
            f" sum(CASE WHEN parent.result IS NULL AND parent.key <> '' THEN {REFERENCE_SIZE}"
            " ELSE coalesce(length(parent.result), 5) END) OVER reading AS size"
            f" FROM (SELECT id, parent_id, position FROM {EDGE}"
            f" WHERE child_id = {mark} AND takes_result"
            f" ORDER BY position, id LIMIT {mark} OFFSET {mark}) edge"
            f" LEFT JOIN {JOB} parent ON parent.id = edge.parent_id"
            " WINDOW reading AS (ORDER BY edge.position, edge.id)"
            f") input WHERE place = 1 OR size <= {mark} ORDER BY place"
        ),
        count_inputs=f"SELECT count(*) FROM {EDGE} WHERE child_id = {mark} AND takes_result",
        become=(
            f"UPDATE {JOB} SET task = {mark}, queue = {mark}, priority = {mark}, payload = {mark},"
            f" arguments = {mark}, expires = {moment}, acks_late = {mark}, ignore_result = {mark},"
            f" graph = {mark}, shape = {mark}, options = {mark}, errbacks = {mark}"
            f" WHERE id = {mark}"
        ),
        take_no_more=(
            f"UPDATE {EDGE} SET takes_result = FALSE WHERE child_id {among} AND takes_result"
        ),
        unsuccessful=(
            f"SELECT id FROM {JOB} WHERE id {among} AND {plain}state IN {words(PROPAGATE_STATES)}"
        ),
        failed_by=(
            f"SELECT DISTINCT child.id FROM {EDGE} edge"
            f" JOIN {JOB} child ON child.id = edge.child_id"
            f" WHERE edge.parent_id {among} AND {plain}child.state = '{FAILURE}' AND child.hand = 0"
            # Looked up one by one, by a column of the index's collation: else all edges are read.
            f" AND 0 = (SELECT count(*) FROM {EDGE} other WHERE other.child_id = edge.child_id"
            f" AND (SELECT parent.state FROM {JOB} parent WHERE parent.id = other.parent_id)"
            f" IN {words(PROPAGATE_STATES)})"
        ),
        reopen=(
            f"UPDATE {JOB} SET state = '{PENDING}', attempt = attempt + 1, open = NULL, lost = 0,"
            " started = NULL, finished = NULL, runtime = NULL, result = NULL, result_preview = '',"
            " traceback = NULL, said = '', meta = NULL, key = '', size = 0,"
            " eta = CASE WHEN hand = 0 THEN eta END,"
            f" expires = CASE WHEN expires > {at} THEN expires END WHERE id {among}"
        ),
        ended=f"SELECT id FROM {JOB} WHERE id {among} AND {plain}state IN {words(READY_STATES)}",
        needed=(
            f"SELECT DISTINCT edge.parent_id FROM {EDGE} edge"
            f" JOIN {JOB} child ON child.id = edge.child_id"
            f" WHERE edge.parent_id {among} AND {plain}child.state NOT IN {words(READY_STATES)}"
        ),
        expired=(
            f"SELECT id, CASE WHEN graph THEN queue WHEN key <> '' THEN '' END"
            f" FROM {JOB} job WHERE state = {mark}"
            # Who ended before then was created before then: that is what there is an index for.
            f" AND created <= {at} AND finished <= {at}"
            # With an OFFSET they are looked up for each job: else PostgreSQL joins whole tables.
            f" AND NOT EXISTS (SELECT 1 FROM {EDGE} edge JOIN {JOB} child"
            f" ON child.id = edge.child_id WHERE edge.parent_id = {own}"
            f" AND {plain}child.state NOT IN {words(READY_STATES)} LIMIT 1 OFFSET 0)"
            f" AND NOT EXISTS (SELECT 1 FROM {JOB} born WHERE born.parent_id = {own}"
            f" AND {plain}born.state NOT IN {words(READY_STATES)} LIMIT 1 OFFSET 0)"
            f" AND NOT EXISTS (SELECT 1 FROM {NAMED} named WHERE named.ledger_id = {own}"
            " LIMIT 1 OFFSET 0)"
            f" AND NOT EXISTS (SELECT 1 FROM {NAMED} named WHERE named.results_id = {own}"
            " LIMIT 1 OFFSET 0)"
            f" ORDER BY created LIMIT {mark}"
        ),
        forget=f"DELETE FROM {JOB} WHERE id {among}",
        forget_edges=f"DELETE FROM {EDGE} WHERE child_id {among}",
        pause=(
            f"INSERT INTO {QUEUE} (name, paused) VALUES ({mark}, {mark})"
            " ON CONFLICT (name) DO UPDATE SET paused = excluded.paused"
        ),
        paused=f"SELECT name FROM {QUEUE} WHERE paused",
        forget_taken=(
            f"UPDATE {JOB}{by.format('dask_facade_taken')} SET open = NULL"
            f" WHERE open = 0 AND state IN {WAITING}"
        ),
        leave=(
            f"UPDATE {JOB} SET open = NULL WHERE id {among} AND {plain}state IN {WAITING}"
            " AND open = 0"
        ),
        peek_requests=f"SELECT ({fence}), EXISTS (SELECT 1 FROM {REQUEST})",
        requests=(
            f"SELECT id, kind, job_id, CAST(arguments AS text) FROM {REQUEST}"
            f" ORDER BY id LIMIT {mark}"
        ),
        drop_requests=f"DELETE FROM {REQUEST} WHERE id {among}",
        lease=READ_LEASE,
        first_lease=(
            f"INSERT INTO {LEASE} (holder, addresses, secret, updated, name, epoch, beat,"
            f" scheduler) VALUES ({mark}, {json}, {mark}, {at}, '{LEASE_NAME}', 1, 0, '')"
            " ON CONFLICT (name) DO NOTHING"
        ),
        next_lease=(
            f"UPDATE {LEASE} SET epoch = epoch + 1, beat = beat + 1, holder = {mark},"
            f" addresses = {json}, scheduler = '',"
            f" secret = CASE WHEN length(secret) = 0 THEN {mark} ELSE secret END, updated = {at}"
            f" WHERE name = '{LEASE_NAME}'"
            f" AND epoch = {mark} AND beat = {mark} AND holder = {mark}"
        ),
        beat=(
            f"UPDATE {LEASE} SET beat = beat + 1, updated = {at}"
            f" WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
        ),
        announce=(
            f"UPDATE {LEASE} SET scheduler = {mark}, updated = {at}"
            f" WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
        ),
        resign=(
            f"UPDATE {LEASE} SET holder = '', addresses = {json}, scheduler = '', updated = {at}"
            f" WHERE name = '{LEASE_NAME}' AND epoch = {mark}"
        ),
        columns={table: f"SELECT * FROM {table} LIMIT 0" for table in COLUMNS},
    )
