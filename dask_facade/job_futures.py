"""Jobs as Dask futures: of those that have ended, run or wait, and of groups as they end.

Nothing of Dask is imported before it is used: most processes that submit calls never need it.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dask_facade.exceptions import ClusterUnavailable, JobNotFound, ResultLost
from dask_facade.ids import new_id
from dask_facade.jobs import Job, end_of
from dask_facade.ledger.store import JobStore, Lease
from dask_facade.line import token
from dask_facade.messages import CLIENT

if TYPE_CHECKING:
    from distributed import Client, Future

    from dask_facade.cluster.followers import Contact, Site

NAMED_WITHIN = 10.0  # seconds for a graph's submitter to have named its future
PAUSE_FIRST = 0.005  # seconds between two looks into a queue; then twice that, and so on
PAUSE_MOST = 0.25


def connected(store: JobStore) -> tuple[Client, Lease]:
    """Return a client of the cluster that the dispatcher works with, and its lease."""
    from dask_facade.cluster.connection import client_of

    lease = store.lease()
    if lease is None or not lease.scheduler:
        raise ClusterUnavailable(
            "", "no dispatcher is running: start one with `manage.py dask_dispatcher`"
        )
    return client_of(lease.scheduler), lease


def client_at(store: JobStore, scheduler: str | None) -> Client:
    """Return a client of the scheduler at this address; without one, of the dispatcher's."""
    from dask_facade.cluster.connection import client_of

    return client_of(scheduler) if scheduler else connected(store)[0]


def future_of(store: JobStore, job_id: str, timeout: float | None = None) -> Future[Any]:
    """Return a Dask future of any job: of one that has ended, runs or waits, or of a graph.

    From then on ``Variable("job:<id>")`` names it, too, on the scheduler that the job is on.
    *timeout* is how long a graph or a kept result may take to be named. Raises JobNotFound,
    ResultLost, ClusterUnavailable.
    """
    from dask_facade.cluster import followers, futures, remote
    from dask_facade.cluster.connection import reaching
    from dask_facade.worker.data import key_of

    job = job_of(store, job_id)
    client = client_at(store, job.future_at)
    patience = NAMED_WITHIN if timeout is None else timeout
    with reaching(client):
        if job.graph and not _is_stored(job):
            return futures.named(client, job_id, patience)
        is_named = bool(job.key) and not remote.is_published(key_of(job.key))
        if is_named or any(futures.statuses(client, futures.keys_of(job_id)).values()):
            try:
                return futures.named(client, job_id, patience)
            except ResultLost:
                if not _is_stored(job):
                    raise
        if job.ready:
            future = followers.future_for(client, end_of(job), _site())
        else:
            future = followers.future_following(client, job_id, _contact(connected(store)[1]))
        futures.name(client, job_id, future)
        if not job.ready:
            _name_what_was_kept(client, job_id, future)
        return future


def _name_what_was_kept(client: Client, job_id: str, future: Future[Any]) -> None:
    """Name the job's kept result again where it was named just before *future* was.

    The runner that kept it holds it until its outcome is committed.
    """
    from dask_facade.cluster import futures

    kept = [key for key in futures.keys_of(job_id) if key[0] == futures.KEPT]
    for key, state in futures.statuses(client, kept).items():
        if state is not None:
            futures.name(client, job_id, type(future)(key, client))


def result_of(store: JobStore, job: Job) -> Any:
    """Return a result that is on the cluster alone; raise ResultLost where it is gone.

    Collections are computed; futures and actors are returned as such.
    """
    from concurrent.futures import CancelledError

    from dask_facade.cluster import futures, remote
    from dask_facade.cluster.connection import serve_as_default
    from dask_facade.worker.data import key_of

    with _needed(store, job) as client:
        if remote.is_published(key_of(job.key)):
            serve_as_default(client)  # what is returned may be futures of actors
            try:
                return remote.computed(client, remote.published(client, job.id))
            except CancelledError as error:
                raise ResultLost(f"what job {job.id!r} returned is lost") from error
        future = futures.named(client, job.id, futures.NAME_TIMEOUT)
        if remote.is_returned(key_of(job.key)):
            serve_as_default(client)
            return future
        return remote.bound(client, _gathered(future))


def collection_of(store: JobStore, job: Job) -> Any:
    """Return the result of a job that ended well as a Dask collection, which is not computed.

    That is the one that it returned, else a Delayed of its value. Raises ResultLost.
    """
    from dask.delayed import delayed

    from dask_facade.cluster import remote
    from dask_facade.cluster.connection import serve_as_default
    from dask_facade.worker.data import key_of

    with _needed(store, job) as client:
        serve_as_default(client)  # or its own `compute` would not know where its data are
        if remote.is_published(key_of(job.key)):
            return remote.published(client, job.id)
        return delayed(future_of(store, job.id))


@contextmanager
def _needed(store: JobStore, job: Job) -> Iterator[Client]:
    """Yield the client of the cluster, without which the result of *job* is lost."""
    from dask_facade.cluster.connection import reaching

    try:
        client = client_at(store, job.future_at)
        with reaching(client):
            yield client
    except ClusterUnavailable as error:
        raise ResultLost(
            f"the result of job {job.id!r} was kept on the cluster alone: {error}"
        ) from error


def _gathered(future: Future[Any]) -> Any:
    """Return a value that its worker has; raise ResultLost as soon as it has not."""
    from concurrent.futures import CancelledError

    while True:
        if future.status in ("lost", "cancelled"):
            raise ResultLost(f"the value of {future.key!r} is lost")
        try:
            return future.result(timeout=1)
        except TimeoutError:
            continue  # a large one takes its time
        except CancelledError as error:
            raise ResultLost(f"the value of {future.key!r} is lost") from error


def as_completed(store: JobStore, group_id: str, ids: Collection[str]) -> Iterator[Future[Any]]:
    """Return the futures of a group's members as these end, from ``Queue("group:<id>")``.

    Any Dask client may take from that queue, from now on: each future is handed out once. It is
    removed when it is empty and the group has ended.
    """
    from distributed import Queue

    from dask_facade.cluster import followers, futures
    from dask_facade.cluster.connection import reaching

    client, lease = connected(store)
    with reaching(client):
        queue = Queue(futures.group_name(group_id), client=client)
        filling = client.submit(
            followers.fill_queue,
            followers.Members(group_id, tuple(ids)),
            _contact(lease),
            key=(futures.GROUP, group_id),
            pure=False,
        )
        _hold(client, filling)
    return _taken(client, queue, filling, len(ids))


def _hold(client: Client, future: Future[Any]) -> None:
    """Keep a task going though its client ends."""
    from distributed import fire_and_forget

    fire_and_forget(future)


def _taken(client: Client, queue: Any, filling: Future[Any], count: int) -> Iterator[Future[Any]]:
    from dask_facade.cluster import futures
    from dask_facade.cluster.connection import reaching

    pause = PAUSE_FIRST
    left = count
    try:
        while left:
            over = filling.done()
            with reaching(client):
                came = (
                    [] if over else queue.get(batch=True, callback_timeout=futures.ANSWER_TIMEOUT)
                )
            for future in came:
                left -= 1
                yield future
            if over:
                filling.result()  # why, if it failed
                return
            pause = PAUSE_FIRST if came else min(2 * pause, PAUSE_MOST)
            time.sleep(0 if came else pause)
        filling.result(timeout=futures.NAME_TIMEOUT)  # it removes the queue
    finally:
        if not filling.done() and client.status == "running":
            client.cancel([filling], force=True)
            futures.end(queue)


def said(store: JobStore, job_id: str, timeout: float | None = None) -> Iterator[Any]:
    """Yield what a job says with ``self.emit``, until it has ended and all was told.

    Then its queue is removed. Raises TimeoutError after *timeout* seconds, JobNotFound.
    """
    from distributed import Queue

    from dask_facade.cluster import futures
    from dask_facade.cluster.connection import reaching
    from dask_facade.worker.data import SAID_LIMIT

    deadline = None if timeout is None else time.monotonic() + timeout
    pause = PAUSE_FIRST
    job_of(store, job_id)
    client, _ = connected(store)
    with reaching(client):
        queue = Queue(futures.said_name(job_id), client=client, maxsize=SAID_LIMIT)
    try:
        while True:
            over = job_of(store, job_id).ready  # before the look: what it said came before its end
            with reaching(client):
                came = queue.get(batch=True, callback_timeout=futures.ANSWER_TIMEOUT)
            yield from came
            if over:
                return
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"job {job_id!r} is unfinished after {timeout} s")
            pause = PAUSE_FIRST if came else min(2 * pause, PAUSE_MOST)
            time.sleep(pause)
    finally:
        if client.status == "running":
            futures.end(queue)


def job_of(store: JobStore, job_id: str) -> Job:
    """Return a row of the ledger; raise JobNotFound."""
    job = store.fetch([job_id]).get(job_id)
    if job is None:
        raise JobNotFound(job_id)
    return job


def _is_stored(job: Job) -> bool:
    return job.ready and (job.result is not None or not job.key)


def _contact(lease: Lease) -> Contact:
    from dask_facade.cluster.followers import Contact

    identity = f"follower-{socket.gethostname()}-{os.getpid()}-{new_id()}"
    secret = token(lease.secret, CLIENT, identity)
    return Contact(lease.addresses, identity, secret, _site())


def _site() -> Site:
    """Return what a worker needs to read what this site's tasks return."""
    from dask_facade.cluster.followers import Site

    module = os.environ.get("DJANGO_SETTINGS_MODULE", "") if "django" in sys.modules else ""
    return Site(module, tuple(path for path in sys.path if path))
