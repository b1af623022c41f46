"""The broker: which call goes to which runner, when, and what is known of calls in doubt.

A state machine: `Broker.step` takes one event and returns instructions. It connects to nothing,
reads no clock and never raises for an event it did not expect; what it decides is real only after
the ledger has written it, and comes back as `Wrote`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from dask_facade.backlog import Backlog
from dask_facade.events import (
    Drain,
    Event,
    Found,
    Heard,
    Instant,
    Instruction,
    LineEnded,
    Refuse,
    Rules,
    RunnerUp,
    Send,
    Taken,
    Tick,
    WorkerGone,
    Write,
    Wrote,
)
from dask_facade.exceptions import WorkerLostError
from dask_facade.jobs import Batch, Claim, InFlight, Release, Written
from dask_facade.messages import (
    Ack,
    Begun,
    Call,
    Hand,
    Held,
    Leave,
    Message,
    Offer,
    Outcome,
    Push,
    Recall,
    Report,
    Returned,
    Unsure,
    Unwait,
    Wait,
)
from dask_facade.serialization import dump_exception
from dask_facade.states import FAILURE, READY_STATES

READY, CLAIMED, HANDED, DOUBTED, RELEASED, ENDED = range(6)  # the last two: being written


class _Entry:
    """A call that the broker has taken up, until it is terminal."""

    __slots__ = ("begun", "call", "cost", "phase", "runner")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.phase = READY
        self.runner: _Runner | None = None
        self.begun: float | None = None
        self.cost = 0.0


@dataclass(slots=True)
class _Runner:
    id: str
    worker: str
    queues: Collection[str]
    up: bool = True
    leaving: bool = False  # it said so
    worker_gone: bool = False  # Dask said so
    missed_since: float = 0.0  # since when its line, or else its worker, is gone
    held: dict[str, _Entry] = field(default_factory=dict)
    load: float = 0.0  # expected seconds of what is held; infinite with a call of unknown length
    overrun: bool = False  # recalled; nothing is added until its window is empty
    told: dict[tuple[str, int], Held] = field(default_factory=dict)  # that it held as it dialled

    @property
    def takes_calls(self) -> bool:
        """Whether calls may be claimed for it."""
        return self.up and not self.leaving and not self.worker_gone


class Broker:
    """All that is ready, in flight or waited for, and the rules by which it moves."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.wake: float | None = None  # the steady time by which a Tick is wanted
        self._backlog = Backlog()
        self._clients: dict[str, set[str]] = {}
        self._draining = False
        self._due: list[tuple[float, int, Call]] = []
        self._due_pushed = 0
        self._durations: dict[str, float] = {}
        self._entries: dict[str, _Entry] = {}
        self._owed: dict[tuple[str, int], str] = {}  # outcomes not yet written -> their runner
        self._runners: dict[str, _Runner] = {}
        self._waiters: dict[str, set[str]] = {}

    @property
    def room(self) -> int:
        """How many more ready calls may be taken up from the ledger."""
        return self.rules.high_water - len(self._backlog)

    def __len__(self) -> int:
        """How many calls are known here, ready or in flight."""
        return len(self._entries)

    @property
    def in_flight(self) -> int:
        """How many calls are claimed, handed out, in doubt or ending."""
        return sum(entry.phase != READY for entry in self._entries.values())

    def step(self, event: Event, now: Instant) -> list[Instruction]:
        """Take in what happened at *now* and return what to do, in this order."""
        batch = Batch()
        out: list[Instruction] = []
        match event:
            case Heard(peer, message):
                self._hear(peer, message, now, batch, out)
            case Wrote(asked, written):
                self._settle(asked, written, now, batch, out)
            case Tick():
                self._look_at_runners(now, batch, out)
            case Taken(calls):
                self._take(calls, now)
            case RunnerUp():
                self._runner_up(event, now, batch, out)
            case LineEnded(peer, whole):
                self._line_ended(peer, whole, now, batch)
            case WorkerGone(worker):
                self._worker_gone(worker, now, batch, out)
            case Found(in_flight):
                self._find(in_flight, now, batch)
            case Drain():
                self._draining = True
                out.extend(Send(runner.id, Leave()) for runner in self._runners.values())
        self._fill_windows(now, batch)
        if batch:
            out.append(Write(batch))
        self.wake = self._next_wake(now)
        return out

    # What peers say

    def _hear(
        self, peer: str, message: Message, now: Instant, batch: Batch, out: list[Instruction]
    ) -> None:
        match message:
            case Offer(calls):
                new = [call for call in calls if call.id not in self._entries]
                self._take(new[: max(0, self.room)], now)
            case Report(outcomes):
                self._report(peer, outcomes, batch)
            case Begun(id, hand):
                self._begun(peer, id, hand, now)
            case Returned(calls):
                self._returned(peer, calls, batch)
            case Wait(ids):
                self._clients.setdefault(peer, set()).update(ids)
                for id in ids:
                    self._waiters.setdefault(id, set()).add(peer)
                unsure = [id for id in ids if id not in self._entries]
                if unsure:
                    out.append(Send(peer, Unsure(unsure)))
            case Unwait(ids):
                for id in ids:
                    self._stop_waiting(peer, id)
            case Leave():
                runner = self._runners.get(peer)
                if runner is not None:
                    runner.leaving = True
                    out.append(Send(peer, Leave()))  # behind all that it was handed
            case _:
                out.append(Refuse(f"{peer} said {type(message).__name__}, which it may not"))

    def _take(self, calls: Iterable[Call], now: Instant) -> None:
        for call in calls:
            entry = self._entries.get(call.id)
            if entry is not None:
                if not _is_outdated(entry, call):
                    continue
                self._forget(call.id)  # it came from a late hint: its claim will be refused
            self._entries[call.id] = _Entry(call)
            self._make_ready(call, now)

    def _make_ready(self, call: Call, now: Instant) -> None:
        if call.due is not None and call.due > now.wall:
            self._due_pushed += 1
            heapq.heappush(self._due, (call.due, self._due_pushed, call))
        else:
            self._backlog.push(call)

    def _report(self, peer: str, outcomes: Sequence[Outcome], batch: Batch) -> None:
        for outcome in outcomes:
            self._owed[outcome.id, outcome.hand] = peer
            entry = self._entries.get(outcome.id)
            if entry is not None and _is_out(entry, outcome.hand):
                self._let_go(entry)
                entry.phase = ENDED
                known = self._durations.get(entry.call.task)
                measured = max(0.0, outcome.runtime)
                self._durations[entry.call.task] = (
                    measured if known is None else 0.8 * known + 0.2 * measured
                )
        batch.outcomes.extend(outcomes)

    def _begun(self, peer: str, id: str, hand: int, now: Instant) -> None:
        entry = self._held_by(peer, id, hand)
        if entry is not None:
            entry.begun = now.steady

    def _returned(self, peer: str, calls: Iterable[tuple[str, int]], batch: Batch) -> None:
        for id, hand in calls:
            entry = self._held_by(peer, id, hand)
            if entry is not None:
                self._release(entry, entry.call.lost, batch)

    def _held_by(self, peer: str, id: str, hand: int) -> _Entry | None:
        runner = self._runners.get(peer)
        entry = runner.held.get(id) if runner is not None else None
        return entry if entry is not None and _is_out(entry, hand) else None

    # What the ledger says

    def _settle(
        self, asked: Batch, written: Written, now: Instant, batch: Batch, out: list[Instruction]
    ) -> None:
        self._settle_outcomes(asked, written, out)
        released = set(written.released)
        for release in asked.releases:
            entry = self._entries.get(release.id)
            if entry is None or entry.phase != RELEASED or entry.call.hand != release.hand:
                continue
            if (release.id, release.hand) in released:
                entry.phase = READY
                entry.call = entry.call._replace(lost=release.lost, marked=False)
                self._make_ready(entry.call, now)
            else:
                self._drop(release.id, out)
        self._settle_claims(asked.claims, set(written.claimed), now, batch, out)
        self._take(written.ready, now)

    def _settle_outcomes(self, asked: Batch, written: Written, out: list[Instruction]) -> None:
        pushes: dict[str, list[Outcome]] = {}
        acks: dict[str, list[tuple[str, int]]] = {}
        for outcome in (*written.outcomes, *written.failed):
            entry = self._entries.get(outcome.id)
            if entry is not None and entry.call.attempt <= outcome.attempt:
                self._forget(outcome.id)
            if outcome.state not in READY_STATES:
                continue  # to be retried: the ledger has it until it is due
            for client in self._waiters.pop(outcome.id, ()):
                self._clients[client].discard(outcome.id)
                pushes.setdefault(client, []).append(outcome)
        for outcome in asked.outcomes:
            entry = self._entries.get(outcome.id)
            if entry is not None and entry.phase == ENDED and entry.call.hand == outcome.hand:
                self._drop(outcome.id, out)  # it did not move: the ledger knows better
            reporter = self._owed.pop((outcome.id, outcome.hand), None)
            if reporter is not None:
                acks.setdefault(reporter, []).append((outcome.id, outcome.hand))
                runner = self._runners.get(reporter)
                if runner is not None and runner.told:
                    runner.told.pop((outcome.id, outcome.hand), None)
        out.extend(Send(client, Push(outcomes)) for client, outcomes in pushes.items())
        out.extend(Send(runner, Ack(calls)) for runner, calls in acks.items())

    def _settle_claims(
        self,
        claims: Iterable[Claim],
        claimed: Collection[tuple[str, int]],
        now: Instant,
        batch: Batch,
        out: list[Instruction],
    ) -> None:
        hands: dict[str, list[Call]] = {}
        for claim in claims:
            entry = self._entries.get(claim.id)
            if entry is None or entry.phase != CLAIMED or entry.call.hand != claim.hand:
                continue
            runner = entry.runner
            assert runner is not None
            if (claim.id, claim.hand) not in claimed:
                self._drop(claim.id, out)
                continue
            entry.phase = HANDED
            if not runner.takes_calls or runner.overrun or self._draining:
                self._release(entry, entry.call.lost, batch)  # it never heard of it
                continue
            if next(iter(runner.held)) == claim.id:
                entry.begun = now.steady  # alone or first: it begins when it arrives
            else:
                entry.call = entry.call._replace(marked=True)
            hands.setdefault(claim.runner, []).append(entry.call)
        out.extend(Send(runner, Hand(calls)) for runner, calls in hands.items())

    def _drop(self, id: str, out: list[Instruction]) -> None:
        """Forget a call that the ledger did not let us move; who waits must look there."""
        self._forget(id)
        for client in self._waiters.get(id, ()):
            out.append(Send(client, Unsure([id])))

    def _forget(self, id: str) -> None:
        entry = self._entries.pop(id, None)
        if entry is not None:
            self._let_go(entry)

    # What becomes of runners

    def _runner_up(
        self, event: RunnerUp, now: Instant, batch: Batch, out: list[Instruction]
    ) -> None:
        runner = self._runners.get(event.runner)
        if runner is None:
            runner = self._runners[event.runner] = _Runner(event.runner, event.worker, event.queues)
        runner.up, runner.worker, runner.queues = True, event.worker, event.queues
        runner.missed_since = now.steady
        runner.told = {(each.id, each.hand): each for each in event.held}
        for entry in list(runner.held.values()):
            if entry.phase != CLAIMED:
                self._compare(entry, runner, now, batch)
        if runner.worker_gone or self._draining:
            out.append(Send(runner.id, Leave()))

    def _compare(self, entry: _Entry, runner: _Runner, now: Instant, batch: Batch) -> None:
        """Go on with a call that its runner had when it dialled, or release it."""
        mine = runner.told.get((entry.call.id, entry.call.hand))
        if mine is None:
            self._release(entry, entry.call.lost, batch)  # disowned: it never arrived
        else:
            entry.phase = HANDED
            entry.begun = now.steady if mine.begun else None

    def _line_ended(self, peer: str, whole: bool, now: Instant, batch: Batch) -> None:
        for id in self._clients.pop(peer, ()):
            self._stop_waiting(peer, id)
        runner = self._runners.get(peer)
        if runner is None:
            return
        runner.up, runner.missed_since, runner.overrun = False, now.steady, False
        runner.told.clear()
        for entry in list(runner.held.values()):
            if entry.phase == HANDED:
                if whole and entry.begun is None:
                    self._release(entry, entry.call.lost, batch)
                else:
                    entry.phase = DOUBTED
        if runner.worker_gone:
            self._decide(runner, now, batch)
        elif not runner.held:
            del self._runners[peer]

    def _worker_gone(self, worker: str, now: Instant, batch: Batch, out: list[Instruction]) -> None:
        for runner in [each for each in self._runners.values() if each.worker == worker]:
            runner.worker_gone = True
            if runner.up:
                runner.missed_since = now.steady
                out.append(Send(runner.id, Recall()))
                out.append(Send(runner.id, Leave()))
            else:
                self._decide(runner, now, batch)

    def _decide(self, runner: _Runner, now: Instant, batch: Batch) -> None:
        """End the doubt about the calls of a runner that is dead: they had begun."""
        for entry in list(runner.held.values()):
            if entry.phase == CLAIMED:
                continue
            call = entry.call
            if call.acks_late and call.lost + 1 < self.rules.max_lost:
                self._release(entry, call.lost + 1, batch)
                continue
            self._let_go(entry)
            entry.phase = ENDED
            batch.outcomes.append(_lost(call, runner.worker, now))
        if not runner.held:
            self._runners.pop(runner.id, None)

    def _find(self, in_flight: Iterable[InFlight], now: Instant, batch: Batch) -> None:
        for call, runner_id, worker in in_flight:
            if call.id in self._entries:
                continue
            runner = self._runners.get(runner_id)
            if runner is None:
                runner = self._runners[runner_id] = _Runner(
                    runner_id, worker, (), up=False, missed_since=now.steady
                )
            entry = self._entries[call.id] = _Entry(call)
            entry.phase, entry.runner = DOUBTED, runner
            runner.held[call.id] = entry
            if runner.up:
                self._compare(entry, runner, now, batch)

    def _look_at_runners(self, now: Instant, batch: Batch, out: list[Instruction]) -> None:
        for runner in list(self._runners.values()):
            if not runner.up or runner.worker_gone:
                if now.steady - runner.missed_since >= self.rules.worker_gone:
                    self._decide(runner, now, batch)
            elif self._overruns(runner, now):
                runner.overrun = True
                out.append(Send(runner.id, Recall()))
        while self._due and self._due[0][0] <= now.wall:
            self._backlog.push(heapq.heappop(self._due)[-1])

    def _overruns(self, runner: _Runner, now: Instant) -> bool:
        if runner.overrun or len(runner.held) < 2:
            return False
        first = next(iter(runner.held.values()))
        return first.begun is not None and now.steady - first.begun >= self.rules.overrun

    # Windows

    def _fill_windows(self, now: Instant, batch: Batch) -> None:
        """Claim ready calls for runners that have room, the emptiest first, in equal shares."""
        if not self._backlog or self._draining:
            return
        free = [each for each in self._runners.values() if each.takes_calls]
        free.sort(key=lambda runner: runner.load)
        share = max(1, math.ceil(len(self._backlog) / len(free))) if free else 0
        while free and self._backlog:
            free = [runner for runner in free if self._fill(runner, share, batch) == share]

    def _fill(self, runner: _Runner, share: int, batch: Batch) -> int:
        """Claim at most *share* calls for a runner; return how many."""
        rules = self.rules
        taken = 0
        while taken < share:
            queue = self._backlog.next_queue(runner.queues)
            if queue is None:
                return taken
            cost = self._durations.get(self._backlog.peek(queue).task, math.inf)
            held = len(runner.held)
            if held and (
                runner.overrun or held >= rules.window_calls or runner.load + cost > rules.window
            ):
                return taken
            call = self._backlog.pop(queue, min(cost, 1.0))
            entry = self._entries.get(call.id)
            if entry is None or entry.phase != READY or entry.call is not call:
                continue  # it ended while it stood here
            entry.call = call = call._replace(hand=call.hand + 1)
            entry.phase, entry.runner, entry.begun, entry.cost = CLAIMED, runner, None, cost
            runner.held[call.id] = entry
            runner.load += cost
            batch.claims.append(Claim(call.id, call.attempt, call.hand, runner.id, runner.worker))
            taken += 1
        return taken

    def _release(self, entry: _Entry, lost: int, batch: Batch) -> None:
        """Give back a call that surely had not begun, or that may run again."""
        self._let_go(entry)
        entry.phase = RELEASED
        call = entry.call
        batch.releases.append(Release(call.id, call.attempt, call.hand, lost))

    def _let_go(self, entry: _Entry) -> None:
        runner, entry.runner, entry.begun = entry.runner, None, None
        if runner is None:
            return
        runner.held.pop(entry.call.id, None)
        if runner.held:
            runner.load = (
                runner.load - entry.cost
                if math.isfinite(runner.load)
                else sum(each.cost for each in runner.held.values())
            )
        else:
            runner.load, runner.overrun = 0.0, False

    def _stop_waiting(self, client: str, id: str) -> None:
        clients = self._waiters.get(id)
        if clients is not None:
            clients.discard(client)
            if not clients:
                del self._waiters[id]
        if client in self._clients:
            self._clients[client].discard(id)

    def _next_wake(self, now: Instant) -> float | None:
        wakes = [
            now.steady + self.rules.overrun
            for runner in self._runners.values()
            if runner.up and len(runner.held) > 1 and not runner.overrun
        ][:1]
        if self._due:
            wakes.append(now.steady + max(0.0, self._due[0][0] - now.wall))
        wakes.extend(
            max(now.steady, each.missed_since + self.rules.worker_gone)
            for each in self._runners.values()
            if not each.up or each.worker_gone
        )
        return min(wakes, default=None)


def _is_outdated(entry: _Entry, call: Call) -> bool:
    """Tell whether the ledger, which has *call* waiting, is further than what is known here."""
    known = entry.call.hand - (entry.phase == CLAIMED)
    return (call.attempt, call.hand) > (entry.call.attempt, known)


def _is_out(entry: _Entry, hand: int) -> bool:
    return entry.phase in (HANDED, DOUBTED) and entry.call.hand == hand


def _lost(call: Call, worker: str, now: Instant) -> Outcome:
    times = f", {call.lost + 1} times" if call.lost else ""
    error = WorkerLostError(
        f"worker {worker} died while it may have been running job {call.id}{times}"
    )
    return Outcome(
        id=call.id,
        attempt=call.attempt,
        hand=call.hand,
        state=FAILURE,
        result=dump_exception(error),
        preview=f"WorkerLostError({str(error)!r})",
        traceback=f"{type(error).__module__}.{type(error).__qualname__}: {error}\n",
        started=None,
        finished=now.wall,
        runtime=0.0,
    )
