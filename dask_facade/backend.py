"""Celery's result backend, as far as projects ask it: a look at the ledger."""

from __future__ import annotations

from typing import Any

from dask_facade.result import AsyncResult


class Backend:
    """``app.backend``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def get_state(self, task_id: str) -> str:
        """Return the state of a job."""
        return AsyncResult(task_id, app=self._app).state

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """Return what a task returned, or the exception that it raised; None before its end."""
        return AsyncResult(task_id, app=self._app).result

    def get_traceback(self, task_id: str) -> str | None:
        """Return the traceback of a task that raised."""
        return AsyncResult(task_id, app=self._app).traceback

    def get_task_meta(self, task_id: str) -> dict[str, Any]:
        """Return what is known of a job, in Celery's form."""
        result = AsyncResult(task_id, app=self._app)
        return {
            "task_id": task_id,
            "status": result.state,
            "result": result.result,
            "traceback": result.traceback,
            "date_done": result.date_done,
            "children": [],
        }

    def ensure_chords_allowed(self) -> None:
        """They are."""

    def cleanup(self) -> None:
        """Do nothing: the dispatcher prunes what has expired."""
