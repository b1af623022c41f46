"""Publish and subscribe: messages from anywhere on the cluster to all who listen just then.

`Pub` and `Sub` have the shape of those that Dask once had. They go over Dask's topics, so that
``client.subscribe_topic`` and ``worker.log_event`` speak with them, too. The scheduler passes each
message on, and keeps the last of each topic: messages are to be small.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from distributed import Client, get_worker
from distributed.client import ClosedClientError

from dask_facade.cluster.connection import reaching
from dask_facade.cluster.remote import await_arrival, bound
from dask_facade.coordination import client_here
from dask_facade.exceptions import ClusterUnavailable
from dask_facade.ids import new_id
from dask_facade.serialization import dumps, loads

PACKED = "dask-facade-packed"  # begins a message that topics could not carry as it is
GREETING = "dask-facade-greeting"  # begins one by which a subscriber learns that it is heard
HEARD_WITHIN = 10.0  # seconds for the scheduler to know of a subscription
ASK_EVERY = 0.02  # seconds between two looks whether it does
_PLAIN = (str, int, float, bool, bytes, type(None))


class Pub:
    """Publishes to all subscribers of *name*; *client* is asked for where it is not given."""

    def __init__(self, name: str, worker: Any = None, client: Client | None = None) -> None:
        self.name = name
        self._client = client
        self._worker = worker

    def put(self, message: Any) -> None:
        """Send a message to whoever subscribes to the topic now.

        Futures in it must be held until they have been heard. Raises EncodeError for what cannot be
        serialised, ResultLost and ClusterUnavailable.
        """
        said = _packed(message)
        worker = self._worker
        if worker is None and self._client is None:
            with suppress(ValueError):
                worker = get_worker()
        if worker is not None:
            worker.log_event(self.name, said)
        else:
            _log(client_here() if self._client is None else self._client, self.name, said)

    def __repr__(self) -> str:
        return f"<Pub: {self.name}>"


class Sub:
    """Hears all that is published as *name* from the moment that this returns.

    It is an iterator of the messages, in ``for`` and in ``async for``. Raises ClusterUnavailable.
    """

    def __init__(self, name: str, worker: Any = None, client: Client | None = None) -> None:
        """*worker* is accepted for old code's sake: its client is found without."""
        self.name = name
        self.buffer: deque[Any] = deque()
        self._client = client_here() if client is None else client
        self._lock = threading.Lock()
        self._waiting: deque[Future[Any]] = deque()
        _subscribe(self, self._client)
        weakref.finalize(self, _unsubscribe, name, weakref.ref(self._client)).atexit = False

    def get(self, timeout: float | None = None) -> Any:
        """Return the next message; raise TimeoutError where none comes within *timeout* seconds."""
        message = self._next()
        try:
            return _unpacked(message.result(timeout), self._client)
        except TimeoutError:
            if message.cancel():
                raise TimeoutError(f"nothing was published as {self.name!r}") from None
            return _unpacked(message.result(), self._client)  # just now

    next = __next__ = get

    def __iter__(self) -> Iterator[Any]:
        return self

    async def __anext__(self) -> Any:
        return _unpacked(await asyncio.wrap_future(self._next()), self._client)

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    def close(self) -> None:
        """Hear nothing more. One that nobody has any more hears nothing, either."""
        with _lock:
            if topic := _topics.get(self._client, {}).get(self.name):
                topic.subscribers.discard(self)
        _unsubscribe(self.name, weakref.ref(self._client))

    def _next(self) -> Future[Any]:
        message: Future[Any] = Future()
        with self._lock:
            if self.buffer:
                message.set_result(self.buffer.popleft())
            else:
                given_up = [each for each in self._waiting if each.cancelled()]
                for each in given_up:
                    self._waiting.remove(each)
                self._waiting.append(message)
        return message

    def _put(self, message: Any) -> None:
        with self._lock:
            while self._waiting:
                waiting = self._waiting.popleft()
                if waiting.set_running_or_notify_cancel():
                    waiting.set_result(message)
                    return
            self.buffer.append(message)

    def __repr__(self) -> str:
        return f"<Sub: {self.name}>"


class _Topic:
    """What a client does with the events of a topic: it has one handler for each."""

    def __init__(self) -> None:
        self.joining: dict[str, Sub] = {}  # by the greetings that are to be heard first
        self.subscribers: weakref.WeakSet[Sub] = weakref.WeakSet()

    def __call__(self, event: tuple[float, Any]) -> None:
        match event[1]:
            case (str(kind), str(greeting)) if kind == GREETING:
                if (subscriber := self.joining.get(greeting)) is not None:
                    self.subscribers.add(subscriber)
                    self.joining.pop(greeting, None)
            case message:
                for subscriber in list(self.subscribers):
                    subscriber._put(message)


_topics: weakref.WeakKeyDictionary[Client, dict[str, _Topic]] = weakref.WeakKeyDictionary()
_lock = threading.RLock()  # a subscriber may be collected anywhere


def _subscribe(subscriber: Sub, client: Client) -> None:
    """Let *subscriber* hear its topic, from a greeting on that this publishes itself."""
    name = subscriber.name
    with _lock:
        topics = _topics.setdefault(client, {})
        topic = topics.get(name)
        if topic is None:
            topic = _Topic()
            with reaching(client):
                client.subscribe_topic(name, topic)
            topics[name] = topic
        greeting = new_id()
        topic.joining[greeting] = subscriber
    try:
        _greet(client, name, topic, greeting)
    except BaseException:
        with _lock:
            topic.joining.pop(greeting, None)
            topic.subscribers.discard(subscriber)
        _unsubscribe(name, weakref.ref(client))
        raise


def _greet(client: Client, name: str, topic: _Topic, greeting: str) -> None:
    """Publish *greeting* until it is heard; raise ClusterUnavailable where it never is."""
    deadline = time.monotonic() + HEARD_WITHIN
    while greeting in topic.joining:
        _log(client, name, (GREETING, greeting))
        if time.monotonic() > deadline:
            raise ClusterUnavailable("", f"the scheduler tells nothing of the topic {name!r}")
        time.sleep(ASK_EVERY)


def _unsubscribe(name: str, of: weakref.ref[Client]) -> None:
    """Let the scheduler send no more of a topic that nobody in this process listens to."""
    client = of()
    if client is None:
        return
    with _lock:
        topics = _topics.get(client, {})
        topic = topics.get(name)
        if topic is not None and not topic.joining and not list(topic.subscribers):
            del topics[name]
            with suppress(ClosedClientError, ValueError):
                client.unsubscribe_topic(name)


def _log(client: Client, topic: str, message: Any) -> None:
    with reaching(client):
        client.log_event(topic, message)


def _packed(message: Any) -> Any:
    """Return *message* as topics carry it: as it is where that says it all, else as bytes."""
    if type(message) in _PLAIN:
        return message
    await_arrival(message)
    return PACKED, dumps(message)


def _unpacked(message: Any, client: Client) -> Any:
    match message:
        case (str(kind), bytes(packed)) if kind == PACKED:
            return bound(client, loads(packed))
    return message


__all__ = ["Pub", "Sub"]
