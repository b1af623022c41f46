"""Revoked stamps, as a leader keeps them in mind: no call begins that has one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from dask_facade.jobs import Asked
from dask_facade.withdrawals import listed
from dask_facade.worker.state import revoked_stamps


@dataclass(slots=True)
class _Revoked:
    """Values of one stamp, and when this leader was asked to revoke them."""

    name: str
    values: Sequence[Any]
    since: float


class RevokedStamps:
    """The requests by which stamps are revoked, by number; *clock* is monotonic.

    They stay in the ledger for *patience* seconds, so that the next leader knows of them, too.
    """

    def __init__(self, clock: Callable[[], float], patience: float) -> None:
        self._clock = clock
        self._patience = patience
        self._revoked: dict[int, _Revoked] = {}

    @property
    def numbers(self) -> set[int]:
        """The requests that still hold."""
        return set(self._revoked)

    def add(self, requests: Iterable[Asked]) -> None:
        """Let no call begin that has one of these stamps."""
        now = self._clock()
        for each in requests:
            values = listed(each.arguments.get("values"))
            revoked_stamps[each.name] = [*listed(revoked_stamps.get(each.name)), *values]
            self._revoked[each.number] = _Revoked(each.name, values, now)

    def expire(self) -> list[int]:
        """Forget stamps that were revoked long ago; return their requests."""
        before = self._clock() - self._patience
        old = [number for number, each in self._revoked.items() if each.since < before]
        for number in old:
            each = self._revoked.pop(number)
            left = listed(revoked_stamps.pop(each.name, None))
            for value in each.values:
                with suppress(ValueError):
                    left.remove(value)
            if left:
                revoked_stamps[each.name] = left
        return old
