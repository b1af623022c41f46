"""The result of a call that ran in the process that made it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dask_facade.async_result import AsyncResult
from dask_facade.exceptions import TaskRevokedError
from dask_facade.jobs import Job
from dask_facade.states import PROPAGATE_STATES, READY_STATES, REVOKED
from dask_facade.waiting import assert_will_not_block


class EagerResult(AsyncResult, ours=True):
    """The result of a call that ran where it was made."""

    def __init__(
        self,
        id: str,
        ret_value: Any,
        state: str,
        traceback: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(id)
        self._final = Job(id, task=name or "", state=state, traceback=traceback)
        self._returned = ret_value

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.id, self._returned, self.state, self.traceback, self.name)

    @property
    def state(self) -> str:
        """The state in which the call left it."""
        return self._job().state

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, or the exception that it raised."""
        return self._returned

    info = result

    @property
    def children(self) -> list[Any]:
        """None: what it submitted ran within it."""
        return []

    def ready(self) -> bool:
        """It is."""
        return True

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        disable_sync_subtasks: bool = True,
        **_celery_options: Any,
    ) -> Any:
        """Return what the task returned, or raise what it raised (without *propagate*: return it).

        None where it neither ended well nor failed.
        """
        if disable_sync_subtasks:
            assert_will_not_block()
        if propagate and self.state in PROPAGATE_STATES:
            raise self._error(self._job())
        return self._returned if self.state in READY_STATES else None

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, **options: Any
    ) -> Any:
        """Return what `get` does."""
        return self.get(timeout, propagate, **options)

    def forget(self) -> None:
        """Nothing keeps it."""

    def revoke(self, **_celery_options: Any) -> None:
        """Call it revoked, though nothing is undone."""
        self._final = replace(self._job(), state=REVOKED, traceback=None)
        self._returned = TaskRevokedError("revoked")

    def _let_go(self) -> None:
        """Nothing keeps it."""

    def _value(self, job: Job) -> Any:
        return self._returned

    def _error(self, job: Job) -> BaseException:
        raised = self._returned
        return raised if isinstance(raised, BaseException) else Exception(raised)
