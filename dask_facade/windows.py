"""What the broker knows of a runner: the calls that it has in hand, and how much work they are."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from dask_facade.backlog import weight_of
from dask_facade.events import GRAPHS, Rules
from dask_facade.messages import Call, Held

READY, CLAIMED, HANDED, DOUBTED, RELEASED, ENDED = range(6)  # the last two: being written


class Entry:
    """A call that the broker has taken up, until it is terminal."""

    __slots__ = ("begun", "call", "cost", "phase", "runner", "weight")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.phase = READY
        self.runner: Runner | None = None
        self.begun: float | None = None
        self.cost = 0.0
        self.weight = weight_of(call)

    def is_out(self, hand: int) -> bool:
        """Tell whether a runner has it, or may have it, as *hand*."""
        return self.phase in (HANDED, DOUBTED) and self.call.hand == hand

    def is_outdated(self, call: Call) -> bool:
        """Tell whether the ledger, which has *call* waiting, is further than what is known here."""
        known = self.call.hand - (self.phase == CLAIMED)
        return (call.attempt, call.hand) > (self.call.attempt, known)

    def let_go(self) -> None:
        """Take it out of its runner's hands."""
        runner, self.runner, self.begun = self.runner, None, None
        if runner is not None:
            runner.remove(self)


@dataclass(slots=True)
class Runner:
    """A runner and its window."""

    id: str
    worker: str
    queues: Collection[str]
    up: bool = True
    leaving: bool = False  # it said so
    paused: bool = False  # its worker is
    worker_gone: bool = False  # Dask said so
    missed_since: float = 0.0  # since when its line, or else its worker, is gone
    held: dict[str, Entry] = field(default_factory=dict)
    load: float = 0.0  # expected seconds of what is held; infinite with a call of unknown length
    weight: int = 0  # of what is held
    overrun: bool = False  # recalled; nothing is added until its window is empty
    taken: int = 0  # calls, ever
    told: dict[tuple[str, int], Held] = field(default_factory=dict)  # that it held as it dialled

    @property
    def takes_calls(self) -> bool:
        """Whether calls may be claimed for it."""
        return self.up and not (self.leaving or self.worker_gone or self.paused)

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to run, and may be given something."""
        return self.takes_calls and not self.held and not self.is_graphs

    @property
    def is_graphs(self) -> bool:
        """Whether it follows Dask's futures, as many as there are."""
        return self.id == GRAPHS

    def has_room(self, call: Call, cost: float, rules: Rules) -> bool:
        """Tell whether *call*, of *cost* seconds, fits into its window."""
        if not self.held:
            return True
        full = self.overrun or len(self.held) >= rules.window_calls
        if full or self.load + cost > rules.window:
            return False
        return self.weight + weight_of(call) <= rules.window_weight

    def overruns(self, now: float, rules: Rules) -> bool:
        """Tell whether what waits behind its first call should not wait any more."""
        if self.overrun or self.is_graphs or len(self.held) < 2:
            return False
        first = next(iter(self.held.values()))
        return first.begun is not None and now - first.begun >= rules.overrun

    def add(self, entry: Entry, phase: int, cost: float) -> None:
        """Let it hold a call."""
        entry.phase, entry.runner, entry.begun, entry.cost = phase, self, None, cost
        self.held[entry.call.id] = entry
        self.taken += 1
        self.load += cost
        self.weight += entry.weight

    def remove(self, entry: Entry) -> None:
        """Let it not hold a call any more."""
        if self.held.pop(entry.call.id, None) is not None:
            self.weight -= entry.weight
        if not self.held:
            self.load, self.overrun = 0.0, False
        elif math.isfinite(self.load):
            self.load -= entry.cost
        else:
            self.load = sum(each.cost for each in self.held.values())
