"""Which results of a set are still waited for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dask_facade.jobs import Job
from dask_facade.result_base import Leaf
from dask_facade.states import READY_STATES


class OpenMembers:
    """Which members of a set have jobs that are not known to have ended."""

    def __init__(self, members: Sequence[Any]) -> None:
        self._members = members
        self._open = [0] * len(members)
        self._places: dict[str, list[tuple[Leaf, int]]] = {}
        for place, member in enumerate(members):
            for leaf in member._leaves():
                if not (leaf.ignored or leaf._known_state() in READY_STATES):
                    self._open[place] += 1
                    self._places.setdefault(leaf.id, []).append((leaf, place))
        self.ids = list(self._places)

    def complete(self) -> list[Any]:
        """Return the members that have none."""
        return [
            member for member, count in zip(self._members, self._open, strict=True) if not count
        ]

    def take(self, job: Job) -> list[Any]:
        """Take in the end of a job; return the members that are complete with it."""
        complete = []
        for leaf, place in self._places[job.id]:
            leaf._accept(job)
            self._open[place] -= 1
            if not self._open[place]:
                complete.append(self._members[place])
        return complete

    def failure(self, job: Job, propagate: bool) -> BaseException | None:
        """Return what is to be raised because of the end of a job."""
        return self._places[job.id][0][0]._failure() if propagate else None
