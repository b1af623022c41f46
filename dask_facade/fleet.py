"""The runners that there are, and which of them gets which call."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

from dask_facade.backlog import serves
from dask_facade.events import Rules
from dask_facade.messages import Call
from dask_facade.ready import Ready
from dask_facade.windows import Entry, Runner


class Fleet:
    """Runners, and how long calls take them."""

    def __init__(self, rules: Rules) -> None:
        self.draining = False  # nothing is handed out any more
        self.paused: frozenset[str] = frozenset()  # workers
        self.places: dict[str, frozenset[str]] = {}  # worker -> the runners that were placed there
        self.runners: dict[str, Runner] = {}
        self._durations: dict[str, float] = {}  # of each task, in seconds
        self._rules = rules

    def measure(self, task: str, runtime: float) -> None:
        """Learn that a call of *task* took *runtime* seconds."""
        known = self._durations.get(task)
        measured = max(0.0, runtime)
        self._durations[task] = measured if known is None else 0.8 * known + 0.2 * measured

    def held_by(self, peer: str, id: str, hand: int) -> Entry | None:
        """Return a call that *peer* has, or may have, as *hand*."""
        runner = self.runners.get(peer)
        entry = runner.held.get(id) if runner is not None else None
        return entry if entry is not None and entry.is_out(hand) else None

    def told_by(self, peer: str, id: str, attempt: int, hand: int) -> bool:
        """Tell whether *peer* said, when it dialled, that it has a call."""
        runner = self.runners.get(peer)
        held = runner.told.get((id, hand)) if runner is not None else None
        return held is not None and held.attempt == attempt

    def on(self, worker: str) -> list[Runner]:
        """Return the runners on a worker."""
        return [each for each in self.runners.values() if each.worker == worker]

    def is_replaced(self, runner: Runner) -> bool:
        """Tell whether the places of its worker are others'."""
        placed = self.places.get(runner.worker)
        return placed is not None and runner.id not in placed

    def _free(self) -> list[Runner]:
        """Return who may get calls; where one still runs a call whose place is another's, less."""
        occupied: list[str] = []
        free = []
        for each in self.runners.values():
            if each.takes_calls:
                free.append(each)
            elif each.held and self.is_replaced(each):
                occupied.append(each.worker)
        for worker in occupied:
            waiting = next((each for each in free if each.worker == worker), None)
            if waiting is not None:
                free.remove(waiting)
        return free

    def shares(self, ready: Ready) -> Iterator[tuple[Call, Runner, float]]:
        """Take calls out of *ready* for runners that have room; yield them, for whom, and the cost.

        The emptiest runner is first, all in equal shares. Who goes through them lets each call be
        held by its runner before it asks for the next.
        """
        runners = self._free()
        for runner in runners:
            while runner.is_graphs and (queue := ready.graphs.next_queue(())) is not None:
                yield ready.pop(ready.graphs, queue, 0.0), runner, 0.0
        free = [each for each in runners if not each.is_graphs]
        free.sort(key=lambda runner: runner.load)
        share = max(1, math.ceil(ready.calls.open / len(free))) if free else 0
        while free and ready.calls.open:
            still_free = []
            for runner in free:
                taken = yield from self._share(runner, share, ready)
                if taken == share:
                    still_free.append(runner)
            free = still_free

    def _share(
        self, runner: Runner, share: int, ready: Ready
    ) -> Generator[tuple[Call, Runner, float], None, int]:
        """Yield at most *share* calls for a runner, or for one that is nearer; return how many."""
        taken = 0
        while taken < share:
            queue = ready.calls.next_queue(runner.queues)
            if queue is None:
                break
            first = ready.calls.peek(queue)
            cost = self._durations.get(first.task, math.inf)
            if not runner.has_room(first, cost, self._rules):
                break
            call = ready.pop(ready.calls, queue, min(cost, 1.0))
            nearer = self._find_nearer(call, runner) if call.near else None
            yield call, nearer or runner, cost
            taken += 1
        return taken

    def _find_nearer(self, call: Call, runner: Runner) -> Runner | None:
        """Return a runner beside the call's largest input that is free soon, if *runner* is not."""
        if call.near == runner.worker:
            return None
        beside = [
            each
            for each in self.runners.values()
            if each.worker == call.near
            and not each.is_graphs
            and each.takes_calls
            and serves(each.queues, call.queue)
            and each.has_room(call, 0.0, self._rules)
        ]
        return min(beside, key=lambda each: each.load, default=None)

    def next_wake(self, now: float) -> float | None:
        """Return the steady time by which they must be looked at."""
        wakes = [
            now + self._rules.overrun
            for runner in self.runners.values()
            if runner.up and len(runner.held) > 1 and not runner.overrun and not runner.is_graphs
        ][:1]
        wakes.extend(
            max(now, each.missed_since + self._rules.worker_gone)
            for each in self.runners.values()
            if not each.up or each.worker_gone
        )
        return min(wakes, default=None)
