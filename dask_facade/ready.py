"""The calls that nobody has: in line, or waiting for their time or turn, and when each expires."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from dask_facade.backlog import Backlog, weight_of
from dask_facade.heap import Heap
from dask_facade.limits import Limits
from dask_facade.messages import Call


@dataclass(slots=True)
class Ready:
    """Calls by what they wait for. All times are in seconds since the epoch."""

    calls: Backlog = field(default_factory=Backlog)  # for runners
    graphs: Backlog = field(default_factory=Backlog)  # for who follows Dask's futures
    limits: Limits = field(init=False)  # before they stand in line for runners
    now: float = 0.0  # of the step that is being taken
    _due: Heap[Call] = field(default_factory=lambda: Heap(weight_of))
    _expiring: Heap[Call] = field(default_factory=lambda: Heap(weight_of))

    def __post_init__(self) -> None:
        self.limits = Limits(self.calls)

    def __len__(self) -> int:
        return len(self.calls) + len(self.graphs) + len(self._due) + len(self.limits)

    def line(self, call: Call) -> Backlog:
        """Return where *call* stands in line."""
        return self.graphs if call.graph else self.calls

    def pause(self, queues: Collection[str]) -> None:
        """Let these queues, and no others, be paused."""
        self.calls.paused = self.graphs.paused = frozenset(queues)

    def is_paused(self, queue: str) -> bool:
        """Tell whether nothing of a queue may be handed out."""
        return queue in self.calls.paused

    def size(self, call: Call) -> int:
        """Return the weight of what stands in line where *call* would, or waits for its turn."""
        limited = self.limits.size(call.queue) if call.task in self.limits.rates else 0
        return self.line(call).size(call.queue) + limited

    def full(self, size: float) -> set[str]:
        """Return the queues of which more than this weight stands in line, or waits for a turn."""
        return self.calls.full(size) | self.graphs.full(size) | self.limits.full(size)

    def due(self) -> Iterable[Call]:
        """Return the calls that wait for their time."""
        return self._due.values()

    def most(self, without: Collection[str]) -> int:
        """Return the weight of the longest line but those *without*, or of what is due later."""
        return max(self.calls.longest(without), self.graphs.longest(without), self._due.weight)

    @property
    def mean(self) -> float:
        """The weight of a call here, on average; 1 where there is none."""
        count = len(self.calls) + len(self.graphs) + len(self._due)
        weight = self.calls.weight + self.graphs.weight + self._due.weight
        return weight / count if count else 1.0

    def add(self, call: Call, now: float) -> None:
        """Add a call; its id must be new here."""
        if call.expires is not None:
            self._expiring.push(call.id, call.expires, call)
        if call.due is not None and call.due > now:
            self._due.push(call.id, call.due, call)
        elif call.task in self.limits.rates and not call.graph:
            self.limits.add(call, now)
        else:
            self.line(call).push(call)

    def pop(self, line: Backlog, queue: str, cost: float) -> Call:
        """Remove and return the first call of a queue, and charge the queue *cost* seconds."""
        call = line.pop(queue, cost)
        if call.expires is not None:
            self._expiring.discard(call.id)
        if call.task in self.limits.rates and not call.graph:
            self.limits.took(call, self.now)
        return call

    def discard(self, call: Call) -> None:
        """Remove a call, if it is here."""
        if call.task in self.limits.rates and not call.graph:
            self.limits.discard(call, self.now)
        else:
            self.line(call).discard(call)
        self._due.discard(call.id)
        self._expiring.discard(call.id)

    def pop_over(self, now: float) -> list[Call]:
        """Remove and return the calls that have come due or have expired; each once.

        Those whose turn has come stand in line.
        """
        over = []
        for times in (self._due, self._expiring):
            while times and times.first()[0] <= now:
                over.append(times.first()[1])
                self.discard(over[-1])
        if self.limits.rates:
            self.limits.admit(now)
        return over

    @property
    def next_time(self) -> float | None:
        """When `pop_over` will have something to do next."""
        nexts = [times.first()[0] for times in (self._due, self._expiring) if times]
        if self.limits.rates and (turn := self.limits.next_time) is not None:
            nexts.append(turn)
        return min(nexts, default=None)
