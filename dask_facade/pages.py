"""Pages of jobs, newest first, at a cost that does not grow with the table.

A page begins where another ended, at a position; nothing is counted or skipped.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection
from datetime import datetime
from itertools import chain
from typing import NamedTuple

from django.conf import settings
from django.db.models import Q, QuerySet

from dask_facade.models import Job


class Position(NamedTuple):
    """Where a job stands among all: by its creation, then by its id."""

    created: datetime
    id: str

    @classmethod
    def read(cls, text: str) -> Position:
        """Return the position that *text* says; raise ValueError if it says none."""
        try:
            match json.loads(urlsafe_b64decode(text.encode())):
                case [str(created), str(id)]:
                    found = cls(datetime.fromisoformat(created), id)
                    zoned = found.created.tzinfo is not None
                    if zoned is settings.USE_TZ and "\x00" not in id:
                        return found
        except (ValueError, RecursionError):
            pass
        raise ValueError(f"{text!r} is no position among the jobs")

    def __str__(self) -> str:
        said = json.dumps([self.created.isoformat(), self.id])
        return urlsafe_b64encode(said.encode()).decode()


def position_of(job: Job) -> Position:
    """Return where *job* stands."""
    return Position(job.created, job.id)


def older(
    jobs: QuerySet[Job], states: Collection[str], limit: int, than: Position | None = None
) -> list[Job]:
    """Return the *limit* newest of *jobs* that are in *states* and older than a position."""
    if than is not None:
        behind = Q(created__lt=than.created) | Q(id__lt=than.id)
        jobs = jobs.filter(behind, created__lte=than.created)
    return _first(jobs.order_by("-created", "-id"), states, limit, reverse=True)


def newer(jobs: QuerySet[Job], states: Collection[str], limit: int, than: Position) -> list[Job]:
    """Return the *limit* oldest of *jobs* that are in *states* and newer than a position.

    Newest first, too.
    """
    before = Q(created__gt=than.created) | Q(id__gt=than.id)
    jobs = jobs.filter(before, created__gte=than.created).order_by("created", "id")
    return _first(jobs, states, limit, reverse=False)[::-1]


def _first(jobs: QuerySet[Job], states: Collection[str], limit: int, *, reverse: bool) -> list[Job]:
    """Return the first of ordered jobs.

    One query for each state: the index by state and creation serves it, and one by creation alone
    would have to be written with each change of each job.
    """
    found = chain.from_iterable(jobs.filter(state=state)[:limit] for state in sorted(states))
    key: Callable[[Job], Position] = position_of
    return sorted(found, key=key, reverse=reverse)[:limit]
