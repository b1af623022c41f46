"""A process that submits jobs, as a web process does, and then waits for them.

``python -m tests.chaos.submitter SEED JOBS PART PARTS SECONDS``: the PART-th, from 0, of PARTS
of the mix, in SECONDS. With --when NAME it waits for a file of that name; with --die it kills
itself right after the last of them is committed.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos import mix
from tests.chaos.mix import Kind, Submission
from tests.chaos.system import AWAY, TAKEN, chain, chord, result_of, set_up, start_anew
from tests.chaos.traps import die

BUNCH = 6  # submissions that come at once: enough for all workers to get some
AGAIN_AFTER = 0.2  # seconds until what failed is tried again
LOOK_EVERY = 0.01
PATIENCE = 300.0  # seconds for the ledger to come back, and for a job to end

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Submit and wait; return the exit status."""
    given = _parse(arguments)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    set_up()
    folder = Path(os.environ["CHAOS_FOLDER"])
    print("submits", flush=True)
    submissions = part_of(mix.draw(given.seed, given.jobs), given.part, given.parts)
    pace = given.seconds / max(len(submissions), 1)
    while given.when and not (folder / given.when).exists():
        time.sleep(LOOK_EVERY)
    with (folder / "submitted").open("a", buffering=1) as submitted:
        for place, submission in enumerate(submissions, 1):
            _submit_surely(submission)
            if given.die and submission is submissions[-1]:
                die()
            submitted.write(f"{submission.id}\n")
            if place % BUNCH == 0:
                time.sleep(BUNCH * pace)
    print("all is submitted", flush=True)
    if given.forget:
        return 0
    with (folder / "got").open("a", buffering=1) as got:
        for submission in submissions:
            got.write(json.dumps([submission.id, _patiently(lambda s=submission: _get(s))]) + "\n")
    print("all is over", flush=True)
    return 0


def part_of(submissions: Sequence[Submission], part: int, parts: int) -> Sequence[Submission]:
    """Return one of *parts* parts, counted from 0."""
    start, stop = (len(submissions) * each // parts for each in (part, part + 1))
    return submissions[start:stop]


def submit(submission: Submission) -> None:
    """Call the task, or compose the tasks, that *submission* says."""
    from tests.chaos import tasks  # there is an app by now

    id, number = submission.id, submission.number
    match submission.kind:
        case Kind.PLAIN:
            tasks.plain.apply_async((number,), task_id=id)
        case Kind.LATE:
            tasks.late.apply_async((number,), task_id=id)
        case Kind.ETA:
            tasks.due.apply_async((number,), task_id=id, countdown=mix.ETA)
        case Kind.REVOKED:
            tasks.plain.apply_async((number,), task_id=id, countdown=mix.REVOKED_ETA)
        case Kind.RETRY:
            tasks.tried_again.apply_async(task_id=id)
        case Kind.PARENT:
            tasks.parent.apply_async((number,), task_id=id)
        case Kind.CHAIN:
            first, *others = (
                tasks.step.s().set(task_id=each) for each in (*submission.earlier, id)
            )
            chain(first.clone((number,)), *others).apply_async()
        case Kind.CHORD:
            headers = [
                tasks.plain.s(number + place).set(task_id=each)
                for place, each in enumerate(submission.earlier)
            ]
            chord(headers)(tasks.total.s().set(task_id=id))


def _submit_surely(submission: Submission) -> None:
    try:
        _patiently(lambda: submit(submission))
    except TAKEN:
        logger.info("%s had been committed", submission.id)
    if submission.kind is Kind.REVOKED:
        _patiently(result_of(submission.id).revoke)


def _get(submission: Submission) -> Any:
    """Wait for a job; return [what it returned], or the name of the exception that ended it."""
    value = result_of(submission.id).get(timeout=PATIENCE, propagate=False)
    return type(value).__name__ if isinstance(value, BaseException) else [value]


def _patiently(action: Callable[[], Any]) -> Any:
    """Do *action*, again while the ledger is away, as whoever submits would."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return action()
        except AWAY as error:
            if time.monotonic() > deadline:
                raise
            logger.info("again, after %s", error)
            start_anew()
            time.sleep(AGAIN_AFTER)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("seed", "jobs", "part", "parts"):
        parser.add_argument(name, type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--die", action="store_true")
    parser.add_argument("--forget", action="store_true", help="wait for nothing")
    parser.add_argument("--when", default="", metavar="NAME")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
