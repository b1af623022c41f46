"""The calls that the broker has taken up, how they come and go, and what one step decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dask_facade.backlog import CALL_BYTES, size_of
from dask_facade.events import Instant, Instruction, Rules, Send, Write
from dask_facade.jobs import Batch, Release
from dask_facade.messages import Abort, Call, Kill, Message, Outcome, Rate, Unsure
from dask_facade.ready import Ready
from dask_facade.verdicts import EXPIRED, WITHDRAWN, revoked, too_large
from dask_facade.waiters import Waiters
from dask_facade.windows import ENDED, HANDED, READY, RELEASED, Entry
from dask_facade.withdrawals import is_stamped

LEFT_SHARE = 16  # of high water: the part that is left to the ledger for who goes first


class Roster:
    """Calls by id, those that nobody has in line, who waits for them, and which are to end."""

    def __init__(self, rules: Rules, stamps: Mapping[str, Any]) -> None:
        self.aborted: set[str] = set()  # jobs whose tasks shall know that they are to end
        self.entries: dict[str, Entry] = {}
        self.ready = Ready()
        self.revoked: dict[str, bool] = {}  # jobs that shall end -> whether also while they run
        self.rules = rules
        self.stamps = stamps  # by which calls are revoked
        self.waiters = Waiters()
        # Of the step that is being taken:
        self.batch = Batch()
        self.now = Instant(0.0, 0.0)
        self.out: list[Instruction] = []

    def begin_step(self, now: Instant) -> None:
        """Let nothing be decided yet of a step at *now*."""
        self.now, self.batch, self.out = now, Batch(), []
        self.ready.now = now.wall

    def end_step(self) -> list[Instruction]:
        """Return what was decided, in this order."""
        if self.batch:
            self.out.append(Write(self.batch))
        return self.out

    def say(self, peer: str, message: Message) -> None:
        """Have *message* sent."""
        self.out.append(Send(peer, message))

    def offer(self, call: Call) -> None:
        """Take a call that was hinted at, unless it is known, or stays in the ledger as it is."""
        if call.id in self.entries or self._is_left(call, self.rules.horizon):
            return
        entry = self.entries[call.id] = Entry(call)
        if not self._ends(entry):
            self.ready.add(call, self.now.wall)

    def take(self, call: Call) -> None:
        """Let a call that waits for nothing stand in line, unless it is known already."""
        entry = self.entries.get(call.id)
        if entry is not None:
            if not entry.is_outdated(call):
                return
            self.forget(call.id)  # it came from a late hint: its claim will be refused
        entry = self.entries[call.id] = Entry(call)
        self.make_ready(entry)

    def make_ready(self, entry: Entry) -> None:
        """Let a call that nobody has stand in line, unless it is to end or is left to the ledger.

        That has those which would stay for long: it is looked through again and again.
        """
        call = entry.call
        if self._ends(entry):
            return
        if self._is_left(call, self.rules.far):
            self._leave(call)
        else:
            entry.phase = READY
            self.ready.add(call, self.now.wall)

    def _ends(self, entry: Entry) -> bool:
        """End a call that shall not begin any more; tell whether it was such."""
        call, now = entry.call, self.now.wall
        if call.id in self.revoked or self.has_revoked_stamp(call):
            self.end(entry, revoked(call, WITHDRAWN, now))
        elif call.expires is not None and not call.expires > now:
            self.end(entry, revoked(call, EXPIRED, now))
        elif entry.weight > self.rules.heaviest:
            self.end(entry, too_large(call, size_of(call), self.rules.heaviest * CALL_BYTES, now))
        else:
            return False
        return True

    def has_revoked_stamp(self, call: Call) -> bool:
        """Tell whether a call is revoked by what it was stamped with."""
        return bool(self.stamps) and is_stamped(call.options, self.stamps)

    def look_for_stamps(self) -> None:
        """End the calls in line that are revoked by a stamp."""
        for entry in list(self.entries.values()):
            if entry.phase == READY and self.has_revoked_stamp(entry.call):
                self.ready.discard(entry.call)
                self.make_ready(entry)

    def _is_left(self, call: Call, ahead: float) -> bool:
        """Tell whether the ledger has room for a call and this does not; *ahead* in seconds."""
        if call.due is not None and call.due > self.now.wall + ahead:
            return True
        ready = self.ready
        if ready.is_paused(call.queue):
            return True
        return ready.size(call) >= self.rules.high_water and not self._makes_room(call)

    def _makes_room(self, call: Call) -> bool:
        """Leave the last of a full line to the ledger, where this call is of a higher priority.

        Several at once: it is not looked through for each.
        """
        line = self.ready.line(call)
        lowest = line.lowest(call.queue)
        if lowest is None or lowest >= call.priority:
            return False
        for last in line.last(call.queue, 1 + self.rules.high_water // LEFT_SHARE):
            if last.priority < call.priority:
                self.ready.discard(last)
                self._leave(last)
        return True

    def _leave(self, call: Call) -> None:
        del self.entries[call.id]
        self.batch.left.append(call.id)

    def limit(self, rates: Iterable[Rate]) -> None:
        """Let calls of tasks begin so often, those too that stand in line."""
        limits = self.ready.limits
        changed = limits.differing(dict(rates))
        if not changed:
            return
        waiting = [
            entry.call
            for entry in self.entries.values()
            if entry.phase == READY and entry.call.task in changed
        ]
        for call in waiting:
            self.ready.discard(call)
        limits.change(changed, self.now.wall)
        for call in waiting:
            self.ready.add(call, self.now.wall)

    def pop_over(self) -> None:
        """Let calls stand in line whose time has come, and those end that have expired."""
        for call in self.ready.pop_over(self.now.wall):
            self.make_ready(self.entries[call.id])

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """End a call by a decision of our own."""
        entry.let_go()
        entry.phase = ENDED
        self.batch.outcomes.append(outcome)

    def give_back(self, entry: Entry, lost_times: int) -> None:
        """Release a call that surely had not begun, or that may run again."""
        call = entry.call
        entry.let_go()
        entry.phase = RELEASED
        self.batch.releases.append(Release(call.id, call.attempt, call.hand, lost_times))

    def drop(self, id: str) -> None:
        """Forget a call that the ledger did not let us move; who waits must look there."""
        self.forget(id)
        for client in self.waiters.of(id):
            self.say(client, Unsure([id]))

    def forget(self, id: str) -> None:
        """Know nothing of a call any more."""
        entry = self.entries.pop(id, None)
        if entry is not None:
            entry.let_go()
            if entry.phase == READY:
                self.ready.discard(entry.call)

    def abort_if_wanted(self, entry: Entry) -> None:
        """Let the runner of a call know that its task is to end it, where somebody asked for that.

        What follows a Dask future has no task.
        """
        call = entry.call
        if call.id not in self.aborted or call.graph:
            return
        if entry.phase == HANDED and entry.runner is not None:
            self.say(entry.runner.id, Abort(call.id, call.hand))

    def kill_if_wanted(self, entry: Entry) -> None:
        """Have a call ended that runs, where somebody asked for that."""
        call = entry.call
        if entry.phase == HANDED and entry.runner is not None and self.revoked.get(call.id):
            self.say(entry.runner.id, Kill(call.id, call.hand))
