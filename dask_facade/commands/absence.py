"""Nobody answers: what is said of it, and the exit status."""

from __future__ import annotations

import os

import click

from dask_facade.app import DaskFacade

NOBODY = "no dispatcher leads: start one (manage.py dask_dispatcher)"


class Unavailable(click.ClickException):
    """Nobody answers who could; Celery's exit status for it."""

    exit_code = os.EX_UNAVAILABLE


def require_leader(app: DaskFacade) -> None:
    """Raise Unavailable where no dispatcher leads."""
    if not _leader(app):
        raise Unavailable(NOBODY)


def no_answer(app: DaskFacade, timeout: float, *, is_asked: bool) -> Unavailable:
    """Return the error that says why no worker answers, as far as the ledger tells.

    *is_asked*: it stands there, and a dispatcher does it whoever answers.
    """
    leader = _leader(app)
    why = f"{leader} leads; -t waits for longer than {timeout:g} s" if leader else NOBODY
    kept = " What was asked for is kept, and is done by the dispatcher." if is_asked else ""
    return Unavailable(f"No nodes replied within time constraint: {why}.{kept}")


def _leader(app: DaskFacade) -> str:
    lease = app.store.lease()
    return "" if lease is None else lease.holder
