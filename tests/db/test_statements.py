"""Each statement that runs again and again goes by an index, however large the tables grow."""

from __future__ import annotations

import pytest
from django.db import connections

from dask_facade.ledger import orm, postgresql, sqlite
from dask_facade.ledger.orm import OrmStore
from dask_facade.states import FAILURE, SUCCESS
from tests.db.plans import Led, chord, job

INDEXES = {
    "new": "dask_facade_new",
    "due": "dask_facade_due",
    "forget_taken": "dask_facade_taken",
    "in_flight": "dask_facade_in_flight",
    "later": "dask_facade_due",
    "idle": "dask_facade_edge_child",
    "idle_of": "dask_facade_edge_child",
    "revoked": "dask_facade_state",
    "expired": "dask_facade_edge_parent",
    "edges_from": "dask_facade_edge_parent",
    "edges_to": "dask_facade_edge_child",
    "inputs_of": "dask_facade_edge_child",
    "slice_of_inputs": "dask_facade_edge_child",
    "count_inputs": "dask_facade_edge_child",
    "nearest": "dask_facade_edge_child",
    "take_no_more": "dask_facade_edge_child",
    "failed_by": "dask_facade_edge_parent",
    "needed": "dask_facade_edge_parent",
    "ended": "job_",
    "forget_edges": "dask_facade_edge_child",
    "waiting": "job_",  # the index of the primary key
    "ends": "job_",
    "known": "job_",
    "errbacks": "job_",
    "errors_of": "job_",
    "unsuccessful": "job_",
    "reopen": "job_",
    "forget": "job_",
    "leave": "job_",
}


def parameters(session, name):
    ids = session.among(["a", "b"])
    return {
        "new": (session.at(0), ids, 10, 100),
        "due": (session.at(2), ids, 10, 100),
        "peek": (1, session.at(0), ids, session.at(2), ids),
        "slice_of_inputs": ("a", 10, 0, 100),
        "count_inputs": ("a",),
        "reopen": (session.at(0), ids),
        "forget_taken": (),
        "in_flight": (),
        "later": (session.at(0), 10),
        "idle": (10,),
        "idle_of": (ids, 10),
        "revoked": (10,),
        "expired": (SUCCESS, session.at(0), session.at(0), 10),
    }.get(name, (ids,))


@pytest.fixture(params=["analyzed", "not analyzed"])
def ledger(alias, request):
    """A ledger with jobs in many states: planners look at what there is, if they know of it."""
    store = OrmStore(alias)
    desk = store.open_desk()
    ledger = Led(store, desk)
    header, body, edges = chord(300)
    ledger.submit(*header, body, *[job(group_id=f"g{n % 9}") for n in range(300)], edges=edges)
    ledger.claim(*header)
    ledger.end(*header[:200])
    ledger.end(*header[200:250], state=FAILURE)
    with connections[alias].cursor() as cursor:
        if request.param == "analyzed":
            cursor.execute("ANALYZE")
    yield ledger
    desk.close()
    with connections[alias].cursor() as cursor:
        # What SQLite knows would outlive the rows.
        if connections[alias].vendor == "sqlite" and request.param == "analyzed":
            cursor.execute("DELETE FROM sqlite_stat1")


def plan(rows, vendor):
    return [str(row[3] if vendor == "sqlite" else row[0]) for row in rows]


def scans(steps):
    """The steps that read a whole table of ours."""
    return [
        step
        for step in steps
        if "Seq Scan" in step or (step.startswith("SCAN dask_facade") and "USING INDEX" not in step)
    ]


@pytest.mark.parametrize("name", [*INDEXES, "peek"])
def test_a_statement_of_the_leader_goes_by_its_index(ledger, alias, name):
    session = ledger.desk._session
    vendor = connections[alias].vendor
    explain = "EXPLAIN QUERY PLAN " if vendor == "sqlite" else "EXPLAIN "

    rows = session.rows(explain + getattr(session.statements, name), *parameters(session, name))

    steps = plan(rows, vendor)
    assert any(INDEXES.get(name, "dask_facade_new") in step for step in steps), steps
    assert scans(steps) == []
    assert "JIT:" not in steps  # it takes a second, for statements of milliseconds


MOVES = {
    "sqlite": [
        *(*sqlite._END.values(), *sqlite._GO_ON.values(), sqlite._START, sqlite._SAY),
        *(sqlite._RELEASE, sqlite._CLAIM, sqlite._SET_OPEN, sqlite._BEGIN_DELAY),
    ],
    "postgresql": [
        *(move.format(fence="") for move in (postgresql._END, postgresql._RELEASE)),
        *(postgresql._CLAIM.format(fence=""), postgresql._GO_ON, postgresql._LOWER),
        *(postgresql._UPDATE, postgresql._SET_OPEN, postgresql._BEGIN_DELAYS),
        postgresql._alone(False, False, True, True),
    ],
}


def test_what_moves_a_job_finds_it_by_its_id(ledger, alias):
    session, vendor = ledger.desk._session, connections[alias].vendor
    explain = "EXPLAIN QUERY PLAN " if vendor == "sqlite" else "EXPLAIN "

    for move in MOVES[vendor]:
        values = [None] * move.count("?") + [1] * move.count("%s") + [[]] * move.count("%b")
        steps = plan(session.rows(explain + move, *values), vendor)

        key = "sqlite_autoindex_dask_facade_job_1" if vendor == "sqlite" else "dask_facade_job_pkey"
        assert any(key in step for step in steps), steps
        assert scans(steps) == []


SELECT = "SELECT id, group_id FROM dask_facade_job"


@pytest.mark.parametrize(
    ("index", "statement"),
    [
        ("group", orm._COUNT_STATES),
        ("group", f"{SELECT} WHERE group_id = %s ORDER BY created"),
        ("state", f"{SELECT} WHERE state = %s ORDER BY created DESC LIMIT 50"),
        ("parent", f"{SELECT} WHERE parent_id = %s"),
        ("owner", f"{SELECT} WHERE owner = %s AND owner > '' ORDER BY id DESC LIMIT 50"),
        ("request_job", orm._ASKED.replace("kind = %s", "kind = 'revoke'")),
    ],
)
def test_what_readers_ask_for_goes_by_an_index(ledger, alias, index, statement):
    vendor = connections[alias].vendor
    with connections[alias].cursor() as cursor:
        if vendor == "postgresql":  # which reads a small table as a whole
            cursor.execute("SET enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN " if vendor == "sqlite" else "EXPLAIN "
        cursor.execute(explain + statement, ["g1"])
        steps = plan(cursor.fetchall(), vendor)
        if vendor == "postgresql":
            cursor.execute("RESET enable_seqscan")

    assert any(f"dask_facade_{index}" in step for step in steps), steps
    assert not any("TEMP B-TREE FOR ORDER" in step for step in steps), steps
