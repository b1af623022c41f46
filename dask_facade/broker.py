"""The broker: which call goes to which runner, when, and what is known of calls in doubt.

A state machine: `Broker.step` takes one event and returns instructions. It connects to nothing,
reads no clock and never raises for an event it did not expect; what it decides is real only after
the ledger has written it, and comes back as `Wrote`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from dask_facade.doubts import Doubts
from dask_facade.events import (
    Aborting,
    Drain,
    Event,
    Found,
    Heard,
    Insert,
    Instant,
    Instruction,
    Limited,
    LineEnded,
    LookedUp,
    LookUp,
    Note,
    Paused,
    Placed,
    Refuse,
    Retire,
    Revoke,
    Rules,
    RunnerUp,
    Stamped,
    Tick,
    Unabort,
    Unrevoke,
    WorkerGone,
    WorkersPaused,
    Wrote,
)
from dask_facade.fleet import Fleet
from dask_facade.jobs import Claim
from dask_facade.messages import (
    SUPERSEDED,
    Begun,
    Call,
    Leave,
    Look,
    Message,
    Offer,
    Outcome,
    Push,
    Recall,
    Report,
    Returned,
    Serve,
    Spawn,
    Spawned,
    Unsure,
    Unwait,
    Update,
    Wait,
)
from dask_facade.orphans import Orphans
from dask_facade.roster import Roster
from dask_facade.settling import Settling
from dask_facade.windows import CLAIMED, HANDED, READY, Runner

NEARLY = 7 / 8  # of high water, from which a queue counts as full: so that rows come by hundreds


class Broker:
    """All that is ready, in flight or waited for, and the rules by which it moves.

    No call begins that has one of *stamps*, whose owner says `Stamped` when there are more.
    """

    def __init__(
        self, rules: Rules | None = None, stamps: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        self.rules = rules or Rules()
        self.wake: float | None = None  # the steady time by which a Tick is wanted
        self._fleet = Fleet(self.rules)
        self._limited: set[str] = set()  # tasks of which somebody said how often they begin
        self._roster = Roster(self.rules, stamps)
        self._doubts = Doubts(self._roster, self._fleet)
        self._orphans = Orphans(self._roster, self._fleet)
        self._settling = Settling(self._roster, self._fleet)

    @property
    def unwanted(self) -> frozenset[str]:
        """The queues of which no rows are to be taken up: those that are paused or full."""
        ready = self._roster.ready
        return ready.calls.paused | ready.full(self.rules.high_water * NEARLY)

    @property
    def room(self) -> int:
        """How many more calls of the other queues may be taken up from the ledger."""
        ready = self._roster.ready
        return int((self.rules.high_water - ready.most(self.unwanted)) / ready.mean)

    def __len__(self) -> int:
        """How many calls are known here, ready or in flight."""
        return len(self._roster.entries)

    @property
    def in_flight(self) -> int:
        """How many calls are claimed, handed out, in doubt or ending; graphs go on by themselves.

        So they are not counted.
        """
        entries = self._roster.entries.values()
        return sum(entry.phase != READY and not entry.call.graph for entry in entries)

    def knows(self, id: str) -> bool:
        """Tell whether a job is ready or in flight here."""
        return id in self._roster.entries

    def is_revoking(self, id: str) -> bool:
        """Tell whether a job is still to be revoked."""
        return id in self._roster.revoked

    def is_aborting(self, id: str) -> bool:
        """Tell whether a job has not ended of which somebody asked that its task ends it."""
        return id in self._roster.aborted

    def has_runner(self, id: str) -> bool:
        """Tell whether a runner is up, or something that it held is in doubt."""
        return id in self._fleet.runners

    def held_by(self, runner: str) -> list[tuple[Call, float | None]]:
        """Return the calls that a runner has, with the steady time at which each began.

        None: it has not, as far as is known.
        """
        known = self._fleet.runners.get(runner)
        held = () if known is None else known.held.values()
        return [(entry.call, entry.begun) for entry in held]

    def waiting(self, queues: Collection[str]) -> int:
        """Return how many calls are ready that runners would take which name *queues*."""
        return self._roster.ready.calls.waiting(queues)

    def idle(self) -> dict[str, int]:
        """Return the runners that have nothing to run, with how many calls each has ever taken."""
        return {each.id: each.taken for each in self._fleet.runners.values() if each.is_idle}

    def due(self) -> list[Call]:
        """Return the calls that wait here for their time."""
        return list(self._roster.ready.due())

    def revoking(self) -> list[str]:
        """Return the ids of the jobs that are still to be revoked."""
        return list(self._roster.revoked)

    def step(self, event: Event, now: Instant) -> list[Instruction]:
        """Take in what happened at *now* and return what to do, in this order."""
        roster, doubts = self._roster, self._doubts
        roster.begin_step(now)
        match event:
            case Heard(peer, message):
                self._hear(peer, message)
            case Wrote(asked, written):
                self._settling.settle(asked, written)
            case Tick():
                doubts.look()
            case RunnerUp():
                roster.limit(each for each in event.rates if each.task not in self._limited)
                doubts.runner_up(event)
                self._orphans.runner_up(event.queues)
            case LineEnded(peer, whole):
                roster.waiters.leave(peer)
                doubts.line_ended(peer, whole)
            case WorkerGone(worker):
                doubts.worker_gone(worker)
            case WorkersPaused(workers):
                doubts.workers_paused(workers)
            case Placed(worker, runners):
                doubts.placed(worker, runners)
            case Found(in_flight):
                doubts.find(in_flight)
            case Revoke(ids, terminate):
                self._revoke(ids, terminate)
            case Unrevoke(ids):
                for id in ids:
                    roster.revoked.pop(id, None)
            case Aborting(ids):
                roster.aborted.update(ids)
                for id in ids:
                    if id in roster.entries:
                        roster.abort_if_wanted(roster.entries[id])
            case Unabort(ids):
                roster.aborted.difference_update(ids)
            case Paused(queues):
                roster.ready.pause(queues)
            case Limited(rates):
                self._limited.update(each.task for each in rates)
                roster.limit(rates)
            case Stamped():
                roster.look_for_stamps()
            case LookedUp(peer, outcomes, unknown):
                self._tell_ends(peer, outcomes, unknown)
            case Retire(runners):
                doubts.retire(runners)
            case Drain():
                doubts.drain()
        roster.pop_over()
        self._orphans.look()
        self._fill_windows()
        self.wake = self._next_wake()
        return roster.end_step()

    # What peers say

    def _hear(self, peer: str, message: Message) -> None:
        roster = self._roster
        match message:
            case Offer(calls):
                for call in calls:
                    roster.offer(call)
            case Report(outcomes):
                self._settling.report(peer, outcomes)
            case Begun(id, hand):
                self._begin(peer, id, hand)
            case Returned(calls):
                for id, hand in calls:
                    entry = self._fleet.held_by(peer, id, hand)
                    if entry is not None:
                        roster.give_back(entry, entry.call.lost)
            case Spawn():
                self._spawn(peer, message)
            case Update(id, attempt, hand):
                if self._is_with(peer, id, attempt, hand):
                    roster.out.append(Note(message))
            case Wait(ids):
                roster.waiters.add(peer, ids)
                if unsure := [id for id in ids if id not in roster.entries]:
                    roster.say(peer, Unsure(unsure))
            case Look(ids):
                roster.waiters.add(peer, ids)
                if unsure := [id for id in ids if id not in roster.entries]:
                    roster.out.append(LookUp(peer, unsure))
            case Unwait(ids):
                for id in ids:
                    roster.waiters.remove(peer, id)
            case Serve(queues):
                runner = self._fleet.runners.get(peer)
                if runner is not None:
                    runner.queues = queues
            case Leave():
                runner = self._fleet.runners.get(peer)
                if runner is not None:
                    runner.leaving = True
                    roster.say(peer, Leave())  # behind all that it was handed
            case _:
                reason = f"{peer} said {type(message).__name__}, which it may not"
                roster.out.append(Refuse(reason))

    def _begin(self, peer: str, id: str, hand: int) -> None:
        entry = self._fleet.held_by(peer, id, hand)
        if entry is not None:
            entry.begun = self._roster.now.steady
            self._roster.kill_if_wanted(entry)

    def _spawn(self, peer: str, spawn: Spawn) -> None:
        if self._is_with(peer, spawn.parent_id, spawn.attempt, spawn.hand):
            self._roster.out.append(Insert(peer, spawn))
        else:
            reason = f"job {spawn.parent_id} is not running there as attempt {spawn.attempt}"
            answer = Spawned(spawn.number, self._roster.now.wall, SUPERSEDED, reason)
            self._roster.say(peer, answer)

    def _is_with(self, peer: str, id: str, attempt: int, hand: int) -> bool:
        """Tell whether a peer has a call, as is known here or as it said when it dialled."""
        entry = self._fleet.held_by(peer, id, hand)
        if entry is not None:
            return entry.call.attempt == attempt
        # The call may not have been found in flight yet: the ledger decides.
        return id not in self._roster.entries and self._fleet.told_by(peer, id, attempt, hand)

    def _tell_ends(self, peer: str, outcomes: Iterable[Outcome], unknown: Iterable[str]) -> None:
        """Tell a client how jobs ended before it waited, as far as it still does."""
        roster = self._roster
        ends = [outcome for outcome in outcomes if roster.waiters.remove(peer, outcome.id)]
        if ends:
            roster.say(peer, Push(ends))
        unsure = [id for id in unknown if peer in roster.waiters.of(id)]
        if unsure:
            roster.say(peer, Unsure(unsure))

    # What people ask for

    def _revoke(self, ids: Iterable[str], terminate: bool) -> None:
        """End calls that nobody has now; recall or kill the others, or wait until they are back."""
        roster = self._roster
        recalled: dict[str, None] = {}
        for id in ids:
            roster.revoked[id] = terminate or roster.revoked.get(id, False)
            entry = roster.entries.get(id)
            if entry is None:
                continue
            if entry.phase == READY:
                roster.ready.discard(entry.call)
                roster.make_ready(entry)
            elif entry.phase == HANDED and entry.begun is None and entry.runner is not None:
                recalled[entry.runner.id] = None
            else:
                roster.kill_if_wanted(entry)
        for runner in recalled:
            roster.say(runner, Recall())

    # Windows

    def _fill_windows(self) -> None:
        """Claim ready calls for runners that have room."""
        if self._roster.ready and not self._fleet.draining:
            for call, runner, cost in self._fleet.shares(self._roster.ready):
                self._claim(call, runner, cost)

    def _claim(self, call: Call, runner: Runner, cost: float) -> None:
        """Claim *call*; behind others, its runner says when it begins."""
        id, task, attempt, hand, *rest = call
        hand += 1
        rest[-1] = bool(runner.held) and not runner.is_graphs
        entry = self._roster.entries[id]
        entry.call = Call._make((id, task, attempt, hand, *rest))
        runner.add(entry, CLAIMED, cost)
        self._roster.batch.claims.append(Claim(id, attempt, hand, runner.id, runner.worker))

    def _next_wake(self) -> float | None:
        now = self._roster.now
        wakes = [self._fleet.next_wake(now.steady), self._orphans.next_wake(now.steady)]
        next_time = self._roster.ready.next_time
        if next_time is not None:
            wakes.append(now.steady + max(0.0, next_time - now.wall))
        return min((wake for wake in wakes if wake is not None), default=None)
