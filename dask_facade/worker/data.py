"""What a worker keeps on the cluster, and takes from it: Dask data, Variables and Queues."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

from distributed import Client, Future, Queue, Variable, Worker, get_client
from distributed.client import ClosedClientError

from dask_facade.cluster import remote
from dask_facade.cluster.connection import reaching
from dask_facade.cluster.futures import (
    ANSWER_TIMEOUT,
    DISPATCHER,
    KEPT,
    name,
    named,
    said_name,
)
from dask_facade.exceptions import ClusterUnavailable, ResultLost

logger = logging.getLogger(__name__)

NAME_TIMEOUT = 5.0  # seconds for a Variable that should be there
TAKE_TIMEOUT = 300.0  # seconds for the bytes of one result to arrive
SAID_LIMIT = 1000  # values that wait in the queue of what one job says
SAID_PAUSE = 1.0  # seconds between two looks whether there is room again
SAID_TIMEOUT = 0.5  # seconds for room in it
SAID_STAYS = 60.0  # seconds, after its call, for who comes late
REGISTERED_WITHIN = 30.0  # seconds for the scheduler to know the worker's client
_MISSING = object()
_asking_for_client = threading.Lock()


def client_here() -> Client:
    """Return the client of this worker, once the scheduler knows it. For the thread of a task.

    Dask also hands out one that another thread is still making. What a scheduler holds for a client
    that it hears of only then is never let go.
    """
    deadline = time.monotonic() + REGISTERED_WITHIN
    with _asking_for_client:
        client = get_client()
        while client.status in ("newly-created", "connecting") and time.monotonic() < deadline:
            time.sleep(0.005)
    return client


class WorkerData:
    """The cluster's data, as one worker's threads reach it; *client* is the worker's own."""

    def __init__(self, worker: Worker, client: Client) -> None:
        self._client = client
        self._held: dict[tuple[str, int], Future[Any]] = {}
        self._full_until = 0.0  # monotonic: nobody reads what the running call says
        self._said: dict[str, Queue] = {}
        self._worker = worker

    def keep(self, job_id: str, hand: int, value: Any) -> str:
        """Keep *value* on this worker as the result of a job, and name it; return its key.

        Futures, actors and collections are kept where they are. It lives as long as
        ``Variable("job:<id>")`` holds it, and until `let_go`: somebody who asks for a future of the
        running job may just be naming that one. Only for the thread of a Dask task. Raises
        ClusterUnavailable when the scheduler is away, or the worker's client closes.
        """
        if remote.is_remote(value):
            return text_of(remote.keep(self._client, job_id, hand, value))
        key = (KEPT, job_id, hand)
        with reaching(self._client):
            future = self._scattered(key, value)
            self._held[job_id, hand] = future
            name(self._client, job_id, future)
        return text_of(key)

    def _scattered(self, key: Any, value: Any) -> Future[Any]:
        """Return the future of *value*, which is on this worker; raise OSError."""
        client = self._client
        try:  # as `Client.scatter` does it, but not for ever
            futures: dict[Any, Future[Any]] = client.sync(
                client._scatter,
                {key: value},
                local_worker=self._worker,
                hash=False,
                callback_timeout=ANSWER_TIMEOUT,
            )
        except OSError:  # it may hear of that later, unless the client has closed: that releases
            with suppress(ClosedClientError):
                client._send_to_scheduler(
                    {"op": "client-releases-keys", "keys": [key], "client": client.id}
                )
            raise
        return futures[key]

    def let_go(self, calls: Iterable[tuple[str, int]]) -> None:
        """Hold the results of these (id, hand) no longer."""
        if self._held:
            for call in calls:
                self._held.pop(call, None)

    def take(self, job_id: str, key: str) -> Any:
        """Return what is kept of a job, from here or from the worker that has it.

        Of futures, actors and collections that is what was returned. Raises ResultLost.
        """
        value = self._worker.data.get(key_of(key), _MISSING)
        if value is not _MISSING:
            return value
        try:
            with reaching(self._client):
                if remote.is_published(key_of(key)):
                    return remote.published(self._client, job_id)
                future = named(self._client, job_id, NAME_TIMEOUT)
                if remote.is_returned(key_of(key)):
                    return future
                return future.result(timeout=TAKE_TIMEOUT)
        except (OSError, CancelledError) as error:
            raise ResultLost(f"the result of job {job_id!r} is gone from the cluster") from error

    def emit(self, job_id: str, value: Any) -> None:
        """Put *value* into ``Queue("said:<id>")``; leave it out when nobody empties that."""
        unread = self._full_until > 0.0
        if unread and time.monotonic() < self._full_until:
            return
        try:
            with reaching(self._client):
                queue = self._said.get(job_id)
                if queue is None:
                    queue = self._said[job_id] = self._opened(said_name(job_id))
                # The scheduler logs each wait that was in vain: of what is unread, only the first.
                if unread and queue.qsize(callback_timeout=ANSWER_TIMEOUT) >= SAID_LIMIT:
                    self._full_until = time.monotonic() + SAID_PAUSE
                    return
                queue.put(value, timeout=SAID_TIMEOUT, callback_timeout=SAID_TIMEOUT + 1.0)
            self._full_until = 0.0
        except ClusterUnavailable as error:  # or the queue is full
            self._full_until = time.monotonic() + SAID_PAUSE
            if not unread:
                logger.warning("of what job %s says, some is left out: %s", job_id, error.reason)

    def _opened(self, name: str) -> Queue:
        client = self._client

        async def opened() -> Queue:
            queue: Queue = await Queue(name, client=client, maxsize=SAID_LIMIT)
            return queue

        queue: Queue = client.sync(opened, callback_timeout=ANSWER_TIMEOUT)
        return queue

    def silence(self, job_id: str) -> None:
        """Let go of the queue of what a job said, a while after it has ended."""
        self._full_until = 0.0
        queue = self._said.pop(job_id, None)
        if queue is not None:
            loop = self._worker.loop
            loop.add_callback(lambda: loop.call_later(SAID_STAYS, queue.close))

    def dispatcher(self) -> Sequence[str]:
        """Return the addresses of the leading dispatcher, as the scheduler knows them."""
        try:
            with reaching(self._client):
                variable = Variable(DISPATCHER, client=self._client)
                match variable.get(timeout=1.0, callback_timeout=2.0):
                    case {"addresses": [*addresses]}:
                        return [str(address) for address in addresses]
        except (OSError, CancelledError) as error:
            logger.debug("the scheduler names no dispatcher: %s", error)
        return ()


def text_of(key: Any) -> str:
    """Return a Dask key as text; `key_of` gives it back."""
    return key if isinstance(key, str) else json.dumps(key)


def key_of(text: str) -> Any:
    """Return the Dask key that *text* stands for."""
    try:
        parts = json.loads(text) if text.startswith("[") else None
    except ValueError:
        parts = None
    return text if parts is None else tuple(parts)
