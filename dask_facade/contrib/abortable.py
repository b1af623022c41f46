"""Tasks that can be asked to end themselves, where their own code looks for it.

A task made with ``base=AbortableTask`` calls ``self.is_aborted()`` now and then, and returns when
that is true. Who has its result object asks with ``abort()``: the job shows ABORTED until it ends,
also before it has begun.
"""

from __future__ import annotations

from typing import Any

from dask_facade import current
from dask_facade.async_result import AsyncResult
from dask_facade.control import ask
from dask_facade.jobs import ABORT
from dask_facade.states import ABORTED
from dask_facade.task import Task
from dask_facade.waiting import look

__all__ = ["ABORTED", "AbortableAsyncResult", "AbortableTask"]


class AbortableAsyncResult(AsyncResult):
    """The result of a job whose task looks whether it is to end."""

    def abort(self) -> None:
        """Ask the task to end itself. Part of the caller's transaction.

        Nothing comes of it where the job has ended, or where its task never looks.
        """
        ask(self.app, ABORT, [self.id])

    def is_aborted(self) -> bool:
        """Tell whether the job was asked to end, and has not ended otherwise since."""
        if self.state == ABORTED:
            return True
        store = self.app.store
        return not self.ready() and bool(look(store, lambda: store.asked(ABORT, self.id)))


class AbortableTask(Task):
    """A task that can be asked to end itself."""

    abstract = True

    def AsyncResult(self, task_id: str, **celery_options: Any) -> AsyncResult:
        """Return the result object of a job, which can be told to end."""
        return AbortableAsyncResult(task_id, app=self.app, **celery_options)

    def is_aborted(self, *, task_id: str | None = None, **_celery_options: Any) -> bool:
        """Tell whether the job that runs here, or the one of *task_id*, was asked to end.

        Of its own job a worker is told: to look is cheap, and needs no way to the ledger. Of
        another one the ledger is asked.
        """
        job = current.job()
        job_id = task_id or self.request.id
        if job_id is None:
            return False
        result = self.AsyncResult(job_id)
        if not isinstance(result, AbortableAsyncResult):
            return False
        if job.id == job_id and job.channel is not None:
            return job.channel.is_aborted()
        return result.is_aborted()
