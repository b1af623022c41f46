"""Moments of a dispatcher at which it is killed: right after a commit, before anybody is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_facade.jobs import Batch, Written
from dask_facade.ledger.orm import OrmStore
from dask_facade.ledger.store import Desk
from dask_facade.messages import Spawn, Spawned
from tests.chaos.traps import Traps

AFTER_A_CLAIM = "after-a-claim"
AFTER_AN_OUTCOME = "after-an-outcome"
AFTER_A_CHILD = "after-a-child"


class DeadlyStore(OrmStore):
    """A ledger whose leader may die at its desk."""

    def __init__(self, alias: str, traps: Traps) -> None:
        super().__init__(alias)
        self._traps = traps

    def open_desk(self) -> Desk:
        """Return the desk, with traps on it."""
        return DeadlyDesk(super().open_desk(), self._traps)


class DeadlyDesk:
    """The desk of a leader that dies where a trap is set; else as *desk*."""

    def __init__(self, desk: Desk, traps: Traps) -> None:
        self._desk = desk
        self._traps = traps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def write(self, epoch: int, batch: Batch) -> Written:
        """As `Desk.write`."""
        written = self._desk.write(epoch, batch)
        if written.claimed:
            self._traps.pass_by(AFTER_A_CLAIM)
        if written.outcomes:
            self._traps.pass_by(AFTER_AN_OUTCOME)
        return written

    def spawn(self, epoch: int, spawns: Sequence[Spawn]) -> Sequence[Spawned]:
        """As `Desk.spawn`."""
        answers = self._desk.spawn(epoch, spawns)
        self._traps.pass_by(AFTER_A_CHILD)
        return answers
