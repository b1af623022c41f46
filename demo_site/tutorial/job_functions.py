"""What the jobs of the tutorial compute."""

from __future__ import annotations

from typing import Any

import dask
from dask.delayed import Delayed
from distributed import Client, Future


def inc(x: int) -> int:
    """Return one more."""
    return x + 1


def double(x: int) -> int:
    """Return two more."""
    return x + 2


def add(x: int, y: int) -> int:
    """Return the sum of two numbers."""
    return x + y


def sum_up(values: list[int]) -> int:
    """Return the sum of many numbers."""
    return sum(values)


def convert_to_dollar_sign(result: Any) -> str:
    """Return a result as an amount of money."""
    return f"${result}"


def delayed_job() -> Delayed:
    """Return a graph of which nothing runs yet."""
    added = [
        dask.delayed(add, pure=False)(
            dask.delayed(inc, pure=False)(x), dask.delayed(double, pure=False)(x)
        )
        for x in range(3)
    ]
    return dask.delayed(sum_up, pure=False)(added)


def distributed_job(client: Client) -> Future:
    """Begin, and return the future of the sum."""
    return client.submit(sum_up, multiple_leaf_job(client), pure=False)


def multiple_leaf_job(client: Client) -> list[Future]:
    """Begin, and return a future for each number."""
    return [
        client.submit(
            add,
            client.submit(inc, x, pure=False),
            client.submit(double, x, pure=False),
            pure=False,
        )
        for x in range(3)
    ]
