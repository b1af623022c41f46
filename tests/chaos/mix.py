"""The jobs of a round: drawn with a seed, so that a round can be run again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

STEPS = 3  # of a chain
HEADERS = 5  # of a chord
CHILDREN = 2  # that a parent submits while it runs
RETRIES = 2  # after which a job that is tried again succeeds
RETRY_DELAY = 0.3  # seconds
MAX_RETRIES = 3
RELEASED = "released"  # the file that says that another release of the tasks is deployed
ETA = 2.0  # seconds after its submission
REVOKED_ETA = 3.0  # of jobs that are revoked at once


class Kind(StrEnum):
    """What a submission is."""

    PLAIN = "plain"
    LATE = "late"  # acks_late
    ETA = "eta"
    REVOKED = "revoked"
    RETRY = "retry"
    CHAIN = "chain"
    CHORD = "chord"
    PARENT = "parent"


@dataclass(frozen=True, slots=True)
class Submission:
    """One call of the submitter; its ids are known before it is made."""

    kind: Kind
    number: int

    @property
    def id(self) -> str:
        """The id of the job that ends it: the last step, the body."""
        return f"{self.kind}-{self.number}"

    @property
    def earlier(self) -> Sequence[str]:
        """The ids of the jobs that this one waits for: steps in their order, headers."""
        count = {Kind.CHAIN: STEPS - 1, Kind.CHORD: HEADERS}.get(self.kind, 0)
        return [f"{self.id}.{place}" for place in range(count)]

    @property
    def size(self) -> int:
        """How many jobs come of it."""
        children = CHILDREN if self.kind is Kind.PARENT else 0
        return 1 + len(self.earlier) + children

    @property
    def value(self) -> int | None:
        """What it returns when all goes well; None: nothing, it is revoked."""
        match self.kind:
            case Kind.REVOKED:
                return None
            case Kind.CHAIN:
                return self.number + STEPS
            case Kind.CHORD:
                return sum(self.number + place for place in range(HEADERS))
            case Kind.RETRY:
                return RETRIES
            case _:
                return self.number


DECK = (
    *(Kind.PLAIN,) * 20,
    *(Kind.LATE,) * 6,
    *(Kind.RETRY,) * 4,
    *(Kind.CHAIN, Kind.CHORD, Kind.ETA, Kind.PARENT) * 3,
    *(Kind.REVOKED,) * 2,
)
"""How often each kind comes in 71 jobs."""


def kind_of(id: str) -> Kind | None:
    """Return the kind of submission that a job belongs to; None for a parent's child."""
    kind, _, rest = id.partition("-")
    known = kind in {each.value for each in Kind} and rest.replace(".", "").isdigit()
    return Kind(kind) if known else None


def draw(seed: int, jobs: int) -> list[Submission]:
    """Return submissions of *jobs* jobs in all, shuffled deck by deck."""
    chance = random.Random(seed)
    drawn: list[Submission] = []
    left = jobs
    while left > 0:
        for kind in chance.sample(DECK, len(DECK)):
            submission = Submission(kind, len(drawn))
            if submission.size > left:
                submission = Submission(Kind.PLAIN, len(drawn))
            if left > 0:
                drawn.append(submission)
                left -= submission.size
    return drawn
