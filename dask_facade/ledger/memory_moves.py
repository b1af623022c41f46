"""How the rows of the ledger in memory move: each move is guarded, and told if it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dask_facade.exceptions import LedgerRefused
from dask_facade.jobs import Claim, Release
from dask_facade.ledger.ends import GOES_ON, SOON
from dask_facade.ledger.rows import Row, Tables
from dask_facade.messages import Outcome
from dask_facade.packing import unpack_again
from dask_facade.states import ABORTED, PENDING, RECEIVED, RETRY, SOURCES, SUCCESS


class Moves:
    """Moves the rows of *tables*. Who uses it holds their lock."""

    def __init__(self, tables: Tables, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tables = tables

    def moving(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Return the outcomes that move their job: the first for each that may."""
        moving: dict[str, Outcome] = {}
        for outcome in outcomes:
            row = self._tables.at(outcome.id, outcome.attempt, outcome.hand)
            if row is not None and row.state in SOURCES[outcome.state]:
                moving.setdefault(outcome.id, outcome)
        return list(moving.values())

    def check_free(self, outcomes: Sequence[Outcome]) -> None:
        """Raise LedgerRefused where a job of those that go on has an id that is taken."""
        seen = set(self._tables.rows)
        for outcome in outcomes:
            if outcome.state in GOES_ON:
                for job in unpack_again(outcome.again).jobs:
                    if job.id in seen:
                        raise LedgerRefused(f"the id {job.id!r} of a new job is taken")
                    seen.add(job.id)

    def end(self, outcomes: Iterable[Outcome]) -> None:
        for outcome in outcomes:
            row = self._tables.rows[outcome.id]
            said, meta = row.said, row.meta
            row.forget_end()
            if outcome.leaves_state:
                row.said, row.meta = said, meta
            elif outcome.state in GOES_ON and said == ABORTED:
                row.said = said
            row.state = outcome.state
            if outcome.state in GOES_ON:
                row.attempt += 1
                row.open = None
                self._tables.untaken[outcome.id] = None
                if outcome.state == PENDING:
                    continue
            else:
                row.finished = outcome.finished
                self._tables.untaken.pop(outcome.id, None)
            row.started, row.traceback = outcome.started, outcome.traceback
            row.key, row.size = outcome.key, outcome.size
            ignored = outcome.state == SUCCESS and row.job.ignore_result
            if not ignored or self._tables.is_taken(outcome.id):
                row.result, row.preview = outcome.result, outcome.preview

    def go_on(self, outcomes: Sequence[Outcome]) -> list[Row]:
        """Write what becomes of jobs that have not ended, and insert what comes beside them.

        Return those of both that may be ready soon.
        """
        now = self._clock()
        near: list[Row] = []
        beside: list[Row] = []
        for outcome in outcomes:
            if outcome.state not in GOES_ON:
                continue
            again = unpack_again(outcome.again)
            row = self._tables.rows[outcome.id]
            row.due = now + again.delay if again.delay or outcome.state == RETRY else None
            row.job = row.job._replace(options=again.options)
            for become in again.becomes:
                row.job = become._replace(
                    id=row.job.id,
                    owner=row.job.owner,
                    root_id=row.job.root_id,
                    parent_id=row.job.parent_id,
                    group_id=row.job.group_id,
                )
                self._tables.take_no_more(outcome.id)
            self._tables.insert(again.jobs, again.edges, now)
            if again.delay <= SOON:
                near.append(row)
            beside += [self._tables.rows[job.id] for job in again.jobs if job.due is None]
        return near + beside

    def release(self, releases: Sequence[Release]) -> list[tuple[str, int]]:
        moved = []
        for release in releases:
            row = self._tables.at(release.id, release.attempt, release.hand)
            if row is not None and row.state in SOURCES[PENDING]:
                row.state = PENDING
                row.lost = release.lost
                row.say_no_more()
                moved.append((release.id, release.hand))
        return moved

    def claim(self, claims: Sequence[Claim]) -> list[tuple[str, int]]:
        moved = []
        for claim in claims:
            row = self._tables.at(claim.id, claim.attempt, claim.hand - 1)
            if row is not None and row.state in SOURCES[RECEIVED]:
                row.state = RECEIVED
                row.hand = claim.hand
                row.open = 0
                row.runner = claim.runner
                row.worker = claim.worker
                self._tables.untaken.pop(claim.id, None)
                moved.append((claim.id, claim.hand))
        return moved

    def leave(self, ids: Iterable[str]) -> None:
        for id in ids:
            row = self._tables.waiting(id)
            if row is not None and row.open == 0:
                row.open = None
                self._tables.untaken[id] = None
