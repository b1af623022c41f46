"""Celery's result backend, as far as projects ask it: a look at the ledger, and what goes in."""

from __future__ import annotations

import logging
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any

from dask_facade.control import ask, say
from dask_facade.exceptions import TaskRevokedError
from dask_facade.group_result import from_tree, tree_of
from dask_facade.jobs import END, REVOKE, Job
from dask_facade.reading import message_of
from dask_facade.registry import tasks
from dask_facade.result import AsyncResult, GroupResult, ResultSet
from dask_facade.serialization import dump_exception, dumps, preview, preview_arguments, storable
from dask_facade.states import (
    EXCEPTION_STATES,
    FAILURE,
    PROPAGATE_STATES,
    READY_STATES,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
    UNREADY_STATES,
)
from dask_facade.waiting import look

logger = logging.getLogger(__name__)


class Backend:
    """``app.backend``."""

    READY_STATES = READY_STATES
    UNREADY_STATES = UNREADY_STATES
    EXCEPTION_STATES = EXCEPTION_STATES
    PROPAGATE_STATES = PROPAGATE_STATES

    is_async = True  # who waits is told
    persistent = True
    supports_autoexpire = False
    supports_native_join = True

    def __init__(self, app: Any = None, url: str | None = None, **_celery_options: Any) -> None:
        self._app = app
        self.app = app
        self.url = url

    # What is known of a job

    def get_state(self, task_id: str) -> str:
        """Return the state of a job."""
        state: str = self._meta(task_id)["status"]
        return state

    get_status = get_state

    def get_result(self, task_id: str) -> Any:
        """Return what a task returned, or the exception that it raised; None before its end."""
        return self._meta(task_id)["result"]

    def get_traceback(self, task_id: str) -> str | None:
        """Return the traceback of a task that raised."""
        trace: str | None = self._meta(task_id)["traceback"]
        return trace

    def get_children(self, task_id: str) -> list[Any]:
        """Return what `result_from_tuple` takes for each result that followed from a job."""
        return [child.as_tuple() for child in self._result(task_id).children]

    def get_task_meta(self, task_id: str, cache: bool = True) -> dict[str, Any]:
        """Return what is known of a job, in Celery's form.

        Nothing is known here of how one ended whose result is ignored, though `AsyncResult` tells;
        one that is to be revoked when it comes is REVOKED.
        """
        return {**self._meta(task_id), "children": self.get_children(task_id)}

    def _meta(self, task_id: str) -> dict[str, Any]:
        store = self._app.store
        job = look(store, lambda: store.fetch([task_id])).get(task_id)
        if job is None and look(store, lambda: store.asked(REVOKE, task_id)):
            return {**message_of(Job(task_id, state=REVOKED)), "date_done": None}
        if job is None or _is_hidden(job):
            return message_of(Job(task_id))
        return self._result(task_id)._message()

    def wait_for(
        self, task_id: str, timeout: float | None = None, **celery_options: Any
    ) -> dict[str, Any]:
        """Wait for a job's end, and return what is known of it."""
        self._result(task_id).get(timeout, propagate=False, disable_sync_subtasks=False)
        return self.get_task_meta(task_id)

    def get_many(
        self, task_ids: Iterable[str], timeout: float | None = None, **celery_options: Any
    ) -> Iterator[tuple[str, Any]]:
        """Yield the id and what is known of each job as they end."""
        results = ResultSet([self._result(each) for each in task_ids], self._app)
        yield from results.iter_native(timeout=timeout)

    def is_cached(self, task_id: str) -> bool:
        """Tell that nothing is known here but what a result object keeps."""
        return False

    def reload_task_result(self, task_id: str) -> None:
        """Do nothing: the ledger is looked up each time."""

    def forget(self, task_id: str) -> None:
        """Let the ledger forget a job that has ended."""
        self._result(task_id).forget()

    def _result(self, task_id: str) -> AsyncResult:
        return AsyncResult(task_id, app=self._app)

    # What others than workers write

    def store_result(
        self,
        task_id: str,
        result: Any,
        state: str,
        traceback: Any = None,
        request: Any = None,
        **celery_options: Any,
    ) -> Any:
        """Let a job show *state*, and *result* with it; return *result*.

        A job that nobody knows is written as one that no worker has, and changed until it has
        ended. Another that has not ended, waiting or not, ends with a ready *state* as if a worker
        had said so; with any other it shows that meanwhile. Both are asked of the dispatcher. One
        that has ended stays as it ended.
        """
        store = self._app.store
        job = look(store, lambda: store.fetch([task_id])).get(task_id)
        if job is None or (job.state == RETRY and job.eta is None):
            made = _recorded(task_id, result, state, traceback, request)
            if look(store, lambda: store.record(made)):
                return result
            job = look(store, lambda: store.fetch([task_id]))[task_id]
        if job.ready:
            logger.warning("job %s is %s: it does not become %s", task_id, job.state, state)
        elif state in READY_STATES:
            data, words = _said(result, state)
            ask(
                self._app,
                END,
                [task_id],
                state=state,
                result=b64encode(data).decode(),
                preview=words,
                traceback=_text(traceback),
            )
        else:
            say(self._app, task_id, state, result)
        return result

    def mark_as_started(self, task_id: str, **meta: Any) -> Any:
        """Let a job show that it has begun."""
        return self.store_result(task_id, meta, STARTED)

    def mark_as_done(
        self,
        task_id: str,
        result: Any,
        request: Any = None,
        store_result: bool = True,
        state: str = SUCCESS,
    ) -> None:
        """Let a job end well; see `store_result`."""
        if store_result:
            self.store_result(task_id, result, state, request=request)

    def mark_as_failure(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        call_errbacks: bool = True,
        state: str = FAILURE,
    ) -> None:
        """Let a job fail; see `store_result`."""
        if store_result:
            self.store_result(task_id, exc, state, traceback=traceback, request=request)

    def mark_as_revoked(
        self,
        task_id: str,
        reason: str = "",
        request: Any = None,
        store_result: bool = True,
        state: str = REVOKED,
    ) -> None:
        """Let a job be revoked; see `store_result`."""
        if store_result:
            self.store_result(task_id, TaskRevokedError(reason), state, request=request)

    def mark_as_retry(
        self,
        task_id: str,
        exc: BaseException,
        traceback: Any = None,
        request: Any = None,
        store_result: bool = True,
        state: str = RETRY,
    ) -> Any:
        """Let a job show that it is to be tried again; see `store_result`."""
        return self.store_result(task_id, exc, state, traceback=traceback, request=request)

    # Groups

    def save_group(self, group_id: str, result: Any) -> Any:
        """Keep the shape of a group that was put together by hand."""
        store = self._app.store
        tree = [tree_of(member) for member in result.results]
        look(store, lambda: store.save_group(group_id, tree))
        return result

    def restore_group(self, group_id: str, cache: bool = True) -> GroupResult | None:
        """Return a group, saved or submitted; None where nobody knows it."""
        store = self._app.store
        tree = look(store, lambda: store.saved_group(group_id))
        if tree is None:
            tree = look(store, lambda: store.group(group_id)) or None
        if tree is None:
            return None
        members = [from_tree(each, self._app) for each in tree]
        return GroupResult(group_id, members, app=self._app)

    def delete_group(self, group_id: str) -> None:
        """Forget what `save_group` kept; the jobs stay."""
        store = self._app.store
        look(store, lambda: store.drop_group(group_id))

    def ensure_chords_allowed(self) -> None:
        """They are."""

    def cleanup(self) -> None:
        """Do nothing: the dispatcher prunes what has expired."""


def _is_hidden(job: Job) -> bool:
    """Tell whether Celery would have stored nothing of a job, as its result is ignored."""
    if not job.ignore_result or job.said:
        return False
    task = tasks.known(job.task)
    return job.state not in EXCEPTION_STATES or not getattr(
        task, "store_errors_even_if_ignored", False
    )


def _said(result: Any, state: str) -> tuple[bytes, str]:
    """Return a value or an exception as it is stored, and in words."""
    if state in EXCEPTION_STATES and isinstance(result, BaseException):
        return dump_exception(result), preview(result)
    return dumps(result), preview(result)


def _text(traceback: Any) -> str | None:
    return None if traceback is None else storable(str(traceback))


def _recorded(task_id: str, result: Any, state: str, traceback: Any, request: Any) -> Job:
    """Return the row of a job that nobody runs; one that has not ended waits for nothing."""
    data, words = _said(result, state)
    known = state in READY_STATES or state == RETRY
    said = {} if request is None else vars(request)
    arguments = preview_arguments(said.get("args") or (), said.get("kwargs") or {})
    queue = (said.get("delivery_info") or {}).get("routing_key") or ""
    return Job(
        id=task_id,
        task=said.get("task") or "",
        state=state if known else RETRY,
        attempt=1 + (said.get("retries") or 0),
        queue=queue,
        arguments=arguments,
        result=data if known else None,
        result_preview=words,
        traceback=_text(traceback),
        said="" if known else storable(state),
        meta=None if known else data,
        worker=said.get("hostname") or "",
    )
