"""What is asked of the leading dispatcher, under Celery's names."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dask_facade.jobs import PAUSE, RESUME, REVOKE
from dask_facade.loops import outside


def ask(app: Any, kind: str, ids: Iterable[str], **arguments: object) -> None:
    """Ask the leading dispatcher for something, as part of the caller's transaction."""
    store, client = app.store, app.client

    def write() -> None:
        for id in ids:
            store.request(kind, id, arguments)
        store.on_commit(client.nudge)

    outside(write, store.disconnect)


class Control:
    """``app.control``."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def revoke(
        self, task_id: str | Iterable[str], terminate: bool = False, **_celery_options: Any
    ) -> None:
        """Ask that jobs never run; with *terminate* also that calls are ended which run already.

        Part of the caller's transaction. An id that no job has yet is kept in mind for a day.
        Celery's *signal*, *destination* and the like are accepted, and mean nothing here.
        """
        ids = [task_id] if isinstance(task_id, str) else list(task_id)
        ask(self._app, REVOKE, map(str, ids), terminate=terminate)

    def terminate(self, task_id: str | Iterable[str], **_celery_options: Any) -> None:
        """Ask that jobs never run, and that those which run are ended."""
        self.revoke(task_id, terminate=True)

    def pause_queue(self, queue: str) -> None:
        """Ask that nothing more of *queue* begins, until `resume_queue`; restarts change nothing.

        Part of the caller's transaction, as `revoke`.
        """
        ask(self._app, PAUSE, [queue])

    def resume_queue(self, queue: str) -> None:
        """Ask that the calls of *queue* begin again."""
        ask(self._app, RESUME, [queue])
