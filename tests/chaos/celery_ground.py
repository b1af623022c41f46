"""Celery on Redis, for the same faults: what to compare with."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dask_facade.states import READY_STATES
from tests.benchmarks.processes import ROOT
from tests.chaos.evidence import Move, Row
from tests.chaos.ground import Ground, Scale
from tests.chaos.mix import Kind
from tests.chaos.services import Service, as_ordinary_user, free_port

PROCESSES = (1, 2)  # of each worker


class CeleryGround(Ground):
    """Two workers with their pools, and Redis; with *acks_late* every task has that."""

    submitter_options = ("--forget",)  # whoever waits for a job that is lost waits for ever

    def __init__(self, folder: Path, scale: Scale, *, acks_late: bool) -> None:
        super().__init__(folder, scale)
        self._acks_late = acks_late
        self._redis = f"redis://127.0.0.1:{(port := free_port())}/0"
        files = folder / "redis"
        files.mkdir()
        as_user = as_ordinary_user(files)
        self.server = Service(
            "redis",
            [*as_user, "redis-server", "--port", str(port), "--dir", str(files)],
            {},
            folder,
            ready="Ready to accept connections",
        )
        worker = f"{sys.executable} -m celery -A tests.chaos.celery_words worker --loglevel=INFO"
        self.workers = [
            Service(
                f"worker-{number}",
                [*worker.split(), f"--concurrency={count}", f"--hostname=chaos-{number}@%h"],
                self.environment(),
                folder,
                ready="worker is ready",
            )
            for number, count in enumerate(PROCESSES)
        ]

    def services(self) -> Sequence[Service]:
        """Return what is kept running, in the order in which it is started."""
        return [self.server, *self.workers]

    def environment(self) -> Mapping[str, str]:
        """Return what makes a process one of this ground."""
        return {
            "CHAOS_ACKS": "late" if self._acks_late else "early",
            "CHAOS_FOLDER": str(self.folder),
            "CHAOS_REDIS": self._redis,
            "CHAOS_SYSTEM": "celery",
            "C_FORCE_ROOT": "1",
            "PYTHONPATH": str(ROOT),
        }

    def unended(self) -> int:
        """Return how many jobs have not ended."""
        return sum(row.state not in READY_STATES for row in self.rows().values())

    def rows(self) -> Mapping[str, Row]:
        """Return what the results say, of all jobs whose ids are known."""
        from tests.chaos.celery_words import app_at

        submitted = set(self._lines("submitted"))
        with app_at(self._redis) as app:
            found = {}
            for submission in self.mix():
                if submission.id in submitted:
                    for id in (*submission.earlier, submission.id):
                        found[id] = self._row(id, app.AsyncResult(id), submission.kind)
        return found

    def _row(self, id: str, result: object, kind: Kind) -> Row:
        meta = result._get_task_meta()  # type: ignore[attr-defined]  # one look, not four
        late = self._acks_late or kind is Kind.LATE
        preview = repr(meta["result"])
        return Row(id, meta["status"], 1, 1, 0, 0, late, None, preview, None)

    def moves(self) -> Sequence[Move]:
        """Return nothing: Redis remembers no more than the end."""
        return ()

    def remains(self) -> list[str]:
        """Return nothing: it is not looked at here."""
        return []

    def shut_down(self) -> list[str]:
        """End all in order."""
        for service in (*self.workers, self.server):
            service.stop()
        return []
