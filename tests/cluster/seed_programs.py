"""What Dask's users write: programs that know nothing of jobs, nor of Django.

They run in a job, on a worker of one thread, and around jobs, with a client of Dask's.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import dask
from distributed import (
    Client,
    as_completed,
    fire_and_forget,
    get_client,
    rejoin,
    secede,
    wait,
    worker_client,
)


def inc(x: int) -> int:
    return x + 1


def add(x: int, y: int) -> int:
    return x + y


def divide(x: int, y: int) -> float:
    return x / y


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def once_there(path: str) -> str:
    """Return when there is such a file."""
    deadline = time.monotonic() + 60
    while not Path(path).exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


class Counter:
    """An actor, which refuses to be pickled."""

    n = 0

    def increment(self) -> int:
        self.n += 1
        return self.n

    def __reduce__(self) -> Any:
        raise TypeError("it stays where it is")


def submit_map_gather_scatter() -> list[Any]:
    client = get_client()
    one = client.submit(inc, 0, pure=False)
    many = client.map(inc, range(3), pure=False)
    x, y = client.scatter([10, 20], hash=False)  # keys that no other run gives up just then
    both = client.submit(add, x, y, pure=False)
    return [one.result(), client.gather(many), client.gather({"sum": both})]


def futures_as_arguments() -> list[int]:
    client = get_client()
    a, b = client.map(inc, [1, 2], pure=False)
    c = client.submit(add, a, b, pure=False)
    return [c.result(), client.submit(sum, [a, b, c], pure=False).result()]


def cancel() -> list[Any]:
    client = get_client()
    busy = client.submit(nap, 0.3, pure=False)
    waiting = client.submit(inc, busy, pure=False)
    waiting.cancel()
    return [waiting.cancelled(), busy.result()]


def exception_and_traceback() -> list[str]:
    client = get_client()
    failed = client.submit(divide, 1, 0, pure=False)
    after = client.submit(inc, failed, pure=False)
    where = failed.traceback()
    while where.tb_next is not None:
        where = where.tb_next
    return [
        repr(failed.exception()),
        where.tb_frame.f_code.co_name,
        repr(after.exception()),
    ]


def wait_for_all_and_for_one() -> list[Any]:
    client = get_client()
    futures = client.map(inc, range(3), pure=False)
    done, not_done = wait(futures)
    slow = client.submit(nap, 0.5, pure=False)
    first = wait([*futures, slow], return_when="FIRST_COMPLETED")
    return [len(done), len(not_done), first.not_done == {slow}]


def completed() -> list[Any]:
    client = get_client()
    plain = sum(each.result() for each in as_completed(client.map(inc, range(3), pure=False)))
    pairs = as_completed(client.map(inc, range(3), pure=False), with_results=True)
    results = sum(result for _, result in pairs)
    batches = as_completed(client.map(inc, range(3), pure=False), with_results=True).batches()
    batched = sum(result for batch in batches for _, result in batch)
    growing = as_completed(client.map(inc, range(2), pure=False))
    growing.add(client.submit(inc, 9, pure=False))
    growing.update(client.map(inc, [19, 29], pure=False))
    return [plain, results, batched, sorted(each.result() for each in growing)]


def fire(path: str) -> None:
    client = get_client()
    number = client.submit(add, 40, 2, pure=False)
    fire_and_forget(client.submit(write, path, client.submit(str, number), pure=False))


def seceding(n: int) -> int:
    client = get_client()
    futures = client.map(inc, range(n), pure=False)
    secede()
    numbers = client.gather(futures)
    rejoin()
    return sum(numbers)


def in_context(n: int) -> int:
    with worker_client() as client:
        return sum(client.gather(client.map(inc, range(n), pure=False)))


def nested(n: int) -> list[int]:
    lazy = [dask.delayed(inc)(x) for x in range(n)]
    return [*dask.compute(dask.delayed(sum)(lazy), dask.delayed(max)(lazy)), lazy[0].compute()]


def actors() -> list[int]:
    client = get_client()
    counter = client.submit(Counter, actor=True, pure=False).result()
    return [counter.increment().result(), counter.increment().result(), counter.n]


async def awaiting(address: str) -> list[int]:
    """Await futures, and an actor, its method and its attribute."""
    async with Client(address, asynchronous=True) as client:
        future = client.submit(inc, 1, pure=False)
        numbers = [await future, *await client.gather(client.map(inc, [2, 3], pure=False))]
        counter = await client.submit(Counter, actor=True, pure=False)
        return [*numbers, await counter.increment(), await counter.n]


def fib_by_hand(n: int) -> int:
    if n < 2:
        return n
    client = get_client()
    futures = [client.submit(fib_by_hand, n - 1), client.submit(fib_by_hand, n - 2)]
    secede()
    numbers = client.gather(futures)
    rejoin()
    return sum(numbers)


def fib_in_context(n: int) -> int:
    if n < 2:
        return n
    with worker_client() as client:
        futures = [client.submit(fib_in_context, n - 1), client.submit(fib_in_context, n - 2)]
        return sum(client.gather(futures))


def fib_lazily(n: int) -> int:
    if n < 2:
        return n
    return sum(dask.compute(dask.delayed(fib_lazily)(n - 1), dask.delayed(fib_lazily)(n - 2)))


def has_django() -> bool:
    return "django" in sys.modules
