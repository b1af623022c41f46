"""What a call gets of the jobs that it depends on."""

from __future__ import annotations

from dask_facade.exceptions import TaskError
from dask_facade.serialization import NONE, dump_exception, dump_reference

REFERENCE_SIZE = 512
"""Bytes for which a reference counts among the inputs of a job."""


def error_inputs(
    job_id: str,
    result: bytes | None,
    words: str,
    traceback: str | None,
    task: str,
    payload: bytes,
) -> tuple[bytes, ...]:
    """Return the inputs of an error callback: see Shape.ERROR."""
    error = dump_exception(TaskError(words)) if result is None else result
    return (job_id.encode(), error, (traceback or "").encode(), task.encode(), payload)


def told_input(
    result: bytes | None, job_id: str | None, key: str | None, worker: str | None, size: int | None
) -> bytes:
    """Return a result as its taker pulls it: by a reference where the ledger does not have it."""
    if result is not None:
        return result
    if job_id and key:
        return dump_reference(job_id, key, worker or "", size or 0)
    return NONE


def told_first(
    result: bytes | None, job_id: str | None, key: str | None, worker: str | None, size: int | None
) -> bytes:
    """Return a result as a call brings it: by a reference wherever the cluster has it."""
    return told_input(None if key else result, job_id, key, worker, size)
