"""What the leader's side of the ledger asks of a connection to a database."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.ledger.sql import Statements
from dask_facade.messages import Edge, NewJob, Outcome, Update


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

    def now(self) -> float:
        """Return the database's time in seconds since the epoch, as far as is known here."""

    def look_at_clock(self) -> None:
        """Ask the database for its time."""

    def at(self, seconds: float) -> object:
        """Return the parameter for the time that is *seconds* from now."""

    def moment(self, seconds: float | None) -> object:
        """Return the parameter for a time in seconds since the epoch; None: there is none."""

    def seconds(self, time: datetime) -> float:
        """Return a time that was read as seconds since the epoch."""

    def insert(self, jobs: Sequence[NewJob], edges: Sequence[Edge]) -> tuple[float, set[str]]:
        """Insert jobs whose ids are free, and edges; return when, and the ids that were free."""

    def end(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Write outcomes, guarded; return those that moved their job."""

    def update(self, updates: Sequence[Update]) -> None:
        """Write what running calls say, guarded."""

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

    def begin_delays(self, delays: Mapping[str, float]) -> dict[str, float]:
        """Let jobs be due after their delay, from now; return when, in seconds since the epoch."""

    def close(self) -> None:
        """Close the connection."""
