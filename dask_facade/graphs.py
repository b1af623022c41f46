"""Graphs as jobs: futures, Delayed objects and collections that are followed to their end.

Nothing of Dask is imported before it is used: most processes that submit calls never need it.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from dask_facade import current
from dask_facade.exceptions import ResultLost
from dask_facade.ids import new_id
from dask_facade.job_futures import connected
from dask_facade.ledger.store import calls_of
from dask_facade.messages import NewJob, Shape
from dask_facade.serialization import dump_reference, preview, storable

if TYPE_CHECKING:
    from distributed import Client, Future

KNOWN_WITHIN = 5.0  # seconds for a future's graph to reach the scheduler
LOOK_EVERY = 0.005  # seconds between two looks whether it has


def is_graph(value: object) -> bool:
    """Tell whether *value* is a Dask future, Delayed or collection, or a list or dict of such."""
    if "dask" not in sys.modules:
        return False
    if isinstance(value, list | tuple):
        kinds = set(map(type, value))
    elif isinstance(value, dict):
        kinds = set(map(type, value.values()))
    else:
        return _is_dask(value)
    return any(map(_may_be_dask, kinds)) and any(
        map(_is_dask, value.values() if isinstance(value, dict) else value)
    )


def _may_be_dask(kind: type) -> bool:
    return hasattr(kind, "__dask_graph__") or _is_future_type(kind)


def _is_dask(value: object) -> bool:
    if _is_future_type(type(value)):
        return True
    if isinstance(value, type) or not hasattr(value, "__dask_graph__"):
        return False
    return value.__dask_graph__() is not None


def _is_future_type(kind: type) -> bool:
    future = getattr(sys.modules.get("distributed"), "Future", None)
    return future is not None and issubclass(kind, future)


def submit(
    app: Any, value: Any, *, name: str = "", owner: str = "", task_id: str | None = None
) -> str:
    """Make a graph a job and return its id; part of the caller's transaction.

    Its row is written first. Once that is committed the graph is computed on the cluster, or the
    future that was given is taken as it is, and its name is known there before this returns.
    Raises ClusterUnavailable or ResultLost before anything is written.
    """
    from dask_facade.cluster.connection import reaching
    from dask_facade.cluster.futures import GRAPH

    request = current.job()
    channel = request.channel
    client = _client(app, channel)
    job_id = new_id() if task_id is None else task_id
    key = value.key if _is_future_type(type(value)) else (GRAPH, job_id)
    with reaching(client):
        if _is_future_type(type(value)):
            _require_known(client, value)
    job = NewJob(
        id=job_id,
        task=storable(name or _name_of(value)),
        queue=app.conf.task_default_queue,
        priority=app.conf.task_default_priority or 0,
        payload=dump_reference(job_id, repr(key), "", 0),
        preview=preview(value),
        due=None,
        expires=None,
        delay=0.0,
        acks_late=False,
        ignore_result=False,
        graph=True,
        owner=owner or request.owner,
        root_id=request.root_id or job_id,
        parent_id=request.id,
        group_id=None,
        shape=Shape.NOTHING,
        options=b"",
        errbacks=b"",
    )

    def committed(created: float) -> None:
        _begin(client, job_id, value)
        app.client.offer(calls_of([job], created, ()))

    if channel is None:
        app.store.submit([job], [], committed)
        return job_id

    def spawn() -> None:
        channel.spawn([job], [])
        _begin(client, job_id, value)

    if current.has_site():
        current.site().store.on_commit(spawn)
    else:
        spawn()
    return job_id


def _begin(client: Client, job_id: str, value: Any) -> None:
    """Compute *value*, or take the future that it is, and name it."""
    from dask_facade.cluster import futures
    from dask_facade.cluster.connection import reaching

    with reaching(client):
        future = value if _is_future_type(type(value)) else _computed(client, job_id, value)
        futures.name(client, job_id, future)
        if future is not value:
            future.release()


def _computed(client: Client, job_id: str, value: Any) -> Future[Any]:
    """Return the future of *value*, under a key that only this job has.

    So two jobs may compute one graph, and one of them be revoked.
    """
    from dask_facade.cluster.followers import same
    from dask_facade.cluster.futures import GRAPH

    if isinstance(value, list | tuple):
        whole: Any = client.compute(list(value))
    elif isinstance(value, dict):
        whole = dict(zip(value, client.compute(list(value.values())), strict=True))
    else:
        whole = client.compute(value)
    return client.submit(same, whole, key=(GRAPH, job_id), pure=False)


def _require_known(client: Client, future: Future[Any]) -> None:
    """Wait until the scheduler knows a future that was given; raise ResultLost if it never does."""
    from dask_facade.cluster.futures import statuses

    deadline = time.monotonic() + KNOWN_WITHIN
    while future.status not in ("cancelled", "lost"):
        if statuses(client, [future.key])[future.key] is not None:
            return
        if time.monotonic() > deadline:
            raise ResultLost(f"the cluster of the dispatcher does not know {future!r}")
        time.sleep(LOOK_EVERY)
    raise ResultLost(f"{future!r} is {future.status}: nothing is left to follow")


def _name_of(value: Any) -> str:
    """Return what people may call a graph that was given no name."""
    from dask.utils import key_split

    key = getattr(value, "key", None) or getattr(value, "name", None)
    return key_split(key) if key is not None else type(value).__name__


def _client(app: Any, channel: object) -> Client:
    if channel is not None:
        from distributed import get_client

        return get_client()
    return connected(app.store)[0]
