"""What follows from what a leader writes into the ledger in memory, as `consequences` has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from dask_facade.ledger.ends import errbacks_of, failure_of
from dask_facade.ledger.memory_moves import Moves
from dask_facade.ledger.rows import Row, Tables
from dask_facade.messages import Call, Outcome
from dask_facade.states import FAILURE, PROPAGATE_STATES, READY_STATES, SUCCESS


class MemoryConsequences:
    """What follows from one write, made as it is told. Who uses it holds the lock of *tables*."""

    def __init__(self, tables: Tables, moves: Moves, clock: Callable[[], float]) -> None:
        self.failed: list[Outcome] = []
        self.ready: list[Call] = []
        self._clock = clock
        self._moves = moves
        self._tables = tables

    def follow(self, ended: Sequence[Outcome]) -> None:
        """Lower the counts of those that wait for *ended*, or let them fail."""
        reasons: dict[str, Outcome] = {}
        lower: Counter[str] = Counter()
        for child_id, parent in self._children(ended):
            if parent.state == SUCCESS and not parent.cut:
                lower[child_id] += 1
            else:
                reasons.setdefault(child_id, parent)
        self._call_back(ended, inherited=False)
        self._fail(reasons)
        unknown: list[Row] = []
        free: list[Row] = []
        for child_id, count in lower.items():
            row = self._tables.waiting(child_id)
            if row is None:
                continue
            if row.open is None:
                if row.due is None:  # one with an eta is counted when that is near
                    unknown.append(row)
            elif row.open > 0:
                row.open = max(row.open - count, 0)
                if not row.open:
                    free.append(row)
        self._free(free)
        self.count_afresh(unknown)

    def _children(self, ended: Iterable[Outcome]) -> list[tuple[str, Outcome]]:
        return [
            (edge.child_id, outcome)
            for outcome in ended
            if outcome.state in READY_STATES
            for edge in self._tables.children.get(outcome.id, ())
        ]

    def _fail(self, reasons: Mapping[str, Outcome]) -> None:
        """Let the waiting jobs of *reasons* fail, then those that wait for them, and so on."""
        while reasons:
            now = self._clock()
            wave = [
                failure_of(
                    id, parent, attempt=row.attempt, hand=row.hand, shape=row.job.shape, now=now
                )
                for id, parent in reasons.items()
                if (row := self._tables.waiting(id)) is not None
            ]
            self._moves.end(wave)
            self.failed += wave
            self._call_back(wave, inherited=True)
            reasons = {}
            for child_id, parent in self._children(wave):
                reasons.setdefault(child_id, parent)

    def _call_back(self, ended: Iterable[Outcome], *, inherited: bool) -> None:
        """Insert the error callbacks of those that failed."""
        now = self._clock()
        fresh: list[Row] = []
        for outcome in ended:
            if outcome.state == FAILURE:
                errbacks = self._tables.rows[outcome.id].job.errbacks
                for job in errbacks_of(outcome.id, errbacks, inherited=inherited):
                    if job.id not in self._tables.rows:
                        self._tables.insert([job], (), now)
                        fresh.append(self._tables.rows[job.id])
        self.count_afresh([row for row in fresh if row.due is None])

    def count_afresh(self, rows: Sequence[Row]) -> None:
        """Count what each of *rows* waits for; let those fail that wait in vain."""
        reasons: dict[str, Outcome] = {}
        for row in rows:
            row.open = 0
            self._tables.untaken.pop(row.job.id, None)
            for edge in self._tables.edges_to(row.job.id):
                parent = self._tables.rows.get(edge.parent_id)
                row.open += parent is None or parent.state != SUCCESS
                if parent is not None and parent.state in PROPAGATE_STATES:
                    reasons.setdefault(row.job.id, parent.as_end())
        self._fail(reasons)
        self._free([row for row in rows if not row.open])

    def _free(self, rows: Sequence[Row]) -> None:
        """Tell of jobs that wait for nothing else; their delay begins."""
        now = self._clock()
        for row in rows:
            if row.delay:
                row.due, row.delay = now + row.delay, 0.0
            self.ready.append(self._tables.call(row))
