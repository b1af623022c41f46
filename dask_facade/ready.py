"""The calls that nobody has: in line, or waiting for their time, and when each expires."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from dask_facade.backlog import Backlog
from dask_facade.heap import Heap
from dask_facade.messages import Call


@dataclass(slots=True)
class Ready:
    """Calls by what they wait for. All times are in seconds since the epoch."""

    calls: Backlog = field(default_factory=Backlog)  # for runners
    graphs: Backlog = field(default_factory=Backlog)  # for who follows Dask's futures
    _due: Heap[Call] = field(default_factory=Heap)
    _expiring: Heap[Call] = field(default_factory=Heap)

    def __len__(self) -> int:
        return len(self.calls) + len(self.graphs) + len(self._due)

    def line(self, call: Call) -> Backlog:
        """Return where *call* stands in line."""
        return self.graphs if call.graph else self.calls

    def pause(self, queues: Collection[str]) -> None:
        """Let these queues, and no others, be paused."""
        self.calls.paused = self.graphs.paused = frozenset(queues)

    def is_paused(self, queue: str) -> bool:
        """Tell whether nothing of a queue may be handed out."""
        return queue in self.calls.paused

    def full(self, size: float) -> set[str]:
        """Return the queues of which more than *size* calls stand in line."""
        return self.calls.full(size) | self.graphs.full(size)

    def most(self, without: Collection[str]) -> int:
        """Return how many calls stand in the longest line but those *without*, or are due later."""
        return max(self.calls.longest(without), self.graphs.longest(without), len(self._due))

    def add(self, call: Call, now: float) -> None:
        """Add a call; its id must be new here."""
        if call.expires is not None:
            self._expiring.push(call.id, call.expires, call)
        if call.due is not None and call.due > now:
            self._due.push(call.id, call.due, call)
        else:
            self.line(call).push(call)

    def pop(self, line: Backlog, queue: str, cost: float) -> Call:
        """Remove and return the first call of a queue, and charge the queue *cost* seconds."""
        call = line.pop(queue, cost)
        if call.expires is not None:
            self._expiring.discard(call.id)
        return call

    def discard(self, call: Call) -> None:
        """Remove a call, if it is here."""
        self.line(call).discard(call)
        self._due.discard(call.id)
        self._expiring.discard(call.id)

    def pop_over(self, now: float) -> list[Call]:
        """Remove and return the calls that have come due or have expired; each once."""
        over = []
        for times in (self._due, self._expiring):
            while times and times.first()[0] <= now:
                over.append(times.first()[1])
                self.discard(over[-1])
        return over

    @property
    def next_time(self) -> float | None:
        """When `pop_over` will return something next."""
        return min(
            (times.first()[0] for times in (self._due, self._expiring) if times), default=None
        )
