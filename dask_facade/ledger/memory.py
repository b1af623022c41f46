"""The ledger in memory: what a database promises, but for outliving the process."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from dask_facade.exceptions import DuplicateTaskId
from dask_facade.jobs import Asked, Job
from dask_facade.ledger.memory_desk import MemoryDesk
from dask_facade.ledger.rows import Tables
from dask_facade.ledger.store import Desk, Lease, Ran
from dask_facade.messages import Edge, NewJob, Shape
from dask_facade.serialization import dump_arguments


class MemoryStore:
    """The ledger of one process, for scripts without Django and for tests."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tables = Tables()

    def submit(
        self, jobs: Sequence[NewJob], edges: Sequence[Edge], after: Callable[[float], None]
    ) -> None:
        """Insert all of it or nothing; *after* is called at once."""
        tables = self._tables
        created = self._clock()
        with tables.lock:
            fresh: set[str] = set()
            for job in jobs:
                if job.id in tables.rows or job.id in fresh:
                    raise DuplicateTaskId(job.id)
                fresh.add(job.id)
            tables.insert(jobs, edges, created)
        after(created)

    def now(self) -> float:
        """Return the time of its clock."""
        return self._clock()

    def record(self, job: Job) -> bool:
        """Insert a job that nobody will run, as it is; tell whether it was written."""
        tables = self._tables
        with tables.lock:
            now = self._clock()
            row = tables.rows.get(job.id)
            if row is None:
                tables.insert([_recorded(job)], (), now)
                tables.untaken.pop(job.id)
                row = tables.rows[job.id]
            elif not row.is_recorded() or (job.ready and tables.children.get(job.id)):
                return False
            row.state, row.attempt, row.worker = job.state, job.attempt, job.worker
            row.result, row.preview, row.traceback = job.result, job.result_preview, job.traceback
            row.said, row.meta = job.said, job.meta
            row.finished = now if job.ready else None
            return True

    def on_commit(self, after: Callable[[], None]) -> None:
        """Call *after* at once: there is no transaction."""
        after()

    def fetch(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the jobs that have these ids; unknown ids are left out."""
        with self._tables.lock:
            rows = self._tables.rows
            return {id: rows[id].as_job() for id in ids if id in rows}

    def fetch_committed(self, ids: Collection[str]) -> dict[str, Job]:
        """Return the same as `fetch`."""
        return self.fetch(ids)

    def why_never(self, ids: Collection[str]) -> str:
        """Return "": there is no transaction."""
        return ""

    def count_states(self, group_id: str) -> dict[str, int]:
        """Return how many jobs of a group are in each state."""
        with self._tables.lock:
            return dict(Counter(self._tables.rows[id].state for id in self.group(group_id)))

    def group(self, group_id: str) -> list[str]:
        """Return the ids of a group's jobs in the order in which they were submitted."""
        with self._tables.lock:
            return list(self._tables.groups.get(group_id, ()))

    def children(self, job_id: str) -> list[tuple[str, str | None]]:
        """Return (id, group id) of the jobs whose parent this is, as they were submitted."""
        with self._tables.lock:
            rows = self._tables.rows
            return [(id, rows[id].job.group_id) for id in self._tables.born.get(job_id, ())]

    def save_group(self, group_id: str, tree: Sequence[object]) -> None:
        """Keep the shape of a group that was put together by hand: ids, and lists of such."""
        self._tables.trees[group_id] = json.dumps(tree)

    def saved_group(self, group_id: str) -> Sequence[object] | None:
        """Return what `save_group` got, or None."""
        tree = self._tables.trees.get(group_id)
        return None if tree is None else list(json.loads(tree))

    def drop_group(self, group_id: str) -> None:
        """Forget what `save_group` got."""
        self._tables.trees.pop(group_id, None)

    def schedules(self) -> dict[str, Ran]:
        """Return what is kept of the entries of the schedule, by name."""
        with self._tables.lock:
            return dict(self._tables.schedules)

    def note_run(self, name: str, last_run: float, runs: int) -> None:
        """Keep when an entry of the schedule ran last; an earlier time than is kept is no news."""
        with self._tables.lock:
            known = self._tables.schedules.get(name)
            if known is None or known.last_run < last_run:
                self._tables.schedules[name] = Ran(last_run, runs)

    def drop_schedules(self, names: Collection[str]) -> None:
        """Forget entries of the schedule."""
        with self._tables.lock:
            for name in names:
                self._tables.schedules.pop(name, None)

    def lease(self) -> Lease | None:
        """Return the lease, or None if no dispatcher ever led."""
        return self._tables.lease

    def request(self, kind: str, names: Sequence[str], arguments: Mapping[str, object]) -> None:
        """Ask the leader for the same of each name."""
        with self._tables.lock:
            for name in names:
                self._tables.ask(Asked(0, kind, name, dict(arguments)))

    def asked(self, kind: str, name: str) -> bool:
        """Tell whether the leader was asked for this, and has not consumed it."""
        with self._tables.lock:
            asked = self._tables.requests.values()
            return any((each.kind, each.name) == (kind, name) for each in asked)

    def disconnect(self) -> None:
        """Nothing is connected."""

    def open_desk(self) -> Desk:
        """Return a desk on the same rows."""
        return MemoryDesk(self._tables, clock=self._clock)


def _recorded(job: Job) -> NewJob:
    """Return what is written of a job first that nobody will run."""
    return NewJob(
        id=job.id,
        task=job.task,
        queue=job.queue,
        priority=job.priority,
        payload=dump_arguments((), {}),
        preview=job.arguments,
        due=None,
        expires=None,
        delay=0.0,
        acks_late=False,
        ignore_result=job.ignore_result,
        graph=False,
        owner=job.owner,
        root_id=job.root_id or job.id,
        parent_id=job.parent_id,
        group_id=job.group_id,
        shape=Shape.NOTHING,
        options=b"",
        errbacks=b"",
    )
