"""The calls that are ready, in the order in which runners get them."""

from __future__ import annotations

import heapq
from collections.abc import Collection

from dask_facade.messages import Call

_Place = tuple[int, float, int, Call]


class Backlog:
    """A heap for each queue, by priority and then age, and turns between the queues.

    Turns go by time, not by number: the queue whose calls have cost the least, by their expected
    durations, is next. A queue that was empty joins at the time of the others.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, list[_Place]] = {}
        self._spent: dict[str, float] = {}
        self._size = 0
        self._pushed = 0

    def __len__(self) -> int:
        return self._size

    def push(self, call: Call) -> None:
        """Add a call."""
        heap = self._heaps.get(call.queue)
        if heap is None:
            floor = min(self._spent.values(), default=0.0)
            heap = self._heaps[call.queue] = []
            self._spent[call.queue] = floor
        self._pushed += 1
        heapq.heappush(heap, (-call.priority, call.created, self._pushed, call))
        self._size += 1

    def next_queue(self, queues: Collection[str]) -> str | None:
        """Return the queue whose turn it is among *queues* (none named: all), or None."""
        if len(self._heaps) == 1:
            queue = next(iter(self._heaps))
            return queue if not queues or queue in queues else None
        served = [queue for queue in self._heaps if not queues or queue in queues]
        return min(served, key=self._spent.__getitem__, default=None)

    def peek(self, queue: str) -> Call:
        """Return the call that `pop` would."""
        return self._heaps[queue][0][-1]

    def pop(self, queue: str, cost: float) -> Call:
        """Remove and return the first call of a queue, and charge the queue *cost* seconds."""
        heap = self._heaps[queue]
        call = heapq.heappop(heap)[-1]
        self._size -= 1
        if heap:
            self._spent[queue] += cost
        else:
            del self._heaps[queue], self._spent[queue]
        return call
