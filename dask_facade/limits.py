"""How often calls of a task may begin, and the calls that wait for their turn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from dask_facade.backlog import Backlog, order_of, weight_of
from dask_facade.heap import Heap
from dask_facade.messages import Call

SLACK = 0.05  # seconds for which a task that was late may begin more often, so that it keeps up


_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def rate_of(value: Any) -> float:
    """Return how often a second "10/m", "5/s", "100/h" or a number is; 0 for none.

    Raises ValueError for what is no rate.
    """
    if not value:
        return 0.0
    if isinstance(value, int | float):
        rate = float(value)
    else:
        count, _, unit = str(value).partition("/")
        if unit not in ("", *_SECONDS):
            raise ValueError(f"a rate is a number a second, minute or hour (5/s): not {value!r}")
        rate = float(count) / _SECONDS.get(unit, 1.0)
    if not 0 <= rate < math.inf:
        raise ValueError(f"a rate is a number a second, minute or hour (5/s): not {value!r}")
    return rate


class Limits:
    """Lets one call of a limited task stand in *line* for each queue, when the task may begin.

    So what a runner takes from the line may begin at once, and what waits here holds nobody up.
    All times are in seconds since the epoch. It may begin once, and again when its time has come:
    what nobody wanted meanwhile is not made up for.
    """

    def __init__(self, line: Backlog) -> None:
        self.rates: dict[str, float] = {}  # of limited tasks, in calls a second
        self._free_at: dict[str, float] = {}  # when a task may begin again
        self._line = line
        self._lined: dict[str, dict[str, Call]] = {}  # by task and queue: what stands in line
        self._count = 0  # of calls that wait here
        self._sizes: dict[str, int] = {}  # of each queue: the weight of what waits here
        self._waiting: dict[str, dict[str, Heap[Call]]] = {}  # by task and queue

    def __len__(self) -> int:
        """How many calls wait here, without those in line."""
        return self._count

    def size(self, queue: str) -> int:
        """Return the weight of the calls of a queue that wait here."""
        return self._sizes.get(queue, 0)

    def full(self, size: float) -> set[str]:
        """Return the queues of which calls of more than this weight wait here."""
        return {queue for queue, weight in self._sizes.items() if weight > size}

    def differing(self, rates: Mapping[str, float]) -> dict[str, float]:
        """Return those of *rates* that are others than what holds; 0: no limit."""
        return {task: rate for task, rate in rates.items() if rate != self.rates.get(task, 0.0)}

    def change(self, rates: Mapping[str, float], now: float) -> None:
        """Let other rates hold. No call of these tasks may be here."""
        for task, rate in rates.items():
            if rate:
                self.rates[task] = rate
                self._free_at[task] = min(self._free_at.get(task, now), now + 1 / rate)
            else:
                self.rates.pop(task, None)
                self._free_at.pop(task, None)

    def add(self, call: Call, now: float) -> None:
        """Let a call wait for its turn."""
        if call.task not in self._lined and call.task not in self._waiting:
            self._free_at[call.task] = max(self._free_at[call.task], now)
        lined = self._lined.get(call.task, {}).get(call.queue)
        if lined is not None and order_of(call) < order_of(lined):
            self._withdraw(lined)
        self._hold(call)
        self._admit(call.task, now)

    def took(self, call: Call, now: float) -> None:
        """Know that a runner has taken a call from the line."""
        task = call.task
        self._unline(call)
        begun = min(max(self._free_at[task], now - SLACK), now)
        self._free_at[task] = begun + 1 / self.rates[task]
        if self._free_at[task] > now:
            for other in list(self._lined.get(task, {}).values()):
                self._withdraw(other)
        self._admit(task, now)

    def discard(self, call: Call, now: float) -> None:
        """Remove a call, if it is here or in line."""
        if self._lined.get(call.task, {}).get(call.queue) is call:
            self._unline(call)
            self._line.discard(call)
            self._admit(call.task, now)
        else:
            heaps = self._waiting.get(call.task, {})
            if call.queue in heaps and heaps[call.queue].discard(call.id):
                self._release(call)

    def admit(self, now: float) -> None:
        """Let those stand in line whose turn has come."""
        for task in list(self._waiting):
            self._admit(task, now)

    @property
    def next_time(self) -> float | None:
        """When `admit` will let something stand in line."""
        return min(self._next_times(), default=None)

    def _next_times(self) -> Iterator[float]:
        for task, heaps in self._waiting.items():
            if heaps.keys() - self._lined.get(task, {}).keys():
                yield self._free_at[task]

    def _admit(self, task: str, now: float) -> None:
        period = 1 / self.rates[task]
        if self._free_at[task] > now + period + SLACK:
            self._free_at[task] = now + period  # the clock was set back
        if self._free_at[task] > now:
            return
        heaps = self._waiting.get(task, {})
        lined = self._lined.setdefault(task, {})
        for queue in [queue for queue in heaps if queue not in lined]:
            call = lined[queue] = heaps[queue].pop()
            self._release(call)
            self._line.push(call)
        if not lined:
            del self._lined[task]

    def _hold(self, call: Call) -> None:
        heaps = self._waiting.setdefault(call.task, {})
        if call.queue not in heaps:
            heaps[call.queue] = Heap(weight_of)
        heaps[call.queue].push(call.id, order_of(call), call)
        self._count += 1
        self._sizes[call.queue] = self._sizes.get(call.queue, 0) + weight_of(call)

    def _release(self, call: Call) -> None:
        """Count a call no more that was taken out of its heap."""
        heaps = self._waiting[call.task]
        if not heaps[call.queue]:
            del heaps[call.queue]
            if not heaps:
                del self._waiting[call.task]
        self._count -= 1
        self._sizes[call.queue] -= weight_of(call)
        if not self._sizes[call.queue]:
            del self._sizes[call.queue]

    def _withdraw(self, call: Call) -> None:
        """Let a call that stands in line wait here."""
        self._unline(call)
        self._line.discard(call)
        self._hold(call)

    def _unline(self, call: Call) -> None:
        lined = self._lined.get(call.task, {})
        if lined.get(call.queue) is call:
            del lined[call.queue]
            if not lined:
                del self._lined[call.task]
