"""The invariants: what must hold after a round, whatever happened in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from dask_facade.exceptions import ChordError, WorkerLostError
from dask_facade.states import FAILURE, READY_STATES, RECEIVED, RETRY, REVOKED, SUCCESS
from tests.chaos.evidence import Evidence
from tests.chaos.mix import CHILDREN, MAX_RETRIES, RETRY_DELAY, Kind, kind_of

MAX_LOST = 3
TOLERANCE = 0.02  # seconds between the clocks of the database and of the trace
LOST = (WorkerLostError.__name__, ChordError.__name__)  # with a worker, or after one that was

Check = Callable[[Evidence], Iterator[str]]


def submitted_is_terminal(seen: Evidence) -> Iterator[str]:
    """Whatever was submitted has ended, and so has all that came of it."""
    for submission in seen.submissions:
        for id in (*submission.earlier, submission.id):
            if id not in seen.rows:
                yield f"{id} has no row"
    for row in seen.rows.values():
        if row.state not in READY_STATES:
            yield f"{row.id} is {row.state}"


def one_terminal_transition(seen: Evidence) -> Iterator[str]:
    """A job ends once, and nothing moves it afterwards."""
    for id, life in seen.lives.items():
        ends = [place for place, move in enumerate(life) if move.state in READY_STATES]
        if ends and ends != [len(life) - 1]:
            yield f"{id} went {' '.join(move.state for move in life)}"


def attempts_within_limits(seen: Evidence) -> Iterator[str]:
    """No job is tried, or lost with a worker, more often than it may be."""
    for row in seen.rows.values():
        most = 1 + MAX_RETRIES if kind_of(row.id) is Kind.RETRY else 1
        if row.attempt > most:
            yield f"{row.id} is at attempt {row.attempt}"
        if row.lost > MAX_LOST:
            yield f"{row.id} was lost {row.lost} times"


def once_per_attempt(seen: Evidence) -> Iterator[str]:
    """A job that is acknowledged early runs at most once for each attempt."""
    for id, steps in seen.begun.items():
        if id in seen.rows and not seen.rows[id].acks_late:
            for attempt, count in Counter(step.attempt for step in steps).items():
                if count > 1:
                    yield f"{id} ran {count} times as attempt {attempt}"


def again_only_when_lost(seen: Evidence) -> Iterator[str]:
    """A job that is acknowledged late runs again only when a worker was lost with it."""
    for row in seen.rows.values():
        if row.acks_late and len(seen.begun[row.id]) > row.lost + 1:
            yield f"{row.id} ran {len(seen.begun[row.id])} times, {row.lost} workers were lost"


def finished_never_again(seen: Evidence) -> Iterator[str]:
    """A job that has ended does not begin again."""
    for id, steps in seen.begun.items():
        end = seen.finished(id)
        late = [step for step in steps if end is not None and step.time > end + TOLERANCE]
        if late:
            yield f"{id} began {late[0].time - end:.3f} s after its end"


def success_has_run(seen: Evidence) -> Iterator[str]:
    """A job that succeeded has done its work, and what it returned is what was told."""
    values = {each.id: each.value for each in seen.submissions}
    for row in seen.rows.values():
        if row.state == SUCCESS:
            if row.attempt not in {step.attempt for step in seen.ended[row.id]}:
                yield f"{row.id} succeeded, and never ran"
            if row.id in values and row.preview != str(values[row.id]):
                yield f"{row.id} returned {row.preview}, not {values[row.id]}"


def told_as_kept(seen: Evidence) -> Iterator[str]:
    """Whoever waited was told of the end that the ledger has."""
    for submission in seen.submissions:
        row, told = seen.rows.get(submission.id), seen.got.get(submission.id)
        if row is None or row.state not in READY_STATES:
            continue
        if (told == [submission.value]) != (row.state == SUCCESS):
            yield f"{row.id} is {row.state}, and {told} was told"


def dependencies_in_order(seen: Evidence) -> Iterator[str]:
    """Steps begin when the step before has ended; bodies once, when all headers have."""
    for submission in seen.submissions:
        match submission.kind:
            case Kind.CHAIN:
                ids = (*submission.earlier, submission.id)
                waits = [(after, [before]) for before, after in pairwise(ids)]
            case Kind.CHORD:
                waits = [(submission.id, list(submission.earlier))]
            case _:
                continue
        for after, before in waits:
            yield from _out_of_order(seen, after, before)


def _out_of_order(seen: Evidence, after: str, before: list[str]) -> Iterator[str]:
    for step in seen.begun[after]:
        for id in before:
            if not any(end.time <= step.time for end in seen.ended[id]):
                yield f"{after} began before {id} had ended"
            if id in seen.rows and seen.rows[id].state != SUCCESS:
                yield f"{after} began though {id} is {seen.rows[id].state}"


def nothing_before_its_time(seen: Evidence) -> Iterator[str]:
    """No job begins before its ETA, nor is it tried again before its delay is over."""
    for row in seen.rows.values():
        steps = seen.begun[row.id]
        due: Mapping[int, float] = {}  # by attempt
        match kind_of(row.id):
            case Kind.ETA if row.eta is not None:
                due = {1: row.eta}
            case Kind.RETRY:
                due = {e.attempt + 1: e.time + RETRY_DELAY for e in seen.ended[row.id]}
        for step in steps:
            early = due.get(step.attempt, step.time) - step.time
            if early > TOLERANCE:
                yield f"{row.id} began {early:.3f} s too soon as attempt {step.attempt}"


def revoked_never_begins(seen: Evidence) -> Iterator[str]:
    """A job that was revoked before it began never begins."""
    for submission in seen.submissions:
        if submission.kind is Kind.REVOKED and submission.id in seen.rows:
            row = seen.rows[submission.id]
            if row.state != REVOKED or seen.begun[row.id]:
                yield f"{row.id} is {row.state}, and began {len(seen.begun[row.id])} times"


def failures_have_a_cause(seen: Evidence) -> Iterator[str]:
    """Nothing fails but what ran where something died, and what waited for that."""
    for row in seen.rows.values():
        if row.state == FAILURE and not row.preview.startswith(tuple(seen.causes)):
            yield f"{row.id} failed: {row.preview}"
        elif row.preview.startswith(WorkerLostError.__name__) and not _was_claimed(seen, row.id):
            yield f"{row.id} was lost with a worker that never had it"
        elif row.state == FAILURE and row.acks_late and row.lost < MAX_LOST - 1:
            yield f"{row.id} is not to be given up after {row.lost + 1} workers"
        elif row.lost and not set(LOST) <= set(seen.causes):
            yield f"{row.id} counts {row.lost} workers as lost"


def _was_claimed(seen: Evidence, id: str) -> bool:
    """Tell whether a worker had a job, or a job that it waited for, which it then fails with."""
    stem = id.partition(".")[0]
    return any(row.hand for row in seen.rows.values() if row.id.partition(".")[0] == stem)


def children_once(seen: Evidence) -> Iterator[str]:
    """What a job submits while it runs is there once."""
    children = Counter(row.parent_id for row in seen.rows.values() if kind_of(row.id) is None)
    for submission in seen.submissions:
        if submission.kind is Kind.PARENT and submission.id in seen.rows:
            count = children[submission.id]
            succeeded = seen.rows[submission.id].state == SUCCESS
            if count > CHILDREN or (succeeded and count < CHILDREN):
                yield f"{submission.id} has {count} children"


def counters_are_counts(seen: Evidence) -> Iterator[str]:
    """What a row counts is how often it happened."""
    for row in seen.rows.values():
        life = seen.lives[row.id]
        claims = len({move.hand for move in life if move.state == RECEIVED})
        retries = sum(move.state == RETRY for move in life)
        if (row.hand, row.attempt) != (claims, retries + 1):
            yield f"{row.id}: hand {row.hand} of {claims}, attempt {row.attempt} of {retries + 1}"
        if row.state == SUCCESS and row.open:
            yield f"{row.id} ran while it waited for {row.open} others"


def nothing_is_left(seen: Evidence) -> Iterator[str]:
    """No request, key, Variable, Queue or process outlives the jobs."""
    yield from seen.left


CHECKS: Mapping[str, Check] = {
    "submitted = terminal": submitted_is_terminal,
    "one end each": one_terminal_transition,
    "attempts in limits": attempts_within_limits,
    "early acks: once": once_per_attempt,
    "late acks: again if lost": again_only_when_lost,
    "ended, never again": finished_never_again,
    "success has run": success_has_run,
    "told as kept": told_as_kept,
    "dependencies in order": dependencies_in_order,
    "nothing before its ETA": nothing_before_its_time,
    "revoked never begins": revoked_never_begins,
    "failures have a cause": failures_have_a_cause,
    "children once": children_once,
    "counters = count": counters_are_counts,
    "nothing left": nothing_is_left,
}
