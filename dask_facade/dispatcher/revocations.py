"""``task_revoked`` for jobs that no worker hears of: the leader ended them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Mapping, Sequence

from dask_facade import current, signals
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.exceptions import TaskRevokedError
from dask_facade.jobs import Job
from dask_facade.messages import Outcome
from dask_facade.registry import tasks
from dask_facade.serialization import preview
from dask_facade.states import REVOKED
from dask_facade.verdicts import EXPIRED, TERMINATED

_WORDS = {preview(TaskRevokedError(reason)): reason for reason in (EXPIRED, TERMINATED)}


def untold(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return why jobs were revoked of which no worker has told, as far as anybody listens."""
    if not signals.task_revoked.receivers:
        return {}
    return {
        each.id: _WORDS.get(each.preview, "")
        for each in outcomes
        if each.state == REVOKED and each.started is None
    }


async def tell(reader: LedgerReader, reasons: Mapping[str, str]) -> None:
    """Send the signal for jobs, in a thread that nobody waits for: receivers are the user's."""
    jobs = await reader.jobs(list(reasons))

    def send() -> None:
        try:
            for job in jobs:
                _send(job, reasons[job.id])
        finally:
            reader.leave()

    threading.Thread(target=send, name="dask-facade-revocations", daemon=True).start()


def _send(job: Job, reason: str) -> None:
    terminated = reason == TERMINATED
    signals.task_revoked.send(
        tasks.known(job.task),
        request=current.Context(
            id=job.id,
            task=job.task,
            root_id=job.root_id,
            parent_id=job.parent_id,
            group=job.group_id,
        ),
        terminated=terminated,
        signum=signal.SIGKILL if terminated else None,
        expired=reason == EXPIRED,
    )
