"""The calls that are ready, in the order in which runners get them."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection

from dask_facade.heap import Heap
from dask_facade.messages import Call

CALL_BYTES = 4 * 2**10  # of arguments, options and inputs
OWN = "own:"
"""Begins the name of a queue of which only those runners take calls that name it."""


def is_own(queue: str) -> bool:
    """Tell whether runners that take calls of every queue leave this one alone."""
    return queue.startswith(OWN)


def serves(queues: Collection[str], queue: str) -> bool:
    """Tell whether a runner that names *queues* (none: every queue) takes calls of *queue*."""
    return queue in queues if queues else not is_own(queue)


def size_of(call: Call) -> int:
    """Return how many bytes a call carries."""
    return len(call.payload) + len(call.options) + sum(map(len, call.inputs))


def weight_of(call: Call) -> int:
    """Return as how many calls one counts: as one, and one more for each CALL_BYTES it carries."""
    return 1 + size_of(call) // CALL_BYTES


def order_of(call: Call) -> tuple[int, float]:
    """Return what is smaller for a call that goes first: of a larger priority, or an older one."""
    return -call.priority, call.created


class Backlog:
    """A heap for each queue, by priority and then age, and turns between the queues.

    Turns go by time, not by number: the queue whose calls have cost the least, by their expected
    durations, is next. A queue that was empty joins at the time of the others. One that is paused
    has no turns.
    """

    def __init__(self) -> None:
        self.own: set[str] = set()  # the queues here that only runners take which name them
        self.paused: frozenset[str] = frozenset()
        self._heaps: dict[str, Heap[Call]] = {}
        self._priorities: dict[str, Counter[int]] = {}  # by queue: how many calls have each
        self._spent: dict[str, float] = {}
        self._size = 0

    def __len__(self) -> int:
        """How many calls are here, those of paused queues too."""
        return self._size

    @property
    def weight(self) -> int:
        """The weight of all calls here."""
        return sum(heap.weight for heap in self._heaps.values())

    @property
    def open(self) -> int:
        """How many calls may be taken: those of queues that are not paused."""
        if not self.paused:
            return self._size
        return self._size - sum(map(len, map(self.of, self.paused)))

    def full(self, size: float) -> set[str]:
        """Return the queues of which calls of more than this weight are here."""
        return {queue for queue, heap in self._heaps.items() if heap.weight > size}

    def longest(self, without: Collection[str]) -> int:
        """Return the weight of the fullest queue that is not among *without*."""
        sizes = [heap.weight for queue, heap in self._heaps.items() if queue not in without]
        return max(sizes, default=0)

    def size(self, queue: str) -> int:
        """Return the weight of the calls of a queue that are here."""
        heap = self._heaps.get(queue)
        return 0 if heap is None else heap.weight

    def of(self, queue: str) -> list[Call]:
        """Return the calls of a queue, in no order."""
        heap = self._heaps.get(queue)
        return [] if heap is None else list(heap.values())

    def lowest(self, queue: str) -> int | None:
        """Return the lowest priority of a queue's calls here; None where there are none."""
        return min(self._priorities.get(queue, ()), default=None)

    def last(self, queue: str, count: int) -> list[Call]:
        """Return those of a queue that `pop` would give last, the very last first."""
        return heapq.nlargest(count, self.of(queue), key=order_of)

    def waiting(self, queues: Collection[str]) -> int:
        """Return how many calls are here for runners that name *queues*, paused ones left out."""
        return sum(
            len(heap)
            for queue, heap in self._heaps.items()
            if serves(queues, queue) and queue not in self.paused
        )

    def push(self, call: Call) -> None:
        """Add a call; its id must be new here."""
        heap = self._heaps.get(call.queue)
        if heap is None:
            floor = min(self._spent.values(), default=0.0)
            heap = self._heaps[call.queue] = Heap(weight_of)
            self._spent[call.queue] = floor
            self._priorities[call.queue] = Counter()
            if is_own(call.queue):
                self.own.add(call.queue)
        heap.push(call.id, order_of(call), call)
        self._priorities[call.queue][call.priority] += 1
        self._size += 1

    def next_queue(self, queues: Collection[str]) -> str | None:
        """Return the queue whose turn it is among *queues* (none named: all), or None."""
        if len(self._heaps) == 1 and not (queues or self.paused):
            (queue,) = self._heaps
            return None if is_own(queue) else queue
        served = [
            queue for queue in self._heaps if serves(queues, queue) and queue not in self.paused
        ]
        if len(served) == 1:
            return served[0]
        return min(served, key=self._spent.__getitem__, default=None)

    def peek(self, queue: str) -> Call:
        """Return the call that `pop` would."""
        return self._heaps[queue].first()[1]

    def pop(self, queue: str, cost: float) -> Call:
        """Remove and return the first call of a queue, and charge the queue *cost* seconds."""
        heap = self._heaps[queue]
        call = heap.pop()
        self._took(call, heap)
        if heap:
            self._spent[queue] += cost
        return call

    def discard(self, call: Call) -> None:
        """Remove a call, if it is here."""
        heap = self._heaps.get(call.queue)
        if heap is not None and heap.discard(call.id):
            self._took(call, heap)

    def _took(self, call: Call, heap: Heap[Call]) -> None:
        self._size -= 1
        queue, counts = call.queue, self._priorities[call.queue]
        counts[call.priority] -= 1
        if not counts[call.priority]:
            del counts[call.priority]
        if not heap:
            del self._heaps[queue], self._priorities[queue], self._spent[queue]
            self.own.discard(queue)
