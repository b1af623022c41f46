"""Graphs as jobs: futures, Delayed objects and collections that are followed to their end.

Nothing of Dask is imported before it is used: most processes that submit calls never need it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dask_facade import current
from dask_facade.elsewhere import queue_at
from dask_facade.exceptions import ResultLost
from dask_facade.ids import new_id
from dask_facade.job_futures import connected
from dask_facade.ledger.store import calls_of
from dask_facade.messages import NewJob, Shape
from dask_facade.serialization import dump_reference, preview, storable

if TYPE_CHECKING:
    from distributed import Client, Future

NAME_LIMIT = 255  # characters of a graph's name that the ledger keeps
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


class Graph(NamedTuple):
    """A graph that is to become the job *id*. Without *name* it is called what Dask calls it."""

    id: str
    value: Any
    name: str = ""
    again: bool = False  # what the cluster knows to have failed of it is to run again


def submit(
    app: Any,
    value: Any,
    *,
    name: str = "",
    owner: str = "",
    task_id: str | None = None,
    scheduler: str = "",
) -> str:
    """Make a graph a job and return its id; see `submit_all`."""
    graph = Graph(new_id() if task_id is None else task_id, value, name)
    submit_all(app, [graph], owner=owner, scheduler=scheduler)
    return graph.id


def submit_all(
    app: Any,
    graphs: Sequence[Graph],
    *,
    owner: str = "",
    ignore_result: bool = False,
    scheduler: str = "",
) -> None:
    """Make graphs jobs; part of the caller's transaction.

    Their rows are written first. Once those are committed the graphs are computed on the cluster
    together, so that what they share is computed once, or the futures that were given are taken as
    they are, and their names are known there before this returns. With *ignore_result* nobody keeps
    what they come to. *scheduler* is the address of the one that they are on, which must answer
    the dispatcher, too; "": the dispatcher's own. Raises ClusterUnavailable or ResultLost before
    anything is written.
    """
    from dask_facade.cluster.connection import client_of, reaching

    channel = current.job().channel
    queue = queue_at(scheduler) if scheduler else app.conf.task_default_queue
    client = client_of(scheduler) if scheduler else _client(app, channel)
    with reaching(client):
        for graph in graphs:
            if _is_future_type(type(graph.value)):
                _require_known(client, graph.value)
    jobs = [_job_of(app.conf, each, queue, owner, ignore_result) for each in graphs]

    def committed(created: float) -> None:
        _begin(client, graphs)
        app.client.offer(calls_of(jobs, created, ()))

    if channel is None:
        app.store.submit(jobs, [], committed)
        return

    def spawn() -> None:
        channel.spawn(jobs, [])
        _begin(client, graphs)

    if current.has_site():
        current.site().store.on_commit(spawn)
    else:
        spawn()


def _job_of(conf: Any, graph: Graph, queue: str, owner: str, ignore_result: bool) -> NewJob:
    """Return the row of a graph that is submitted here."""
    request = current.job()
    return NewJob(
        id=graph.id,
        task=_shortened(storable(graph.name or _name_of(graph.value))),
        queue=queue,
        priority=conf.task_default_priority or 0,
        payload=dump_reference(graph.id, repr(key_of(graph)), "", 0),
        preview=preview(graph.value),
        due=None,
        expires=None,
        delay=0.0,
        acks_late=False,
        ignore_result=ignore_result,
        graph=True,
        owner=owner or request.owner,
        root_id=request.root_id or graph.id,
        parent_id=request.id,
        group_id=None,
        shape=Shape.NOTHING,
        options=b"",
        errbacks=b"",
    )


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_LIMIT else name[: NAME_LIMIT - 1] + "…"


def key_of(graph: Graph) -> Any:
    """Return the key of the future that tells how a graph ends."""
    from dask_facade.cluster.futures import GRAPH

    return graph.value.key if _is_future_type(type(graph.value)) else (GRAPH, graph.id)


def _begin(client: Client, graphs: Sequence[Graph]) -> None:
    """Compute graphs, or take the futures that they are, and name them."""
    from dask_facade.cluster import futures
    from dask_facade.cluster.connection import reaching

    given = [each for each in graphs if _is_future_type(type(each.value))]
    others = [each for each in graphs if not _is_future_type(type(each.value))]
    with reaching(client):
        computed = _computed(client, others)
        all_futures = [each.value for each in given] + computed
        for graph, future in zip([*given, *others], all_futures, strict=True):
            futures.name(client, graph.id, future)
            if graph.again:
                futures.retry(client, future)
        for future in computed:
            future.release()


def _computed(client: Client, graphs: Sequence[Graph]) -> list[Future[Any]]:
    """Return the futures of graphs, under keys that only these jobs have.

    So two jobs may compute one graph, and one of them be revoked.
    """
    from dask_facade.cluster.followers import same

    parts = iter(client.compute([part for graph in graphs for part in _parts(graph.value)]))
    return [
        client.submit(same, _put_together(graph.value, parts), key=key_of(graph), pure=False)
        for graph in graphs
    ]


def _parts(value: Any) -> list[Any]:
    """Return what is computed of a graph: its members, where it is a list or dict of such."""
    if isinstance(value, list | tuple):
        return list(value)
    return list(value.values()) if isinstance(value, dict) else [value]


def _put_together(value: Any, parts: Iterator[Any]) -> Any:
    """Return a graph with the next of *parts* in place of its own, as many as `_parts` has."""
    if isinstance(value, list | tuple):
        return [next(parts) for _ in value]
    return {key: next(parts) for key in value} if isinstance(value, dict) else next(parts)


def _require_known(client: Client, future: Future[Any]) -> None:
    """Wait until the scheduler knows a future that was given; raise ResultLost if it never does."""
    from dask_facade.cluster.futures import rpc, statuses

    if scheduler_of(future.client) != scheduler_of(client):
        raise ResultLost(
            f"{future!r} is of another scheduler than the one at {rpc(client).address}, which its "
            "job is to be on"
        )
    deadline = time.monotonic() + KNOWN_WITHIN
    while future.status not in ("cancelled", "lost"):
        if statuses(client, [future.key])[future.key] is not None:
            return
        if future.status == "error":  # the scheduler could not even read its graph
            error = future.exception(timeout=KNOWN_WITHIN)
            raise ResultLost(f"{future!r} never ran: {error!r}") from error
        if time.monotonic() > deadline:
            raise ResultLost(f"the scheduler at {rpc(client).address} does not know {future!r}")
        time.sleep(LOOK_EVERY)
    raise ResultLost(f"{future!r} is {future.status}: nothing is left to follow")


def scheduler_of(client: Client) -> Any:
    """Return what no other scheduler has, whatever the address by which it is reached."""
    return client._scheduler_identity.get("id")


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
