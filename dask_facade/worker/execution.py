"""One call, run: from its bytes to its outcome."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from inspect import iscoroutine
from typing import Any

from dask_facade import current, signals
from dask_facade.exceptions import (
    EncodeError,
    Ignore,
    NotRegistered,
    PayloadTooLarge,
    Reject,
    Replaced,
    Retry,
    WorkerLostError,
)
from dask_facade.messages import Again, Call, Outcome
from dask_facade.packing import pack_again
from dask_facade.registry import Runnable
from dask_facade.serialization import NONE, Tupled, as_json, dump_exception, dumps, loads, preview
from dask_facade.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS
from dask_facade.worker import coroutines
from dask_facade.worker import state as work
from dask_facade.worker.arguments import Arguments, Channel, arguments_of
from dask_facade.worker.context import context_of
from dask_facade.worker.endings import (
    Ending,
    ExceptionInfo,
    failed,
    outcome_of,
    trace_of,
    withdrawn,
)

logger = logging.getLogger(__name__)

Limits = tuple[float | None, float | None]
"""Hard and soft, in seconds of the task's own running; None: there is none."""

_NO_OPTIONS: Mapping[str, Any] = {}
_VALUES = frozenset({str, int, float, bool, bytes})
_UNLIMITED: AbstractContextManager[None] = nullcontext()
_NONE = Ending(SUCCESS, NONE, "None")
_WITHOUT_RESULT = Ending(SUCCESS, NONE, "")


@dataclass(slots=True)
class Execution:
    """How calls are run here."""

    find: Callable[[str], Runnable]
    hostname: str
    inline_limit: int  # bytes of a result, up to which it is only told
    store_limit: int  # bytes of a result, up to which it is told
    around: Callable[[], None]  # called before and after each call
    isolate: Callable[[Call, Channel, Limits], Outcome] | None = None  # runs calls elsewhere
    soften: Callable[[Limits], AbstractContextManager[None]] | None = None  # around a task's own

    def run(self, call: Call, channel: Channel) -> Outcome:
        """Run *call* and return how it ended; *channel* is what it has of the world."""
        started, clock = time.time(), time.perf_counter()
        try:
            task = self.find(call.task)
            options = loads(call.options) if call.options else _NO_OPTIONS
            if work.is_revoked(call.id, options):
                _tell_of_revocation(call, task, terminated=False)
                return outcome_of(call, withdrawn(), started, 0.0)
            limits = self._limits(task, options)
            if self.isolate is not None and (
                limits[0] or limits[1] or getattr(task, "isolate", False)
            ):
                outcome = self.isolate(call, channel, limits)
                if outcome.state == REVOKED:
                    _tell_of_revocation(call, task, terminated=True)
                return outcome
            arguments = arguments_of(call, task, channel, options.get("layout"))
            self.around()
            try:
                ending = _Run(self, call, task, options, arguments, channel, limits).end()
            finally:
                self.around()
        except BaseException as error:  # the user's modules and reductions
            logger.exception("job %s (%s) could not be run", call.id, call.task)
            if isinstance(error, NotRegistered):
                signals.task_unknown.send(
                    self.hostname, name=call.task, id=call.id, message=None, exc=error
                )
            ending = failed(_told(error), self.store_limit, trace_of(error))
        return outcome_of(call, ending, started, time.perf_counter() - clock)

    def _limits(self, task: Runnable, options: Mapping[str, Any]) -> Limits:
        return (
            self._option("time_limit", task, options),
            self._option("soft_time_limit", task, options),
        )

    def _option(self, name: str, task: Runnable, options: Mapping[str, Any]) -> Any:
        """Return what the call says, or its task, which knows what the settings say."""
        value = options.get(name)
        return getattr(task, name, None) if value is None else value


@dataclass(slots=True)
class _Run:
    """One run of a task, with its hooks."""

    execution: Execution
    call: Call
    task: Any
    options: Mapping[str, Any]
    arguments: Arguments
    channel: Channel
    limits: Limits

    def end(self) -> Ending:
        """Run the task and return how that ended."""
        request = context_of(
            self.call,
            self.options,
            self.arguments,
            self.channel,
            hostname=self.execution.hostname,
            limits=self.limits,
        )
        following = request.chain
        value: Any = None
        state: str | None = None
        task = self.task
        task.request_stack.push(request)
        try:
            signals.task_received.send(self.execution.hostname, request=request)
            signals.task_prerun.send(task, task_id=self.call.id, task=task, **self._said())
            try:
                try:
                    value = self._called(request)
                    if request.asked is not None:  # though it went on after that
                        raise request.asked
                    ending = self._stored(value)
                except BaseException as error:  # the user's code, SystemExit included
                    value = error
                    ending = self._raised(error)
                else:
                    if following is not None and request.chain is None:
                        ending = ending._replace(cut=True)
                    self._succeeded(value, ending)
                state = ending.state
            finally:
                signals.task_postrun.send(
                    task, task_id=self.call.id, task=task, retval=value, state=state, **self._said()
                )
        finally:
            task.request_stack.pop()
        return ending

    def _called(self, request: current.Context) -> Any:
        args, kwargs = self.arguments
        execution, task = self.execution, self.task
        if not self.call.ignore_result and execution._option("track_started", task, _NO_OPTIONS):
            meta = {"pid": os.getpid(), "hostname": execution.hostname}
            self.channel.update(STARTED, dumps(meta), "")
        with _UNLIMITED if execution.soften is None else execution.soften(self.limits):
            task.before_start(self.call.id, args, kwargs)
            if task.has_own_call:
                value = task(*args, **kwargs)
            else:
                request.entered = True
                value = task.run(*args, **kwargs)
            return coroutines.run(value) if iscoroutine(value) else value

    def _said(self) -> dict[str, Any]:
        return {"args": self.arguments.args, "kwargs": self.arguments.kwargs}

    # What it returned

    def _stored(self, value: Any) -> Ending:
        """Return the end of a run that returned *value*, which is stored or kept as its size says.

        Raises EncodeError, and PayloadTooLarge where it can be neither.
        """
        if value is None:
            return _NONE
        execution, options = self.execution, self.options
        if type(value) not in _VALUES and self._stays(value):
            if self.call.ignore_result and not _is_awaited(options):
                return _WITHOUT_RESULT
            return self._kept_where_it_is(value)
        if isinstance(value, Tupled) and self._tells_of_results():
            value = as_json(value.as_tuple())
        if self.call.ignore_result and not _is_awaited(options):
            return _told_if_small(value, execution.inline_limit)
        if options.get("result_serializer") == "json":
            value = as_json(value)
        on_cluster = options.get("keep") == "cluster"
        data: bytes | None = None
        size = sys.getsizeof(value)
        if size <= execution.store_limit:  # one that surely is larger is not serialised for that
            data = dumps(value)
            size = len(data)
        if data is not None and size <= execution.inline_limit and not on_cluster:
            return Ending(SUCCESS, data, preview(value))
        storable = data is not None and size <= execution.store_limit and not on_cluster
        try:
            key = self.channel.keep(value, data)
        except OSError as error:  # the cluster's scheduler is away
            if not storable:
                what = f"the result of {self.call.task}"
                raise PayloadTooLarge(what, size, execution.store_limit) from error
            logger.warning("the result of %s is not kept on the cluster: %s", self.call.id, error)
            return Ending(SUCCESS, data, preview(value))
        return Ending(SUCCESS, data if storable else None, preview(value), key=key, size=size)

    def _stays(self, value: Any) -> bool:
        """Tell whether *value* is what only leads to something on the cluster."""
        if "distributed" not in sys.modules or getattr(self.channel, "is_eager", False):
            return False
        from dask_facade.cluster.remote import is_remote

        return is_remote(value)

    def _kept_where_it_is(self, value: Any) -> Ending:
        from dask_facade.cluster.remote import await_arrival

        await_arrival(value)
        return Ending(SUCCESS, None, preview(value), key=self.channel.keep(value, None))

    def _succeeded(self, value: Any, ending: Ending) -> None:
        call, (args, kwargs) = self.call, self.arguments
        self._hook("on_success", value, call.id, args, kwargs)
        signals.task_success.send(self.task, result=value)
        if logger.isEnabledFor(logging.INFO):
            logger.info("Task %s[%s] succeeded: %s", call.task, call.id, ending.preview)
        self._hook("after_return", SUCCESS, value, call.id, args, kwargs, None)

    def _tells_of_results(self) -> bool:
        """Tell whether a result object that is returned is stored as its ids, as Celery does."""
        is_eager = getattr(self.channel, "is_eager", False)
        return not is_eager and self.options.get("result_serializer") != "pickle"

    # What it raised

    def _raised(self, error: BaseException) -> Ending:
        call = self.call
        match error:
            case Replaced(again=Again() as again):
                return Ending(PENDING, None, "", again=pack_again(again))
            case Retry(again=Again() as again):
                return self._tried_again(error, again)
            case Retry():
                return self._tried_as_said(error)
            case Reject(requeue=True):
                logger.warning("Task %s[%s] rejected: %s", call.task, call.id, preview(error))
                return self._requeued()
            case Reject():
                logger.warning("Task %s[%s] rejected: %s", call.task, call.id, preview(error))
                return failed(error, self.execution.store_limit, trace_of(error))
            case Ignore():
                logger.info("Task %s[%s] ignored", call.task, call.id)
                return Ending(SUCCESS, None, "", cut=True)
            case Exception():
                return self._failed(error)
        logger.error("Task %s[%s] raised %s", call.task, call.id, preview(error), exc_info=error)
        return failed(_told(error), self.execution.store_limit, trace_of(error))

    def _tried_again(self, retry: Retry, again: Again) -> Ending:
        call, (args, kwargs) = self.call, self.arguments
        reason = retry if retry.exc is None else retry.exc
        shown = ExceptionInfo(retry)
        self._hook("on_retry", retry.exc, call.id, args, kwargs, shown)
        signals.task_retry.send(self.task, request=current.request(), reason=retry, einfo=shown)
        logger.info("Task %s[%s] retry: %s", call.task, call.id, preview(retry))
        return Ending(
            RETRY,
            dump_exception(reason, limit=self.execution.store_limit),
            preview(reason),
            shown.traceback,
            again=pack_again(again),
        )

    def _tried_as_said(self, retry: Retry) -> Ending:
        """Return the end of a run that raised a Retry of its own: as if it had asked for one."""
        when = retry.when
        own = {} if when is None else {"eta" if isinstance(when, datetime) else "countdown": when}
        try:
            asked = self.task.retry(exc=retry.exc, throw=False, **own)
        except Exception as error:  # what it raises when retries are used up, which is the user's
            return self._failed(error)
        return self._tried_again(retry, asked.again)

    def _requeued(self) -> Ending:
        """Return the end of a run after which the call is handed out anew, as if for the first."""
        options = dumps({**self.options, "requeued": True})
        return Ending(PENDING, None, "", again=pack_again(Again(0.0, options, (), (), ())))

    def _failed(self, error: Exception) -> Ending:
        call, (args, kwargs) = self.call, self.arguments
        shown = ExceptionInfo(error)
        ending = failed(error, self.execution.store_limit, shown.traceback)
        self._hook("on_failure", error, call.id, args, kwargs, shown)
        signals.task_failure.send(
            self.task,
            task_id=call.id,
            exception=error,
            traceback=error.__traceback__,
            einfo=shown,
            **self._said(),
        )
        if isinstance(error, tuple(getattr(self.task, "throws", None) or ())):
            logger.info("Task %s[%s] raised expected: %s", call.task, call.id, ending.preview)
        else:
            words = "Task %s[%s] raised unexpected: %s"
            logger.error(words, call.task, call.id, ending.preview, exc_info=error)
        self._hook("after_return", FAILURE, error, call.id, args, kwargs, shown)
        return ending

    def _hook(self, name: str, *words: Any) -> None:
        """Call a hook of the task. What it raises is logged: how the run ended is settled."""
        try:
            getattr(self.task, name)(*words)
        except Exception:  # a hook is the user's code
            logger.exception("%s of task %s[%s] raised", name, self.call.task, self.call.id)


def _tell_of_revocation(call: Call, task: Any, *, terminated: bool) -> None:
    signals.task_revoked.send(
        task,
        request=current.Context(id=call.id, task=call.task, root_id=call.root_id),
        terminated=terminated,
        signum=signal.SIGKILL if terminated else None,
        expired=False,
    )


def _is_awaited(options: Mapping[str, Any]) -> bool:
    """Tell whether the call has dependants that its submitter knew of."""
    return any(name in options for name in ("chain", "link", "chord"))


def _told_if_small(value: Any, limit: int) -> Ending:
    """Return the end of a run whose result is ignored, unless a job was made later that takes it.

    It may be what nobody can store.
    """
    try:
        data = dumps(value)
    except EncodeError:
        return _WITHOUT_RESULT
    return Ending(SUCCESS, data, "") if len(data) <= limit else _WITHOUT_RESULT


def _told(error: BaseException) -> Exception:
    """Return what stands for *error*: one that ends processes must not end who reads the result."""
    if isinstance(error, Exception):
        return error
    return WorkerLostError(f"the task raised {preview(error)}, which ends a worker")
