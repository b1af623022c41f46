"""The clusters of named jobs: that of a scheduler's row, and the one that jobs run on."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from dask_facade import job_futures
from dask_facade.exceptions import (
    ClusterUnavailable,
    DaskJobException,
    ImproperlyConfigured,
    ResultLost,
)
from dask_facade.result import AsyncResult

if TYPE_CHECKING:
    from distributed import Client, Future

NAMED_WITHIN = 0.5  # seconds; what was followed has its name

logger = logging.getLogger(__name__)


def client_at(
    store: Any, name: str, host: str, timeout: float, heartbeat: int, *, insecure: bool = False
) -> Client:
    """Return the client of the scheduler at *host*; "": of the one that jobs run on.

    *timeout* is in seconds, *heartbeat* in milliseconds; 0: as is usual. Raises DaskJobException,
    also for a host beyond this machine, unless *insecure*: what it sends would be unpickled here.
    """
    from dask_facade.cluster.connection import CONNECT_TIMEOUT, client_of, require_loopback

    try:
        if not host:
            return job_futures.connected(store)[0]
        if not insecure and not host.startswith("inproc:"):  # that one is in this process
            require_loopback(host, "its host")
        return client_of(host, timeout or CONNECT_TIMEOUT, heartbeat or None)
    except (ClusterUnavailable, ImproperlyConfigured) as error:
        which = f"scheduler {name!r}: " if name else ""
        raise DaskJobException(f"{which}{error}") from error


def address_of(app: Any, scheduler: Any) -> str:
    """Return the address of the scheduler of a named job; "": the one that calls run on.

    Raises ClusterUnavailable, also where no dispatcher is there to follow what is computed on it,
    or DaskJobException.
    """
    from dask_facade.graphs import scheduler_of

    ours, _ = job_futures.connected(app.store)
    if scheduler is None or not scheduler.host:
        return ""
    theirs = scheduler.client
    return "" if scheduler_of(theirs) == scheduler_of(ours) else str(scheduler.host)


def future_of(app: Any, job_id: str) -> Future[Any]:
    """Return a Dask future of a job of the ledger; raise DaskJobException where there is none."""
    try:
        found: Future[Any] = AsyncResult(job_id, app=app).future()
    except (ClusterUnavailable, LookupError, ResultLost) as error:
        raise DaskJobException(f"no future of job {job_id}: {error}") from error
    return found


def followed(app: Any, job_id: str) -> Future[Any]:
    """Return the future that a failed graph had followed.

    Raises DaskJobException where the cluster has lost it.
    """
    from dask_facade.cluster.connection import reaching
    from dask_facade.cluster.futures import named

    try:
        client = job_futures.client_at(app.store, job_futures.job_of(app.store, job_id).future_at)
        with reaching(client):
            return named(client, job_id, NAMED_WITHIN)
    except (ClusterUnavailable, LookupError, ResultLost) as error:
        raise DaskJobException(f"its future cannot be tried again: {error}") from error


def give_up(app: Any, job_ids: Collection[str]) -> None:
    """Let Dask drop graphs that no dispatcher follows yet, where nobody else wants them."""
    from dask_facade.cluster.connection import reaching
    from dask_facade.cluster.futures import unname

    at: dict[str | None, list[str]] = {}
    for job in app.store.fetch(job_ids).values():
        at.setdefault(job.future_at, []).append(job.id)
    for scheduler, ids in at.items():
        try:
            client = job_futures.client_at(app.store, scheduler)
            with reaching(client):
                for job_id in ids:
                    unname(client, job_id)
        except ClusterUnavailable as error:
            logger.debug("jobs %s cannot be given up: %s", ids, error)
