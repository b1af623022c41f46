"""What a job is called on the cluster: its Variable, its Queues, the keys of its futures.

A Variable or a Queue hands any Dask client a working future. That of a job is
``Variable("job:<id>")``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import Any

from distributed import Client, Future, Queue, Variable

from dask_facade.exceptions import ResultLost

logger = logging.getLogger(__name__)

GRAPH = "dask-facade-graph"  # the last task of a graph that was computed for its job
KEPT = "dask-facade-kept"  # a result that was put on its worker; with the hand of its call
REBUILT = "dask-facade-rebuilt"  # a result that was made again from the ledger
FOLLOWING = "dask-facade-follow"  # ends when its job does
HAND = "hand-"  # begins the name of a dataset of one hand
GROUP = "dask-facade-group"  # fills a group's queue
DESCRIBED = "dask-facade-describe"  # what a graph's result is

DISPATCHER = "dask-facade:dispatcher"
"""The Variable that names the leading dispatcher: {"epoch": int, "addresses": [...]}."""

ANSWER_TIMEOUT = 10.0  # seconds for the scheduler to answer at all
NAME_TIMEOUT = 10.0  # seconds for the scheduler to know a key and its name
HANDS = 4  # of a job, that may have kept a result
OPENED = 32  # how often a queue may have been opened, by writers and readers
LEFT_OPEN = 4  # how often by readers that never closed it
FORGET_AT_ONCE = 500  # jobs
_GONE = frozenset({"cancelled", "lost"})


def variable_name(job_id: str) -> str:
    """Return the name of the Variable that names a job's future."""
    return f"job:{job_id}"


def hand_name(job_id: str, hand: int) -> str:
    """Return the name of the dataset of what one hand of a job returned."""
    return f"{HAND}{hand}:{variable_name(job_id)}"


def said_name(job_id: str) -> str:
    """Return the name of the Queue of what a job says."""
    return f"said:{job_id}"


def group_name(group_id: str) -> str:
    """Return the name of the Queue that hands out a group's futures."""
    return f"group:{group_id}"


def name(client: Client, job_id: str, future: Future[Any]) -> None:
    """Let the job's Variable name *future*, and keep it so; return once the scheduler has done so.

    Raises TimeoutError where the scheduler does not hear of the future's key, or does not answer.
    """
    variable = Variable(variable_name(job_id), client=client)
    variable.set(future, timeout=NAME_TIMEOUT, callback_timeout=NAME_TIMEOUT + ANSWER_TIMEOUT)


def retry(client: Client, future: Future[Any]) -> None:
    """Have Dask run again what has failed of a future, also where another client began with it."""
    if statuses(client, [future.key])[future.key] != "erred":
        return  # the scheduler would run it again all the same
    again = client.sync(
        rpc(client).retry, keys=[future.key], client=client.id, callback_timeout=ANSWER_TIMEOUT
    )
    for key in again:
        if key in client.futures:
            client.futures[key].retry()


def unname(client: Client, job_id: str) -> None:
    """Remove the job's Variable, so that Dask may drop what it kept; see `forget`."""
    variable = Variable(variable_name(job_id), client=client)
    variable.set(None, timeout=NAME_TIMEOUT)
    variable.delete()


def named(client: Client, job_id: str, timeout: float) -> Future[Any]:
    """Return the future that the job's Variable names; raise ResultLost where it is gone.

    A Variable that is not there yet is waited for, *timeout* seconds.
    """
    try:
        variable = Variable(variable_name(job_id), client=client)
        future = variable.get(timeout=timeout, callback_timeout=timeout + ANSWER_TIMEOUT)
    except TimeoutError:
        raise ResultLost(f"the cluster knows no future of job {job_id!r}") from None
    if not isinstance(future, Future) or future.status in _GONE:
        raise ResultLost(f"the cluster has lost the future of job {job_id!r}")
    return future


def keys_of(job_id: str) -> list[tuple[str | int, ...]]:
    """Return the keys of futures that the job's Variable may name."""
    kept = [(KEPT, job_id, hand) for hand in range(1, HANDS + 1)]
    return [*kept, *((kind, job_id) for kind in (GRAPH, REBUILT, FOLLOWING))]


def statuses(client: Client, keys: Collection[Any]) -> dict[Any, str | None]:
    """Return the scheduler's states of *keys*; None for a key that it does not know."""
    told: dict[Any, str | None] = client.sync(
        rpc(client).get_task_status, keys=list(keys), callback_timeout=ANSWER_TIMEOUT
    )
    return told


def rpc(client: Client) -> Any:
    """Return what the scheduler can be asked by; raise OSError where *client* has closed."""
    if client.scheduler is None:
        raise ConnectionError("the client has closed")
    return client.scheduler


def end(queue: Queue) -> None:
    """Remove *queue* from the scheduler, whoever opened it beside us."""
    for _ in range(OPENED):
        queue.close()


async def forget(client: Client, ids: Collection[str], kept: Collection[str] = ()) -> None:
    """Leave nothing of these jobs on the scheduler.

    *kept* are those whose rows name a key, or are graphs: their Variables cannot be told from
    their ids. *client* is asynchronous.
    """
    ids = list(dict.fromkeys([*ids, *kept]))
    for start in range(0, len(ids), FORGET_AT_ONCE):
        part = ids[start : start + FORGET_AT_ONCE]
        keys = [key for id in part for key in keys_of(id)]
        known = await rpc(client).get_task_status(keys=keys)
        having = {key[1] for key, state in known.items() if state is not None}
        for id in part:
            if id in having or id in kept:
                await _give_up(client, id)
        _end_unseen(client, map(said_name, part))
    if kept:
        await _unpublish(client, kept)


async def _unpublish(client: Client, ids: Collection[str]) -> None:
    """Remove the datasets of jobs, and of their hands, as far as there are any."""
    wanted = {variable_name(id) for id in ids}
    names = {
        each
        for each in map(str, await rpc(client).publish_list())
        if each in wanted or (each.startswith(HAND) and each.partition(":")[2] in wanted)
    }
    if names:
        await client.unpublish_dataset(list(names))
    for each in names:  # under which Dask pinned its keys
        client._send_to_scheduler({"op": "close-client", "client": f"published-{each}"})


async def _give_up(client: Client, job_id: str) -> None:
    """Remove a job's Variable.

    Deleting one that holds a future can freeze its deleter's stream, so it gives that up first.
    """
    variable = Variable(variable_name(job_id), client=client)
    await variable.set(None)
    variable.delete()


def _end_unseen(client: Client, names: Iterable[str]) -> None:
    """Remove queues that may not be there; to open them for that would cost a round trip each."""
    for queue in names:
        for _ in range(LEFT_OPEN):
            client._send_to_scheduler({"op": "queue_release", "name": queue})
