"""A job's row as its readers see it, in Celery's sense."""

from __future__ import annotations

from ast import literal_eval
from datetime import UTC, datetime
from typing import Any

from dask_facade.exceptions import DecodeError, TaskRevokedError, UnpickleableExceptionWrapper
from dask_facade.jobs import Job
from dask_facade.messages import Outcome
from dask_facade.serialization import load_exception, loads
from dask_facade.states import EXCEPTION_STATES, PENDING, RETRY, REVOKED, STARTED, SUCCESS


def state_of(job: Job) -> str:
    """Return the state that is shown: that a runner holds the job is no news to Celery's users."""
    if job.ready or job.state == RETRY:
        return job.said or job.state
    return job.said or (STARTED if job.state == STARTED else PENDING)


def value_of(job: Job) -> Any:
    """Return what the ledger has of the result: the value, the exception, or what the task said.

    None where there is nothing yet, or where the value is kept on the cluster alone. Raises
    DecodeError where a value cannot be rebuilt in this process.
    """
    if job.state in EXCEPTION_STATES and not (job.said and job.state == RETRY):
        return error_of(job)
    if job.state == SUCCESS and not job.said:
        return None if job.result is None else loads(job.result)
    return loads(job.meta) if job.meta else None


def error_of(job: Job) -> BaseException:
    """Return the exception of a job that raised or was revoked; its words, where no more is left.

    What the worker's traceback says stands in its notes.
    """
    error = _error(job)
    if job.traceback:
        error.add_note(f"\nOn the worker:\n{job.traceback}")
    return error


def _error(job: Job) -> BaseException:
    if job.result is None and job.state == REVOKED:
        return TaskRevokedError(job.result_preview or "revoked")
    name, _, rest = job.result_preview.partition("(")
    args = _args_of(rest.removesuffix(")"))
    words = UnpickleableExceptionWrapper("<not importable here>", name or "Exception", args)
    if job.result is None:
        return words
    try:
        return load_exception(job.result)
    except DecodeError as reason:  # its class is not installed where it is read
        words.add_note(str(reason))
        return words


def _args_of(words: str) -> tuple[Any, ...]:
    """Return arguments that stand in a preview; the words themselves where they are no values."""
    try:
        args: tuple[Any, ...] = literal_eval(f"({words},)")
    except (ValueError, SyntaxError):
        return (words,)
    return args


def message_of(job: Job) -> dict[str, Any]:
    """Return what Celery's backends tell of a job, as a dict."""
    return {
        "task_id": job.id,
        "status": state_of(job),
        "result": value_of(job),
        "traceback": job.traceback,
        "children": [],
        "date_done": job.finished,
    }


def job_of(outcome: Outcome) -> Job:
    """Return what an end that was told says of its job's row."""
    return Job(
        id=outcome.id,
        state=outcome.state,
        attempt=outcome.attempt,
        result=outcome.result,
        result_preview=outcome.preview,
        traceback=outcome.traceback,
        key=outcome.key,
        size=outcome.size,
        started=None if outcome.started is None else datetime.fromtimestamp(outcome.started, UTC),
        finished=datetime.fromtimestamp(outcome.finished, UTC),
    )
