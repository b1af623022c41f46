"""What the ledger has made of what runners reported and the broker decided."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from dask_facade.fleet import Fleet
from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.messages import Ack, Call, Hand, Outcome, Push
from dask_facade.roster import Roster
from dask_facade.states import READY_STATES
from dask_facade.windows import CLAIMED, ENDED, HANDED, RELEASED, Entry, Runner


class Settling:
    """Outcomes on their way to the ledger, and what follows when it has answered."""

    def __init__(self, roster: Roster, fleet: Fleet) -> None:
        self.owed: dict[tuple[str, int], str] = {}  # outcomes not yet written -> their runner
        self._fleet = fleet
        self._roster = roster

    def report(self, peer: str, outcomes: Sequence[Outcome]) -> None:
        """Have written what a runner says of how calls ended."""
        roster, measure = self._roster, self._fleet.measure
        for outcome in outcomes:
            self.owed[outcome.id, outcome.hand] = peer
            entry = roster.entries.get(outcome.id)
            if entry is not None and entry.is_out(outcome.hand):
                entry.let_go()
                entry.phase = ENDED
                measure(entry.call.task, outcome.runtime)
        roster.batch.outcomes.extend(outcomes)

    def settle(self, asked: Batch, written: Written) -> None:
        """Go by the ledger's answer to *asked*."""
        self._settle_ends((*written.outcomes, *written.failed))
        self._settle_reports(asked.outcomes)
        self._settle_releases(asked.releases, set(written.released))
        self._settle_claims(asked.claims, set(written.claimed))
        for call in written.ready:
            self._roster.take(call)

    def _settle_ends(self, outcomes: Iterable[Outcome]) -> None:
        roster = self._roster
        entries, waiters = roster.entries, roster.waiters
        pushes: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            entry = entries.get(outcome.id)
            if entry is not None and entry.call.attempt <= outcome.attempt:
                roster.forget(outcome.id)
            if outcome.state not in READY_STATES:
                continue  # it goes on: the ledger has it until it is due
            if roster.revoked:
                roster.revoked.pop(outcome.id, None)
            roster.aborted.discard(outcome.id)
            for client in waiters.pop(outcome.id):
                pushes.setdefault(client, []).append(outcome)
        for client, ends in pushes.items():
            roster.say(client, Push(ends))

    def _settle_reports(self, outcomes: Iterable[Outcome]) -> None:
        roster, runners = self._roster, self._fleet.runners
        acks: dict[str, list[tuple[str, int]]] = {}
        for outcome in outcomes:
            entry = roster.entries.get(outcome.id)
            if entry is not None and entry.phase == ENDED and entry.call.hand == outcome.hand:
                roster.drop(outcome.id)  # it did not move: the ledger knows better
            hand = (outcome.id, outcome.hand)
            reporter = self.owed.pop(hand, None)
            if reporter is not None:
                acks.setdefault(reporter, []).append(hand)
                runner = runners.get(reporter)
                if runner is not None and runner.told:
                    runner.told.pop(hand, None)
        for reporter, calls in acks.items():
            roster.say(reporter, Ack(calls))

    def _settle_releases(
        self, releases: Iterable[Release], released: Collection[tuple[str, int]]
    ) -> None:
        roster = self._roster
        for release in releases:
            entry = roster.entries.get(release.id)
            if entry is None or entry.phase != RELEASED or entry.call.hand != release.hand:
                continue
            if (release.id, release.hand) in released:
                if release.lost != entry.call.lost:
                    entry.call = entry.call._replace(lost=release.lost)
                roster.make_ready(entry)
            else:
                roster.drop(release.id)

    def _settle_claims(self, claims: Iterable[Claim], claimed: Collection[tuple[str, int]]) -> None:
        roster = self._roster
        hands: dict[str, list[Call]] = {}
        for claim in claims:
            entry = roster.entries.get(claim.id)
            if entry is None or entry.phase != CLAIMED or entry.call.hand != claim.hand:
                continue
            runner = entry.runner
            assert runner is not None
            if (claim.id, claim.hand) not in claimed:
                roster.drop(claim.id)
                continue
            entry.phase = HANDED
            if not self._may_hand(entry, runner):
                roster.give_back(entry, entry.call.lost)  # it never heard of it
                continue
            if not entry.call.marked:
                entry.begun = roster.now.steady  # it was alone: it begins when it arrives
            hands.setdefault(claim.runner, []).append(entry.call)
        for peer, calls in hands.items():
            if roster.aborted:  # told before it begins
                for call in calls:
                    roster.abort_if_wanted(roster.entries[call.id])
            roster.say(peer, Hand(calls))

    def _may_hand(self, entry: Entry, runner: Runner) -> bool:
        roster = self._roster
        return (
            runner.takes_calls
            and not runner.overrun
            and entry.call.id not in roster.revoked
            and not roster.has_revoked_stamp(entry.call)
            and not roster.ready.is_paused(entry.call.queue)
        )
