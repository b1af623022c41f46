"""What becomes of runners that come, go and fall silent, and of the calls that they had."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dask_facade.events import RunnerUp
from dask_facade.fleet import Fleet
from dask_facade.jobs import InFlight
from dask_facade.messages import Leave, Recall
from dask_facade.roster import Roster
from dask_facade.verdicts import TERMINATED, lost, revoked
from dask_facade.windows import CLAIMED, DOUBTED, HANDED, Entry, Runner


class Doubts:
    """Decides which calls had begun with runners that cannot be asked."""

    def __init__(self, roster: Roster, fleet: Fleet) -> None:
        self._fleet = fleet
        self._roster = roster

    def runner_up(self, event: RunnerUp) -> None:
        """Let a runner take calls, and go on with those that it has."""
        fleet, steady = self._fleet, self._roster.now.steady
        runner = fleet.runners.get(event.runner)
        if runner is None:
            runner = fleet.runners[event.runner] = Runner(event.runner, event.worker, event.queues)
        runner.up, runner.worker, runner.queues = True, event.worker, event.queues
        runner.missed_since, runner.paused = steady, event.worker in fleet.paused
        runner.told = {(each.id, each.hand): each for each in event.held}
        for entry in list(runner.held.values()):
            if entry.phase != CLAIMED:
                self._compare(entry, runner)
        if runner.worker_gone or fleet.draining or fleet.is_replaced(runner):
            self._retire(runner)

    def _compare(self, entry: Entry, runner: Runner) -> None:
        """Go on with a call that its runner had when it dialled, or release it."""
        mine = runner.told.get((entry.call.id, entry.call.hand))
        if mine is None:
            self._roster.give_back(entry, entry.call.lost)  # disowned: it never arrived
        else:
            entry.phase = HANDED
            entry.begun = self._roster.now.steady if mine.begun else None
            self._roster.kill_if_wanted(entry)
            self._roster.abort_if_wanted(entry)

    def _retire(self, runner: Runner) -> None:
        """Let a runner end what it runs, and no more."""
        runner.leaving = True
        if runner.up and runner.held:
            self._roster.say(runner.id, Recall())
        if runner.up:
            self._roster.say(runner.id, Leave())

    def retire(self, ids: Iterable[str]) -> None:
        """Let runners go that have nothing to run."""
        for id in ids:
            runner = self._fleet.runners.get(id)
            if runner is not None and runner.is_idle:
                self._retire(runner)

    def drain(self) -> None:
        """Let all runners go, those too that come later."""
        self._fleet.draining = True
        for runner in self._fleet.runners.values():
            self._retire(runner)

    def line_ended(self, peer: str, whole: bool) -> None:
        """Take back what a runner had not begun when its line ended."""
        runner = self._fleet.runners.get(peer)
        if runner is None:
            return
        runner.up, runner.missed_since, runner.overrun = False, self._roster.now.steady, False
        runner.told.clear()
        for entry in list(runner.held.values()):
            if entry.phase == HANDED:
                if whole and entry.begun is None:
                    self._roster.give_back(entry, entry.call.lost)
                else:
                    entry.phase = DOUBTED
        if runner.worker_gone:
            self._decide(runner)
        elif not runner.held:
            del self._fleet.runners[peer]

    def worker_gone(self, worker: str) -> None:
        """Believe Dask that a worker is gone, unless a runner there says otherwise."""
        self._fleet.places.pop(worker, None)
        for runner in self._fleet.on(worker):
            runner.worker_gone = True
            if runner.up:
                runner.missed_since = self._roster.now.steady
                self._retire(runner)
            else:
                self._decide(runner)

    def workers_paused(self, workers: Collection[str]) -> None:
        """Let runners on these workers end what they run and begin nothing, until they go on."""
        self._fleet.paused = frozenset(workers)
        for runner in self._fleet.runners.values():
            before, runner.paused = runner.paused, runner.worker in workers
            if runner.paused and not before and runner.up and runner.held:
                self._roster.say(runner.id, Recall())

    def placed(self, worker: str, runners: Iterable[str]) -> None:
        """Let runners go whose place another has now."""
        self._fleet.places[worker] = frozenset(runners)
        for runner in self._fleet.on(worker):
            if self._fleet.is_replaced(runner) and not runner.leaving:
                self._retire(runner)

    def find(self, in_flight: Iterable[InFlight]) -> None:
        """Take over calls that an earlier leader handed out."""
        roster, runners = self._roster, self._fleet.runners
        for call, runner_id, worker in in_flight:
            known = roster.entries.get(call.id)
            if known is not None:
                if not known.is_outdated(call):
                    continue
                roster.forget(call.id)  # it came from a late hint: its claim will be refused
            runner = runners.get(runner_id)
            if runner is None:
                runner = runners[runner_id] = Runner(
                    runner_id, worker, (), up=False, missed_since=roster.now.steady
                )
            entry = roster.entries[call.id] = Entry(call)
            runner.add(entry, DOUBTED, 0.0)
            if runner.up:
                self._compare(entry, runner)

    def look(self) -> None:
        """Decide of runners that are silent for too long, and recall what waits too long."""
        now, rules = self._roster.now.steady, self._roster.rules
        for runner in list(self._fleet.runners.values()):
            if not runner.up or runner.worker_gone:
                if now - runner.missed_since >= rules.worker_gone:
                    self._decide(runner)
            elif runner.overruns(now, rules):
                runner.overrun = True
                self._roster.say(runner.id, Recall())

    def _decide(self, runner: Runner) -> None:
        """End the doubt about the calls of a runner that is dead: they had begun."""
        roster = self._roster
        for entry in list(runner.held.values()):
            call = entry.call
            if entry.phase == CLAIMED:
                continue
            if call.id in roster.revoked:
                roster.end(entry, revoked(call, TERMINATED, roster.now.wall))
            elif call.acks_late and call.lost + 1 < roster.rules.max_lost:
                roster.give_back(entry, call.lost + 1)
            else:
                roster.end(entry, lost(call, runner.worker, roster.now.wall))
        if not runner.held:
            self._fleet.runners.pop(runner.id, None)
