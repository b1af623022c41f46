"""What this package raises. Names that Celery's users catch keep Celery's spelling."""

from __future__ import annotations

import builtins
from datetime import datetime
from types import TracebackType
from typing import Any, NoReturn

from dask_facade import foreign


class DaskFacadeError(Exception):
    """The root of every error of this package."""


CeleryError = DaskFacadeError


class ImproperlyConfigured(DaskFacadeError):
    """A setting is missing or wrong."""


class NotRegistered(DaskFacadeError, KeyError):
    """No task of this name is known here."""

    def __init__(self, name: str, reason: str = "") -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        because = f": {self.reason}" if self.reason else ""
        return (
            f"no task is registered as {self.name!r}{because} "
            "(is its module imported by autodiscover_tasks(), and its name spelled so?)"
        )


class EncodeError(DaskFacadeError, TypeError, foreign.EncodeError):
    """A value can be said neither in JSON nor by cloudpickle."""


class DecodeError(DaskFacadeError, ValueError, foreign.DecodeError):
    """Stored bytes cannot be read back here."""


class PayloadTooLarge(DaskFacadeError, ValueError):
    """Arguments or a result are larger than the ledger takes."""

    def __init__(self, what: str, size: int, limit: int) -> None:
        super().__init__(what, size, limit)
        self.what = what
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"{self.what} takes {self.size:,} bytes, more than the {self.limit:,} that are stored: "
            "pass a reference (a path, a key) instead"
        )


class DuplicateTaskId(DaskFacadeError, ValueError):
    """Another job has this id already."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"a job with the id {self.job_id!r} was submitted before: give each its own task_id"


class JobNotFound(DaskFacadeError, LookupError):
    """No job has this id: it was never submitted, or it has been pruned."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"no job {self.job_id!r}: never submitted, or pruned"


class InvalidTaskId(DaskFacadeError, ValueError):
    """An id that is no string of 1 to 255 characters."""


class TimeoutError(DaskFacadeError, builtins.TimeoutError):
    """The job was still unfinished when the time given to ``get()`` was up."""


class WouldNeverEnd(DaskFacadeError, RuntimeError):
    """Waiting here would never end: what is waited for needs this very transaction to commit."""


class InvalidTaskError(DaskFacadeError):
    """What is to be a task is none: it lacks a name, say."""


class AlreadyRegistered(DaskFacadeError):
    """Another task has this name; nothing here raises it: the later one takes its place."""


class QueueNotFound(DaskFacadeError, KeyError):
    """A queue that the settings do not name, with ``task_create_missing_queues`` off."""


class SecurityError(DaskFacadeError):
    """Celery's name for a message whose signature is wrong; nothing here raises it."""


class BackendError(DaskFacadeError):
    """A result cannot be read or written."""


class BackendGetMetaError(BackendError):
    """Celery's name for a result that cannot be read."""

    def __init__(self, *args: Any, task_id: str = "") -> None:
        super().__init__(*args)
        self.task_id = task_id


class BackendStoreError(BackendError):
    """Celery's name for a result that cannot be written."""

    def __init__(self, *args: Any, state: str = "", task_id: str = "") -> None:
        super().__init__(*args)
        self.state = state
        self.task_id = task_id


class CeleryCommandException(DaskFacadeError):
    """A command ends with an exit status."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class WorkerTerminate(SystemExit):
    """A worker is to end at once."""


class WorkerShutdown(SystemExit):
    """A worker is to end in order."""


class Terminated(DaskFacadeError, foreign.Terminated):
    """A process was asked to end."""


class CeleryWarning(UserWarning):
    """The root of Celery's warnings."""


class AlwaysEagerIgnored(CeleryWarning):
    """Celery's name for a call that goes to a worker although calls run at once."""


class DuplicateNodenameWarning(CeleryWarning):
    """Celery's name for two workers of one name."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Celery's name for two tasks of one name."""


class FixupWarning(CeleryWarning):
    """Celery's name for a framework that cannot be set up."""


class NotConfigured(CeleryWarning):
    """Celery's name for an app without settings."""


class SecurityWarning(CeleryWarning):
    """Celery's name for settings that are unsafe."""


class CDeprecationWarning(DeprecationWarning):
    """Something of Celery's that means nothing here, or will not in Celery's next release."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Celery's name for the warning of what will be deprecated."""


class TaskError(DaskFacadeError):
    """A task came to a bad end."""


class TaskRevokedError(TaskError):
    """The job was revoked before it ended."""


class IncompleteStream(TaskError):
    """A job among those that are walked through has not ended, so its children are not known."""


class MaxRetriesExceededError(TaskError):
    """A task asked for one more retry than it may have."""

    def __init__(
        self, *args: Any, task_args: Any = (), task_kwargs: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.task_args = task_args
        self.task_kwargs = {} if task_kwargs is None else task_kwargs


class DaskJobException(DaskFacadeError):
    """A named job cannot do what it was asked to, or its scheduler does not answer."""


class ResultLost(TaskError):
    """The result was kept on the cluster alone, and is gone; or a future that a job needed is."""


class SoftTimeLimitExceeded(TaskError, foreign.SoftTimeLimitExceeded):
    """The call has run for its ``soft_time_limit``; raised within the task, which may tidy up."""


class TimeLimitExceeded(TaskError, foreign.TimeLimitExceeded):
    """The call ran for its ``time_limit`` and was ended."""


class TaskPredicate(DaskFacadeError):
    """Raised within a task to say how it goes on; no error."""


class Retry(TaskPredicate):
    """The call is to be tried again. *when*: in seconds, or a time; *exc* is why."""

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        self.message = message
        self.exc = exc if isinstance(exc, BaseException) else None
        self.excs = exc if isinstance(exc, str) else None if exc is None else repr(exc)
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        self.again: Any = None  # messages.Again, on a worker
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """Return when, in words."""
        return f"in {self.when}s" if isinstance(self.when, int | float) else f"at {self.when}"

    def __str__(self) -> str:
        why = f": {self.excs}" if self.excs else ""
        return self.message or f"Retry {self.humanize()}{why}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self.exc, self.when)


class Ignore(TaskPredicate):
    """The state of the job is left as it is: the task has seen to it."""


class Reject(TaskPredicate):
    """The call is not for this task; with *requeue* it is handed out anew, else it fails."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        super().__init__(reason, requeue)
        self.reason = reason
        self.requeue = requeue

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class Replaced(Ignore):
    """The job goes on as another task; `Task.replace` raises it."""

    def __init__(self, message: str = "", again: Any = None) -> None:
        super().__init__(message)
        self.again = again  # messages.Again


class Superseded(TaskError):
    """A later attempt of the job has begun, or it has ended: what this one asks for is not done."""


class ChordError(TaskError):
    """A job in the header of a chord failed, so its body did not run."""


class WorkerLostError(TaskError, foreign.WorkerLostError):
    """The worker died while the job may have been running."""


class UnpickleableExceptionWrapper(TaskError):
    """Stands for an exception that cannot be rebuilt: its module, class name and arguments."""

    def __init__(self, exc_module: str, exc_cls_name: str, exc_args: tuple[Any, ...]) -> None:
        super().__init__(exc_module, exc_cls_name, exc_args)
        self.exc_module = exc_module
        self.exc_cls_name = exc_cls_name
        self.exc_args = exc_args

    def __str__(self) -> str:
        return f"{self.exc_module}.{self.exc_cls_name}({', '.join(map(repr, self.exc_args))})"


class OperationalError(DaskFacadeError, foreign.OperationalError):
    """What should take a job does not answer."""


class LedgerError(DaskFacadeError):
    """The ledger did not do what it was asked to."""


class LedgerNotReady(LedgerError):
    """The ledger's tables are missing or not those of this release."""


class LedgerUnavailable(LedgerError, OperationalError):
    """The database does not answer; the same request may pass later."""


class LedgerBusy(LedgerUnavailable):
    """Another connection is writing (SQLite); the same request passes in a moment."""


class LedgerRefused(LedgerError):
    """The database refuses what it was given, and would refuse it again."""


class LeadershipLost(LedgerError):
    """Another dispatcher leads: nothing was written."""


class LineClosed(DaskFacadeError, ConnectionError):
    """The other end of a line is gone."""


class LineRefused(DaskFacadeError, ConnectionError):
    """The other end does not speak with us: another release, or a wrong token."""


class MalformedMessage(DaskFacadeError, ValueError):
    """Bytes on a line that are no message."""


class DispatcherAway(DaskFacadeError, ConnectionError):
    """No dispatcher leads, or it does not answer."""


class ClusterUnavailable(DaskFacadeError, ConnectionError):
    """The Dask scheduler does not answer. *address* is "" where none is known."""

    def __init__(self, address: str, reason: str = "") -> None:
        super().__init__(address, reason)
        self.address = address
        self.reason = reason

    def __str__(self) -> str:
        if not self.address:
            return f"no Dask cluster is known: {self.reason}"
        because = f" ({self.reason})" if self.reason else ""
        return (
            f"no Dask scheduler answers at {self.address}{because}: "
            "start one there with `dask scheduler`, or leave out --scheduler for a local cluster"
        )


def reraise(
    tp: type[BaseException], value: BaseException, tb: TracebackType | None = None
) -> NoReturn:
    """Raise *value*, with the traceback *tb* if one is given."""
    raise value if value.__traceback__ is tb else value.with_traceback(tb)
