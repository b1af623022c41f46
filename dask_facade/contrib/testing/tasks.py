"""A task to see whether a worker answers."""

from __future__ import annotations

from dask_facade.making import shared_task


@shared_task(name="celery.ping")  # type: ignore[untyped-decorator]  # it takes any function
def ping() -> str:
    """Return "pong"."""
    return "pong"
