"""Celery's signals around the submitting of calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dask_facade.canvas import Signature
from dask_facade.messages import NewJob
from dask_facade.options import iso_of
from dask_facade.serialization import loads
from dask_facade.signals import after_task_publish, before_task_publish

_KNOWN_HEADERS = frozenset(
    {"lang", "task", "id", "shadow", "eta", "expires", "group", "group_index", "retries",
     "timelimit", "root_id", "parent_id", "argsrepr", "kwargsrepr", "origin", "ignore_result",
     "stamped_headers", "stamps"}
)  # fmt: skip


def before(signature: Signature, job: NewJob) -> Mapping[str, Any]:
    """Send before_task_publish; return the headers that the call is to have.

    Receivers may add to the headers that they get.
    """
    options = loads(job.options) if job.options else {}
    headers = {
        "lang": "py",
        "task": job.task,
        "id": job.id,
        "eta": iso_of(job.due),
        "expires": iso_of(job.expires),
        "group": job.group_id,
        "group_index": options.get("group_index"),
        "retries": options.get("retries", 0),
        "timelimit": [options.get("time_limit"), options.get("soft_time_limit")],
        "root_id": job.root_id,
        "parent_id": job.parent_id,
        "argsrepr": job.preview,
        "kwargsrepr": "",
        "ignore_result": job.ignore_result,
        "stamped_headers": options.get("stamped_headers"),
        "stamps": options.get("stamps", {}),
        **options.get("headers", {}),
    }
    before_task_publish.send(
        job.task,
        body=(signature.args, signature.kwargs, {}),
        exchange="",
        routing_key=job.queue,
        headers=headers,
        properties={"correlation_id": job.id, "priority": job.priority},
        declare=[],
        retry_policy={},
    )
    return {name: value for name, value in headers.items() if name not in _KNOWN_HEADERS}


def after(jobs: Sequence[NewJob]) -> None:
    """Send after_task_publish."""
    if after_task_publish.receivers:
        for job in jobs:
            after_task_publish.send(
                job.task,
                body=((), {}, {}),
                exchange="",
                routing_key=job.queue,
                headers={"id": job.id, "task": job.task, "root_id": job.root_id},
            )
