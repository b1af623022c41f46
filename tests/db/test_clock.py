"""Due times follow the clock of the database's server, not that of this machine."""

from __future__ import annotations

import time

import pytest

from dask_facade import DaskFacade
from dask_facade.ledger.clock import HOLDS, ServerClock
from tests.db.conftest import on_postgres
from tests.db.plans import Led

HOUR = 3_600.0


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine's wall clock be an hour ahead."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + HOUR)


def test_it_goes_on_by_the_steady_clock(monkeypatch):
    steady = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: steady)
    clock = ServerClock()
    before = clock.is_stale

    clock.hear(5_000.0)
    steady += HOLDS
    monkeypatch.setattr(time, "time", lambda: 0.0)

    assert (before, clock.is_stale) == (True, False)
    assert clock.now() == 5_000.0 + HOLDS
    steady += 1
    assert clock.is_stale


def test_before_it_was_heard_it_is_this_machines(monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 7.0)

    assert ServerClock().now() == 7.0


@on_postgres
def test_a_countdown_counts_from_the_servers_time(
    orm_ledger: Led, app: DaskFacade, wrong_clock: None
) -> None:
    real = time.time() - HOUR

    call = app.send_task("a", countdown=60)

    due = orm_ledger.store.fetch([call.id])[call.id].eta.timestamp()
    assert real + 59 < due < real + 90


@on_postgres
def test_a_leader_has_the_servers_time(orm_ledger: Led, wrong_clock: None) -> None:
    desk = orm_ledger.desk

    desk.beat(orm_ledger.epoch)

    assert abs(desk.now() - (time.time() - HOUR)) < 10
