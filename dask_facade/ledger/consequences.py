"""What follows from what a leader writes: who is ready with it, who fails, who is called back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dask_facade.exceptions import LedgerRefused
from dask_facade.ledger.calls import ATTEMPT, DELAY, ETA, HAND, ID, OPEN, SHAPE, calls_of_rows
from dask_facade.ledger.ends import GOES_ON, SOON, errbacks_of, failure_of
from dask_facade.ledger.session import Session
from dask_facade.messages import Call, Edge, NewJob, Outcome
from dask_facade.packing import unpack_again
from dask_facade.serialization import NONE
from dask_facade.states import FAILURE, PROPAGATE_STATES, READY_STATES, SUCCESS


class Consequences:
    """What follows, written in the transaction that *session* is in, and told by it."""

    def __init__(self, session: Session) -> None:
        self.failed: list[Outcome] = []
        self.ready: list[Call] = []
        self._said = session.statements
        self._session = session

    def follow(self, outcomes: Sequence[Outcome]) -> None:
        """Write what follows from outcomes that moved their jobs."""
        near: list[str] = []
        if any(outcome.state in GOES_ON for outcome in outcomes):
            near = self._go_on([each for each in outcomes if each.state in GOES_ON])
        self._free_or_fail(outcomes)
        if near:
            self.count_afresh([row for row in self._waiting(near) if row[OPEN] is None])

    def count_afresh(self, rows: Sequence[Any]) -> None:
        """Count what each of *rows* waits for; let those fail that wait in vain."""
        if not rows:
            return
        session = self._session
        open = {row[ID]: 0 for row in rows}
        lost: dict[str, str] = {}  # child -> the first parent that did not succeed
        ids = session.among(list(open))
        for child_id, parent_id, state in session.rows(self._said.edges_to, ids):
            open[child_id] += state != SUCCESS
            if state in PROPAGATE_STATES:
                lost.setdefault(child_id, parent_id)
        if lost:
            parents = self._ends(set(lost.values()))
            self._fail({id: parents[lost[id]] for id in open if id in lost})
        session.set_open([(count, id) for id, count in open.items() if id not in lost])
        self._free([row for row in rows if not open[row[ID]]])

    def _go_on(self, outcomes: Sequence[Outcome]) -> list[str]:
        """Write what becomes of jobs that have not ended, and insert what comes beside them.

        Return the ids of those of both that may be ready soon.
        """
        session = self._session
        near: list[str] = []
        jobs: list[NewJob] = []
        edges: list[Edge] = []
        others: list[str] = []  # that became another job
        for outcome in outcomes:
            again = unpack_again(outcome.again)
            for job in again.becomes:
                self._become(outcome.id, job)
                others.append(outcome.id)
            jobs += again.jobs
            edges += again.edges
            if again.delay <= SOON:
                near.append(outcome.id)
        if others:
            session.change(self._said.take_no_more, session.among(others))
        if jobs or edges:
            _, free = session.insert(jobs, edges)
            if len(free) < len(jobs):
                taken = [job.id for job in jobs if job.id not in free] or ["used twice"]
                raise LedgerRefused(f"the id {taken[0]!r} of a new job is taken")
        return near + [job.id for job in jobs if job.due is None]

    def _become(self, id: str, job: NewJob) -> None:
        self._session.change(
            self._said.become,
            *(job.task, job.queue, job.priority, job.payload, job.preview),
            self._session.moment(job.expires),
            *(job.acks_late, job.ignore_result, job.graph, job.shape, job.options, job.errbacks),
            id,
        )

    def _free_or_fail(self, outcomes: Sequence[Outcome]) -> None:
        """Lower the counts of those that wait for *outcomes*, or let them fail."""
        reasons: dict[str, Outcome] = {}
        lower: Counter[str] = Counter()
        inputs: dict[str, bytes] = {}
        for child_id, parent, takes_result in self._children(outcomes):
            if parent.state != SUCCESS or parent.cut:
                reasons.setdefault(child_id, parent)
                continue
            lower[child_id] += 1
            if takes_result and not parent.key:
                inputs[child_id] = NONE if parent.result is None else parent.result
        self._call_back(outcomes, inherited=False)
        self._fail(reasons)
        if lower:
            self._lower(lower, inputs)

    def _children(self, outcomes: Sequence[Outcome]) -> list[tuple[str, Outcome, bool]]:
        """Return (child id, outcome of its parent, whether it takes the result) for each edge."""
        ended = [outcome for outcome in outcomes if outcome.state in READY_STATES]
        if not ended:
            return []
        ids = self._session.among([outcome.id for outcome in ended])
        children: dict[str, list[tuple[str, bool]]] = {}
        for parent_id, child_id, takes_result in self._session.rows(self._said.edges_from, ids):
            children.setdefault(parent_id, []).append((child_id, takes_result))
        if not children:
            return []
        return [
            (child_id, outcome, takes_result)
            for outcome in ended
            for child_id, takes_result in children.get(outcome.id, ())
        ]

    def _fail(self, reasons: Mapping[str, Outcome]) -> None:
        """Let the waiting jobs of *reasons* fail, then those that wait for them, and so on."""
        while reasons:
            now = self._session.now()
            rows = {row[ID]: row for row in self._waiting(list(reasons))}
            wave = [
                failure_of(
                    id,
                    parent,
                    attempt=rows[id][ATTEMPT],
                    hand=rows[id][HAND],
                    shape=rows[id][SHAPE],
                    now=now,
                )
                for id, parent in reasons.items()
                if id in rows
            ]
            ended = self._session.end(wave)
            self.failed += ended
            self._call_back(ended, inherited=True)
            reasons = {}
            for child_id, parent, _ in self._children(ended):
                reasons.setdefault(child_id, parent)

    def _call_back(self, ended: Sequence[Outcome], *, inherited: bool) -> None:
        """Insert the error callbacks of those that failed."""
        session = self._session
        failed = [outcome.id for outcome in ended if outcome.state == FAILURE]
        if not failed:
            return
        jobs: dict[str, NewJob] = {}
        errbacks = dict(session.rows(self._said.errbacks, session.among(failed)))
        for id in failed:
            for job in errbacks_of(id, errbacks.get(id, b""), inherited=inherited):
                jobs.setdefault(job.id, job)
        if jobs:
            _, free = session.insert(list(jobs.values()), ())
            fresh = [id for id, job in jobs.items() if id in free and job.due is None]
            self.count_afresh(self._waiting(fresh))

    def _lower(self, lower: Mapping[str, int], inputs: Mapping[str, bytes]) -> None:
        """Take what has ended from the counts of waiting jobs; count those never counted."""
        rows = self._session.lower(lower)
        self._free([row for row in rows if not row[OPEN]], inputs)
        counted = {row[ID] for row in rows}
        if len(counted) < len(lower):
            others = [id for id in lower if id not in counted]
            waiting = {row[ID]: row for row in self._waiting(others)}
            # One with an eta is counted when that is near.
            self.count_afresh(
                [
                    waiting[id]
                    for id in others
                    if id in waiting and waiting[id][OPEN] is None and waiting[id][ETA] is None
                ]
            )

    def _free(self, rows: Sequence[Any], inputs: Mapping[str, bytes] | None = None) -> None:
        """Tell of jobs that wait for nothing else; their delay begins."""
        delays = {row[ID]: row[DELAY] for row in rows if row[DELAY]}
        calls = calls_of_rows(self._session, rows, inputs)
        if delays:
            due = self._session.begin_delays(delays)
            calls = [call._replace(due=due.get(call.id, call.due)) for call in calls]
        self.ready += calls

    def _waiting(self, ids: Sequence[str]) -> list[Any]:
        """Return the rows of those that wait, in the order of *ids*."""
        if not ids:
            return []
        found = self._session.rows(self._said.waiting, self._session.among(ids))
        rows = {row[ID]: row for row in found}
        return [rows[id] for id in ids if id in rows]

    def _ends(self, ids: set[str]) -> dict[str, Outcome]:
        """Return how jobs ended, as far as their dependants are told."""
        rows = self._session.rows(self._said.ends, self._session.among(ids))
        return {
            id: Outcome(id, 0, 0, "", result, preview, traceback, None, 0.0, 0.0)
            for id, result, preview, traceback in rows
        }
