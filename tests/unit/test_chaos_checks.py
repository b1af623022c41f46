"""Each invariant of the chaos suite sees what violates it, and nothing where all went well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from dask_facade.exceptions import WorkerLostError
from dask_facade.states import FAILURE, PENDING, RECEIVED, RETRY, REVOKED, SUCCESS
from tests.chaos.checks import CHECKS, LOST
from tests.chaos.evidence import Evidence, Move, Row
from tests.chaos.mix import CHILDREN, RETRIES, RETRY_DELAY, Kind, Submission
from tests.chaos.trace import BEGUN, ENDED, Step

LONG = 0.4  # seconds from one thing to the next: more than any delay here
DIED = f"{WorkerLostError.__name__}('worker is gone')"


class Round:
    """A round that went well, for a test to spoil. Times are seconds from its begin."""

    def __init__(self) -> None:
        self.submissions = [Submission(kind, place) for place, kind in enumerate(Kind)]
        self.moves: list[Move] = []
        self.rows: dict[str, Row] = {}
        self.steps: list[Step] = []
        self.causes: tuple[str, ...] = ()
        self.left: list[str] = []
        self.time = 0.0
        for each in self.submissions:
            self._play(each)
        self.got = {each.id: [each.value] for each in self.submissions}
        self.got["revoked-3"] = "TaskRevokedError"

    def _play(self, submission: Submission) -> None:
        if submission.kind is Kind.REVOKED:
            self._add(submission.id, "", state=REVOKED, hand=0)
            self._move(submission.id, PENDING, 1, 0)
            self._move(submission.id, REVOKED, 1, 0)
            return
        for id in submission.earlier:
            self._run(id, "1")
        attempts = RETRIES + 1 if submission.kind is Kind.RETRY else 1
        self._run(submission.id, str(submission.value), attempts)
        if submission.kind is Kind.PARENT:
            for child in range(CHILDREN):
                self._run(f"of-{submission.id}-{child}", "1", parent_id=submission.id)

    def _run(self, id: str, preview: str, attempts: int = 1, parent_id: str | None = None) -> None:
        self._move(id, PENDING, 1, 0)
        due = self.time
        for attempt in range(1, attempts + 1):
            self._move(id, RECEIVED, attempt, attempt)
            self.say(id, attempt, BEGUN)
            self.say(id, attempt, ENDED)
            state = SUCCESS if attempt == attempts else RETRY
            self._move(id, state, min(attempt + 1, attempts), attempt)
        self._add(id, preview, state=SUCCESS, hand=attempts, parent_id=parent_id, eta=due)

    def _add(
        self,
        id: str,
        preview: str,
        *,
        state: str,
        hand: int,
        parent_id: str | None = None,
        eta: float | None = None,
    ) -> None:
        late = id.startswith(Kind.LATE)
        self.rows[id] = Row(id, state, max(hand, 1), hand, 0, 0, late, parent_id, preview, eta)

    def _move(self, id: str, state: str, attempt: int, hand: int) -> None:
        self.time += LONG
        self.moves.append(Move(id, state, attempt, hand, self.time))

    def say(self, id: str, attempt: int, what: str) -> None:
        """Let a job begin, or end its work."""
        self.time += LONG
        self.steps.append(Step(id, attempt, what, self.time, 1))

    def change(self, id: str, **changes: object) -> None:
        """Let the ledger say something else of a job."""
        self.rows[id] = replace(self.rows[id], **changes)

    def shift(self, id: str, what: str, seconds: float) -> None:
        """Let a job begin, or end its work, at another time."""
        self.steps = [
            replace(step, time=step.time + seconds) if (step.id, step.what) == (id, what) else step
            for step in self.steps
        ]

    def violated(self) -> set[str]:
        """Return the invariants that do not hold."""
        evidence = Evidence(
            self.submissions, self.rows, self.moves, self.steps, self.got, self.causes, self.left
        )
        return {name for name, check in CHECKS.items() if list(check(evidence))}


def test_nothing_is_violated_where_all_went_well() -> None:
    assert Round().violated() == set()


def lose(round: Round) -> None:
    del round.rows["plain-0"]


def leave_pending(round: Round) -> None:
    round.change("plain-0", state=PENDING)


def end_twice(round: Round) -> None:
    round.moves.append(Move("plain-0", SUCCESS, 1, 1, round.time))


def try_too_often(round: Round) -> None:
    round.change("plain-0", attempt=2)


def lose_too_often(round: Round) -> None:
    round.change("late-1", lost=4)


def run_twice(round: Round) -> None:
    round.steps.insert(0, Step("plain-0", 1, BEGUN, 0.0, 1))


def run_late_twice(round: Round) -> None:
    round.steps.insert(0, Step("late-1", 1, BEGUN, 0.0, 1))


def run_after_the_end(round: Round) -> None:
    round.say("late-1", 1, BEGUN)


def never_run(round: Round) -> None:
    round.steps = [step for step in round.steps if step.id != "plain-0"]


def return_another_value(round: Round) -> None:
    round.change("plain-0", preview="another")


def tell_another_end(round: Round) -> None:
    round.got["plain-0"] = "TimeoutError"


def begin_a_body_early(round: Round) -> None:
    round.shift("chord-6", BEGUN, -30 * LONG)


def begin_a_step_early(round: Round) -> None:
    round.shift("chain-5", BEGUN, -6 * LONG)


def begin_before_the_eta(round: Round) -> None:
    round.shift("eta-2", BEGUN, -3 * LONG)


def try_again_too_soon(round: Round) -> None:
    round.shift("retry-4", ENDED, 3 * LONG - RETRY_DELAY / 2)


def begin_though_revoked(round: Round) -> None:
    round.say("revoked-3", 1, BEGUN)


def fail_without_a_cause(round: Round) -> None:
    round.change("chord-6.0", state=FAILURE, preview=DIED)


def give_up_too_early(round: Round) -> None:
    round.causes = LOST
    round.change("late-1", state=FAILURE, preview=DIED)


def bear_too_few(round: Round) -> None:
    round.rows = {id: row for id, row in round.rows.items() if id != "of-parent-7-0"}


def miscount(round: Round) -> None:
    round.change("plain-0", hand=2)


def leave_a_key(round: Round) -> None:
    round.left.append("key x")


@pytest.mark.parametrize(
    ("spoil", "violated"),
    [
        (lose, {"submitted = terminal"}),
        (leave_pending, {"submitted = terminal"}),
        (end_twice, {"one end each"}),
        (try_too_often, {"attempts in limits", "success has run", "counters = count"}),
        (lose_too_often, {"attempts in limits", "failures have a cause"}),
        (run_twice, {"early acks: once"}),
        (run_late_twice, {"late acks: again if lost"}),
        (run_after_the_end, {"ended, never again", "late acks: again if lost"}),
        (never_run, {"success has run"}),
        (return_another_value, {"success has run"}),
        (tell_another_end, {"told as kept"}),
        (begin_a_body_early, {"dependencies in order"}),
        (begin_a_step_early, {"dependencies in order"}),
        (begin_before_the_eta, {"nothing before its ETA"}),
        (try_again_too_soon, {"nothing before its ETA"}),
        (begin_though_revoked, {"revoked never begins", "ended, never again"}),
        (fail_without_a_cause, {"failures have a cause", "dependencies in order"}),
        (give_up_too_early, {"failures have a cause", "told as kept"}),
        (bear_too_few, {"children once"}),
        (miscount, {"counters = count"}),
        (leave_a_key, {"nothing left"}),
    ],
)
def test_each_invariant_sees_what_violates_it(
    spoil: Callable[[Round], None], violated: set[str]
) -> None:
    round = Round()

    spoil(round)

    assert round.violated() == violated


def test_every_invariant_can_be_violated() -> None:
    (table,) = (
        mark.args[1]
        for mark in test_each_invariant_sees_what_violates_it.pytestmark
        if mark.name == "parametrize"
    )

    assert set().union(*(violated for _, violated in table)) == set(CHECKS)
