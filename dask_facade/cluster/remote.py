"""Results that are not values but lead to some: futures, actors, and Dask's collections.

They stay on the cluster, and only what leads to them travels: a future or an actor is what
``Variable("job:<id>")`` names, and all else is the dataset ``job:<id>``, as any Dask client has it
from ``client.get_dataset``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dask.base import is_dask_collection
from distributed import Actor, Client, Future, futures_of, wait

from dask_facade.cluster.connection import reaching
from dask_facade.cluster.futures import (
    HAND,
    NAME_TIMEOUT,
    hand_name,
    name,
    named,
    statuses,
    variable_name,
)
from dask_facade.exceptions import ResultLost

RETURNED = "dask-facade-returned"  # a future, which the job's Variable names
PUBLISHED = "dask-facade-published"  # what holds futures, which the job's dataset is
_CONTAINERS = (list, tuple, dict)
_LOST = frozenset({"cancelled", "lost"})


def is_remote(value: Any) -> bool:
    """Tell whether *value* is a future, an actor or a collection, or holds one.

    Only lists, tuples and dicts are looked into.
    """
    kind = type(value)
    if kind not in _CONTAINERS:
        return issubclass(kind, Future | Actor) or is_dask_collection(value)
    items = value.values() if kind is dict else value
    kinds = set(map(type, items))
    if not any(each in _CONTAINERS or _may_lead(each) for each in kinds):
        return False
    return any(map(is_remote, items))


def _may_lead(kind: type) -> bool:
    return issubclass(kind, Future | Actor) or hasattr(kind, "__dask_graph__")


def await_arrival(value: Any) -> None:
    """Wait until the scheduler knows the futures in *value*, which others are to find there.

    Raises ResultLost where it never does.
    """
    futures = [value] if isinstance(value, Future) else futures_of(value)
    deadline = time.monotonic() + NAME_TIMEOUT
    while futures:
        states = statuses(futures[0].client, {future.key for future in futures})
        futures = [each for each in futures if states[each.key] is None]
        lost = [each for each in futures if each.status in _LOST]
        if lost or (futures and time.monotonic() > deadline):
            raise ResultLost(f"{(lost or futures)[0]!r} is not known on the cluster (any more)")


def keep(client: Client, job_id: str, hand: int, value: Any) -> Any:
    """Keep what *value* leads to as the result of a job; return the key that finds it again.

    Collections are computed where they are to stay; what that raises is raised here. A dataset of a
    later *hand* of the job stays. For the thread of a Dask task. Raises ClusterUnavailable.
    """
    if isinstance(value, Actor | Future):
        with reaching(client):
            name(client, job_id, _with_futures(value, client))
        # The value of an actor's future is the actor: that is found as any value is.
        return value.key if isinstance(value, Actor) else (RETURNED, job_id, hand)
    kept = _mapped(value, lambda collections: _persisted(client, collections))
    with reaching(client):
        _publish(client, job_id, hand, _with_futures(kept, client))
    return (PUBLISHED, job_id, hand)


def _publish(client: Client, job_id: str, hand: int, value: Any) -> None:
    """Let the job's dataset be *value*, or what a later hand has published, also just now.

    A hand that may have come after another one has a dataset of its own, too: who finds that of a
    later one, after it has published, puts that in the place of its own.
    """
    name = variable_name(job_id)
    while True:
        named = {name: value} if hand <= 1 else {name: value, hand_name(job_id, hand): value}
        client.publish_dataset(override=True, **named)
        later = max(_hands_among(client.list_datasets(), job_id), default=0)
        if later <= hand:
            return
        try:
            hand, value = later, client.get_dataset(hand_name(job_id, later))
        except KeyError:
            return  # the job was forgotten meanwhile


def _hands_among(names: Iterable[Any], job_id: str) -> Iterator[int]:
    """Return the hands of a job that have datasets."""
    for each in map(str, names):
        hand, _, name = each.removeprefix(HAND).partition(":")
        if name == variable_name(job_id) and hand.isdecimal():
            yield int(hand)


def _persisted(client: Client, collections: list[Any]) -> list[Any]:
    kept: list[Any] = client.persist(collections)
    futures = futures_of(kept)
    wait(futures)
    for future in futures:
        if future.status == "error":
            future.result()
    return kept


def _with_futures(value: Any, client: Client) -> Any:
    """Return *value* with the futures of actors in their places: a dataset holds those alone."""
    if isinstance(value, Actor):
        return Future(value.key, client)
    kind = type(value)
    if kind is dict:
        return {key: _with_futures(each, client) for key, each in value.items()}
    if kind in _CONTAINERS:
        return kind(_with_futures(each, client) for each in value)
    return value


def is_published(key: Any) -> bool:
    """Tell whether what has *key* is the dataset of its job."""
    return isinstance(key, tuple) and key[0] == PUBLISHED


def is_returned(key: Any) -> bool:
    """Tell whether what has *key* is the future that its job returned."""
    return isinstance(key, tuple) and key[0] == RETURNED


def published(client: Client, job_id: str) -> Any:
    """Return what a job returned, with the futures of *client*; raise ResultLost."""
    try:
        with client.as_current():
            value = client.get_dataset(variable_name(job_id))
    except KeyError:
        raise ResultLost(f"the cluster has no dataset of job {job_id!r} any more") from None
    futures = futures_of(value)
    states = statuses(client, {future.key for future in futures})
    if None in states.values() or any(future.status in _LOST for future in futures):
        raise ResultLost(f"the cluster has lost what job {job_id!r} returned")
    return value


def returned(client: Client, job_id: str) -> Any:
    """Return the future that a job returned; raise ResultLost."""
    return named(client, job_id, NAME_TIMEOUT)


def bound(client: Client, value: Any) -> Any:
    """Return *value* so that the futures in it, or the actor that it is, are those of *client*.

    Dask leaves open whose they are when they are unpickled.
    """
    if not isinstance(value, Actor):
        futures = [value] if isinstance(value, Future) else futures_of(value)
        for future in futures:
            if future.client is None:
                future.bind_client(client)
        if futures:
            client._inform_scheduler_of_futures()
        return value
    kind, args = value.__reduce__()
    with client.as_current():
        return kind(*args)


def computed(client: Client, value: Any) -> Any:
    """Return *value* with each collection in it computed; futures stay what they are."""
    return _mapped(value, lambda collections: client.gather(client.compute(collections)))


def _mapped(value: Any, replace: Callable[[list[Any]], list[Any]]) -> Any:
    """Return *value* with the collections in it replaced, all at once."""
    found: list[Any] = []
    _each(value, found.append)
    if not found:
        return value
    replaced = iter(replace(found))
    return _each(value, lambda _: next(replaced))


def _each(value: Any, visit: Callable[[Any], Any]) -> Any:
    """Return *value* with what *visit* returns in the place of each collection."""
    kind = type(value)
    if kind is dict:
        return {key: _each(each, visit) for key, each in value.items()}
    if kind in _CONTAINERS:
        return kind(_each(each, visit) for each in value)
    return visit(value) if is_dask_collection(value) else value
