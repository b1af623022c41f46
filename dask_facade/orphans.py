"""Calls that wait for the workers of a pool that are gone, and that nobody else would ever take."""

from __future__ import annotations

import math
from collections.abc import Collection

from dask_facade.fleet import Fleet
from dask_facade.roster import Roster
from dask_facade.verdicts import orphaned

LOOK_EVERY = 5.0  # seconds
AT_ONCE = 1_000  # calls that are ended in one look


class Orphans:
    """Ends what waits in queues that only runners take which name them, and none does any more.

    A pool places its runners before it submits, and never again for the same queue. They may lose
    their lines, and their worker may start anew: so it is waited as long as for a runner.
    """

    def __init__(self, roster: Roster, fleet: Fleet) -> None:
        self._fleet = fleet
        self._next = -math.inf
        self._roster = roster
        self._since: dict[str, float] = {}  # when a queue was first seen to wait for nobody

    def look(self) -> None:
        """End what has waited for too long; see `next_wake`."""
        own, now = self._roster.ready.calls.own, self._roster.now
        if not own or self._fleet.draining or now.steady < self._next:
            return
        self._next = now.steady + LOOK_EVERY
        runners = self._fleet.runners.values()
        served = {queue for runner in runners if runner.up for queue in runner.queues}
        self._since = {
            queue: self._since.get(queue, now.steady) for queue in own if queue not in served
        }
        for queue, since in self._since.items():
            if now.steady - since >= self._roster.rules.worker_gone:
                self._end(queue)

    def runner_up(self, queues: Collection[str]) -> None:
        """Wait anew for who takes these queues."""
        for queue in queues:
            self._since.pop(queue, None)

    def _end(self, queue: str) -> None:
        roster = self._roster
        calls = roster.ready.calls.of(queue)
        if len(calls) > AT_ONCE:
            self._next = roster.now.steady
        for call in calls[:AT_ONCE]:
            roster.ready.discard(call)
            roster.end(roster.entries[call.id], orphaned(call, roster.now.wall))

    def next_wake(self, now: float) -> float | None:
        """Return the steady time by which it wants to look, None while nothing waits there."""
        return max(now, self._next) if self._roster.ready.calls.own else None
