"""The clusters of named jobs: that of a scheduler's row, and the one that jobs run on."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dask_facade.exceptions import (
    ClusterUnavailable,
    DaskJobException,
    ImproperlyConfigured,
    ResultLost,
)
from dask_facade.job_futures import connected
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
            return connected(store)[0]
        if not insecure and not host.startswith("inproc:"):  # that one is in this process
            require_loopback(host, "its host")
        return client_of(host, timeout or CONNECT_TIMEOUT, heartbeat or None)
    except (ClusterUnavailable, ImproperlyConfigured) as error:
        which = f"scheduler {name!r}: " if name else ""
        raise DaskJobException(f"{which}{error}") from error


def require_ours(app: Any, scheduler: Any) -> None:
    """Raise DaskJobException where *scheduler* is another than the one that jobs run on."""
    from dask_facade.graphs import scheduler_of

    ours, lease = connected(app.store)
    if scheduler is None or not scheduler.host:
        return
    if scheduler_of(scheduler.client) != scheduler_of(ours):
        raise DaskJobException(
            f"scheduler {scheduler.name!r} at {scheduler.host} is not the one that jobs run on, "
            f"which is at {lease.scheduler}: start the dispatcher with --scheduler {scheduler.host}"
        )


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
        client, _ = connected(app.store)
        with reaching(client):
            return named(client, job_id, NAMED_WITHIN)
    except (ClusterUnavailable, ResultLost) as error:
        raise DaskJobException(f"its future cannot be tried again: {error}") from error


def give_up(app: Any, job_ids: Iterable[str]) -> None:
    """Let Dask drop graphs that no dispatcher follows yet, where nobody else wants them."""
    from dask_facade.cluster.connection import reaching
    from dask_facade.cluster.futures import unname

    try:
        client, _ = connected(app.store)
        with reaching(client):
            for job_id in job_ids:
                unname(client, job_id)
    except ClusterUnavailable as error:
        logger.debug("jobs %s cannot be given up: %s", job_ids, error)
