"""Tasks that work with the cluster that they run on, as Dask's users do."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import dask
import distributed
from distributed import get_client, get_worker, rejoin, secede, worker_client

from dask_facade import shared_task
from dask_facade.coordination import Event, Lock, Queue, Semaphore, Variable
from dask_facade.pubsub import Pub, Sub

LOCK = Lock("made as its module is imported")


def inc(x: int) -> int:
    return x + 1


def by_hand(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    futures = client.map(by_hand, [n - 1, n - 2])
    secede()
    numbers = client.gather(futures)
    rejoin()
    return sum(numbers)


def in_context(n: int) -> int:
    if n < 2:
        return n
    with worker_client() as client:
        return sum(client.gather(client.map(in_context, [n - 1, n - 2])))


def lazily(n: int) -> int:
    if n < 2:
        return n
    return sum(dask.compute(dask.delayed(lazily)(n - 1), dask.delayed(lazily)(n - 2)))


@shared_task
def fib(way: str, n: int) -> int:
    ways = {"by hand": by_hand, "in context": in_context, "lazily": lazily}
    return ways[way](n)


@shared_task
def coordinate(name: str) -> str:
    """Leave word with each kind."""
    Queue(name).put(1)
    Variable(name).set("set")
    Event(name).set()
    with Lock(name), Semaphore(max_leases=2, name=f"{name} twice"), LOCK:
        return "held" if Lock(name).locked() else "free"


@shared_task
def hold(lock: Any, seconds: float) -> list[float]:
    """Tell from when to when this held a lock that was given."""
    with lock:
        start = time.monotonic()
        time.sleep(seconds)
        return [start, time.monotonic()]


@shared_task
def publish(name: str, messages: list[Any]) -> None:
    for message in messages:
        Pub(name).put(message)


@shared_task
def publish_what_is_no_json(name: str) -> None:
    message = {"set": {1}, "future": get_client().submit(inc, 1, pure=False)}
    Pub(name).put(message)
    Event(f"{name} was heard").wait(20)


@shared_task
def answer(name: str) -> list[Any]:
    """Take what is published until it is None, and say so."""
    heard = Sub(name)
    Event(f"{name} is heard").set()
    return list(iter(heard.get, None))


@shared_task
async def answer_later(name: str) -> list[Any]:
    heard = Sub(name)
    Event(f"{name} is heard").set()
    messages = []
    async for message in heard:
        if message is None:
            break
        messages.append(message)
    await asyncio.sleep(0)
    return messages


@shared_task
def say_to_all() -> None:
    distributed.print("printed", "by a job")
    distributed.worker.warn("warned by a job")


@shared_task
def from_uploaded() -> str:
    import uploaded_by_a_client

    said: str = uploaded_by_a_client.said()
    return said


@shared_task
def in_executor(numbers: list[int]) -> list[int]:
    with get_client().get_executor(pure=False) as executor:
        secede()
        return list(executor.map(inc, numbers))


@shared_task
def dataset(name: str) -> int:
    total: int = get_client().get_dataset(name).sum().compute()
    return total


@shared_task
def worker_name() -> Any:
    return get_worker().name


def _wait_for(path: str) -> str:
    while not Path(path).exists():
        time.sleep(0.01)
    return "seen"


@shared_task(track_started=True)
def wait_at_most_once(path: str) -> str:
    return _wait_for(path)


@shared_task(track_started=True, acks_late=True)
def wait_at_least_once(path: str) -> str:
    return _wait_for(path)
