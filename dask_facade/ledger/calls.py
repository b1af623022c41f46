"""Rows of a database as calls, with what runners get of the jobs that they depend on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dask_facade.ledger.inputs import error_inputs, told_first
from dask_facade.ledger.session import Session
from dask_facade.messages import Call, Shape

ID, ATTEMPT, HAND, ETA, SHAPE, PAYLOAD = 0, 2, 3, 7, 14, 15  # in a row of sql.CALL
OPEN, DELAY = 19, 20  # in a row of sql.WAITING_CALL


def calls_of_rows(
    session: Session, rows: Sequence[Any], inputs: Mapping[str, bytes] | None = None
) -> list[Call]:
    """Return rows that begin as sql.CALL as calls.

    *inputs* has what is known of those that take one result; the others are read.
    """
    told: dict[str, tuple[bytes, ...]] = {id: (one,) for id, one in (inputs or {}).items()}
    near: dict[str, str] = {}
    if any(row[SHAPE] for row in rows):
        _read_first(session, rows, told, near)
        _read_errors(session, rows, told)
        _read_nearest(session, rows, near)
    return [_call(session, row, told, near) for row in rows]


def _call(
    session: Session,
    row: Sequence[Any],
    told: Mapping[str, tuple[bytes, ...]],
    near: Mapping[str, str],
) -> Call:
    id, eta, shape = row[ID], row[ETA], row[SHAPE]
    taken: tuple[bytes, ...] = ()
    if shape == Shape.FIRST or shape & ~Shape.REFERENCES == Shape.ERROR:
        taken = told.get(id, ())
    created = session.seconds(row[6])
    due = None if eta is None else session.seconds(eta)
    expires = None if row[16] is None else session.seconds(row[16])
    return Call._make(
        (*row[:6], created, due, *row[8:16], expires, *row[17:19], near.get(id, ""), taken, False)
    )


def _read_first(
    session: Session,
    rows: Sequence[Any],
    told: dict[str, tuple[bytes, ...]],
    near: dict[str, str],
) -> None:
    unread = [row[ID] for row in rows if row[SHAPE] == Shape.FIRST and row[ID] not in told]
    if not unread:
        return
    found = session.rows(session.statements.inputs_of, session.among(unread))
    for child_id, result, parent_id, key, worker, size in found:
        told.setdefault(child_id, (told_first(result, parent_id, key, worker, size),))
        if key:
            near.setdefault(child_id, worker)


def _read_errors(session: Session, rows: Sequence[Any], told: dict[str, tuple[bytes, ...]]) -> None:
    ids = [row[ID] for row in rows if row[SHAPE] & ~Shape.REFERENCES == Shape.ERROR]
    if ids:
        for child_id, *failure in session.rows(session.statements.errors_of, session.among(ids)):
            told[child_id] = error_inputs(*failure)


def _read_nearest(session: Session, rows: Sequence[Any], near: dict[str, str]) -> None:
    """Find who holds the largest of the inputs that are pulled."""
    pulled = (Shape.NOTHING, Shape.FIRST, Shape.ERROR)
    ids = [row[ID] for row in rows if row[SHAPE] not in pulled]
    if not ids:
        return
    largest: dict[str, int] = {}
    for child_id, size, worker in session.rows(session.statements.nearest, session.among(ids)):
        if size > largest.get(child_id, -1):
            largest[child_id], near[child_id] = size, worker
