"""Dask schedulers by name."""

from __future__ import annotations

from dask_facade.exceptions import DaskJobException
from dask_facade.models import DaskScheduler
from dask_facade.named.reading import alias

__all__ = [
    "DaskJobException",
    "DaskScheduler",
    "create_scheduler",
    "get_or_create_scheduler",
    "get_scheduler",
    "list_schedulers",
]


def create_scheduler(
    name: str,
    host: str = "",
    timeout: float = 0,
    heartbeat_interval: int = 0,
    dashboard: str = "",
) -> DaskScheduler:
    """Return a new scheduler; without *host* it is the one that jobs run on.

    *timeout* is in seconds, *heartbeat_interval* in milliseconds; 0: as is usual. *dashboard* is
    the address of its pages. Raises IntegrityError for a name that is taken.
    """
    return DaskScheduler.objects.using(alias()).create(
        name=name,
        host=host,
        timeout=timeout,
        heartbeat_interval=heartbeat_interval,
        dashboard=dashboard,
    )


def get_or_create_scheduler(name: str, host: str = "") -> DaskScheduler:
    """Return the scheduler of this name, a new one at *host* where there is none.

    All who ask at once get the same.
    """
    rows = DaskScheduler.objects.using(alias())
    scheduler, _ = rows.get_or_create(name=name, defaults={"host": host})
    return scheduler


def get_scheduler(name: str) -> DaskScheduler | None:
    """Return the scheduler of this name, or None."""
    return DaskScheduler.objects.using(alias()).filter(name=name).first()


def list_schedulers() -> list[DaskScheduler]:
    """Return all schedulers, by name."""
    return list(DaskScheduler.objects.using(alias()).order_by("name"))
