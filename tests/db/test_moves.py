"""What outcomes, releases and claims move: each only what the table of states allows."""

from __future__ import annotations

import pytest

from dask_facade.exceptions import LedgerRefused
from dask_facade.jobs import Release
from dask_facade.messages import Edge
from dask_facade.states import (
    ALL_STATES,
    FAILURE,
    PENDING,
    READY_STATES,
    RECEIVED,
    RETRY,
    REVOKED,
    SOURCES,
    STARTED,
    SUCCESS,
)
from tests.db.plans import again, aware, claim, end, job

# How a job is brought into a state that the desk writes, and its attempt and hand there.
REACHED = {PENDING: (1, 0), RECEIVED: (1, 1), RETRY: (2, 1), **dict.fromkeys(READY_STATES, (1, 1))}


def job_in(ledger, state):
    made = job()
    ledger.submit(made)
    if state != PENDING:
        ledger.claim(made)
    if state not in (PENDING, RECEIVED):
        ledger.end(made, state=state)
    assert ledger.states(made) == [state]
    return made


@pytest.mark.parametrize("after", sorted(READY_STATES | {RETRY, PENDING}))
@pytest.mark.parametrize("before", sorted(REACHED))
def test_an_outcome_moves_a_job_only_as_the_table_allows(ledger, before, after):
    made = job_in(ledger, before)
    attempt, hand = REACHED[before]
    allowed = before in SOURCES[after]

    written = ledger.end(made, state=after, attempt=attempt, hand=hand)

    assert [outcome.id for outcome in written.outcomes] == [made.id] * allowed
    assert ledger.states(made) == [after if allowed else before]


@pytest.mark.parametrize("before", sorted(REACHED))
def test_a_claim_moves_a_job_only_as_the_table_allows(ledger, before):
    made = job_in(ledger, before)
    attempt, hand = REACHED[before]
    allowed = before in SOURCES[RECEIVED]

    written = ledger.claim(made, attempt=attempt, hand=hand + 1)

    assert written.claimed == ((made.id, hand + 1),) * allowed
    assert ledger.states(made) == [RECEIVED if allowed else before]


@pytest.mark.parametrize("before", sorted(REACHED))
def test_a_release_moves_a_job_only_as_the_table_allows(ledger, before):
    made = job_in(ledger, before)
    attempt, hand = REACHED[before]
    allowed = before in SOURCES[PENDING]

    written = ledger.release(made, attempt=attempt, hand=hand)

    assert written.released == ((made.id, hand),) * allowed
    assert ledger.states(made) == [PENDING if allowed else before]


@pytest.mark.parametrize("state", sorted(ALL_STATES - READY_STATES - {RETRY, PENDING}))
def test_no_outcome_is_in_a_state_that_is_no_end(ledger, state):
    made = job_in(ledger, RECEIVED)

    with pytest.raises(LedgerRefused, match=made.id):
        ledger.end(made, state=state)

    assert STARTED not in REACHED  # and so no outcome leads there
    assert ledger.states(made) == [RECEIVED]


@pytest.mark.parametrize(("attempt", "hand"), [(1, 0), (1, 2), (0, 1), (2, 1)])
def test_only_the_own_attempt_and_hand_count(ledger, attempt, hand):
    made = job_in(ledger, RECEIVED)

    ended = ledger.end(made, attempt=attempt, hand=hand)
    released = ledger.release(made, attempt=attempt, hand=hand)
    claimed = ledger.claim(made, attempt=attempt, hand=hand)

    assert (ended.outcomes, released.released, claimed.claimed) == ((), (), ())
    assert ledger.states(made) == [RECEIVED]


def test_an_outcome_is_kept_as_it_was_said(ledger):
    made = job_in(ledger, RECEIVED)
    said = end(made, result=bytes(range(256)), preview="'é'", started=1e9 + 0.25, finished=2e9)

    assert ledger.write(outcomes=[said]).outcomes == (said,)

    row = ledger.fetch(made)
    assert (row.state, row.result, row.result_preview) == (SUCCESS, bytes(range(256)), "'é'")
    assert (row.started.timestamp(), row.finished.timestamp()) == (1e9 + 0.25, 2e9)
    assert (row.worker, row.attempt) == ("tcp://127.0.0.1:9", 1)
    assert aware(row.started)
    assert aware(row.finished)


def test_a_waiting_job_can_end_without_having_begun(ledger):
    made = job()
    ledger.submit(made)

    ledger.end(made, state=REVOKED, hand=0, started=None, runtime=0.0)

    row = ledger.fetch(made)
    assert (row.state, row.started) == (REVOKED, None)
    assert aware(row.finished)


def test_an_outcome_that_comes_twice_moves_once(ledger):
    made = job_in(ledger, RECEIVED)
    said = end(made)

    first = ledger.write(outcomes=[said])
    again = ledger.write(outcomes=[said])

    assert first.outcomes == (said,)
    assert again.outcomes == ()


def test_the_first_of_two_ends_in_one_batch_wins(ledger):
    made, other = job_in(ledger, RECEIVED), job_in(ledger, RECEIVED)
    won, late = end(made), end(made, FAILURE)

    written = ledger.write(outcomes=[won, end(other), late, won])

    assert [outcome.id for outcome in written.outcomes] == [made.id, other.id]
    assert written.outcomes[0] is won
    assert ledger.states(made) == [SUCCESS]


def test_an_end_that_may_not_be_does_not_hide_the_next_in_its_batch(ledger):
    made = job()
    ledger.submit(made)
    never, revoked = end(made, SUCCESS, hand=0), end(made, REVOKED, hand=0)

    written = ledger.write(outcomes=[never, revoked])

    assert written.outcomes == (revoked,)
    assert ledger.states(made) == [REVOKED]


def test_a_claim_that_comes_twice_in_a_batch_counts_once(ledger):
    made = job()
    ledger.submit(made)
    first = claim(made)

    written = ledger.write(claims=[first, first._replace(runner="runner-2", worker="b")])

    assert written.claimed == ((made.id, 1),)
    assert ledger.fetch(made).worker == first.worker


def test_outcomes_come_before_claims_in_one_batch(ledger):
    made = job()
    ledger.submit(made)

    written = ledger.write(outcomes=[end(made, REVOKED, hand=0)], claims=[claim(made)])

    assert written.claimed == ()
    assert ledger.states(made) == [REVOKED]


def test_what_is_released_is_claimed_anew_with_the_next_hand(ledger):
    made = job_in(ledger, RECEIVED)

    assert ledger.release(made, hand=1, lost=1).released == ((made.id, 1),)
    assert ledger.claim(made, hand=1).claimed == ()
    assert ledger.claim(made, hand=2).claimed == ((made.id, 2),)

    assert [outcome.id for outcome in ledger.end(made, hand=1).outcomes] == []
    ((held, runner, worker),) = ledger.desk.in_flight()
    assert (held.id, held.hand, held.lost) == (made.id, 2, 1)
    assert (runner, worker) == ("runner-1", "tcp://127.0.0.1:9")


def test_a_release_and_the_next_claim_fit_in_one_batch(ledger):
    made = job_in(ledger, RECEIVED)

    written = ledger.write(releases=[Release(made.id, 1, 1, lost=0)], claims=[claim(made, hand=2)])

    assert written.released == ((made.id, 1),)
    assert written.claimed == ((made.id, 2),)
    assert ledger.states(made) == [RECEIVED]


def test_a_mixed_batch_says_what_moved_in_its_order(ledger):
    done, back, fresh, late = (job() for _ in range(4))
    ledger.submit(done, back, fresh)
    ledger.claim(done, back)

    written = ledger.write(
        outcomes=[end(late), end(done)],
        releases=[Release(late.id, 1, 1, 0), Release(back.id, 1, 1, 0)],
        claims=[claim(late), claim(fresh)],
    )

    assert [outcome.id for outcome in written.outcomes] == [done.id]
    assert (written.released, written.claimed) == (((back.id, 1),), ((fresh.id, 1),))
    assert (written.failed, written.ready) == ((), ())


@pytest.mark.parametrize(
    "fields",
    [
        {"preview": "a\0b"},
        {"traceback": "a\0b"},
        {"preview": "\ud800"},  # half of a pair: no text in any encoding
        {"preview": ["no", "text"]},
        {"result": "no bytes"},
        {"finished": float("inf")},
        {"finished": float("nan")},
        {"started": 1e15},
        {"started": "soon"},
        {"key": "k" * 256},
        {"key": "a\0b"},
        {"key": "k", "size": -1},
        {"state": RETRY, "again": b""},
        {"state": PENDING, "again": b"\x90"},
        {"state": RETRY, "again": again(delay=-1)},
        {"state": RETRY, "again": again(delay=float("inf"))},
        {"state": PENDING, "again": again(becomes=[job(), job()])},
        {"state": PENDING, "again": again(jobs=[job("a\0b")])},
        {"state": PENDING, "again": again(jobs=[job(priority=2**31)])},
        {"state": PENDING, "again": again(becomes=[job(queue="q" * 256)])},
        {"state": PENDING, "again": again(edges=[Edge("a", "", 0, True)])},
    ],
)
def test_what_cannot_be_kept_is_refused_with_all_of_its_batch(ledger, fields):
    good, bad, waiting = job_in(ledger, RECEIVED), job_in(ledger, RECEIVED), job()
    ledger.submit(waiting)

    with pytest.raises(LedgerRefused, match=bad.id):
        ledger.write(outcomes=[end(good), end(bad, **fields)], claims=[claim(waiting)])

    assert ledger.states(good, bad, waiting) == [RECEIVED, RECEIVED, PENDING]


def test_a_large_batch_is_written_at_once(ledger):
    jobs = [job() for _ in range(1_000)]
    ledger.submit(*jobs)

    assert len(ledger.claim(*jobs).claimed) == 1_000
    assert len(ledger.end(*jobs).outcomes) == 1_000
