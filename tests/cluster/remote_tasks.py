"""Tasks that return what leads to data on the cluster, and take it."""

from __future__ import annotations

from typing import Any

import dask
import dask.array
import dask.bag
import dask.dataframe
import numpy
import pandas
from distributed import get_client

from dask_facade import shared_task


class Counter:
    """An actor, which refuses to be pickled."""

    n = 0

    def increment(self) -> int:
        self.n += 1
        return self.n

    def __reduce__(self) -> Any:
        raise TypeError("it stays where it is")


def inc(x: int) -> int:
    return x + 1


def fail(message: str) -> None:
    raise ValueError(message)


def frame() -> Any:
    return dask.dataframe.from_pandas(pandas.DataFrame({"a": range(10)}), npartitions=3)


@shared_task
def future() -> Any:
    return get_client().submit(inc, 1, pure=False)


@shared_task
def futures() -> Any:
    client = get_client()
    return {"list": client.map(inc, range(3), pure=False), "text": "abc"}


@shared_task
def actor() -> Any:
    return get_client().submit(Counter, actor=True, pure=False).result()


@shared_task
def actors() -> Any:
    made = get_client().map(lambda _: Counter(), range(2), actor=True, pure=False)
    return [each.result() for each in made]


@shared_task
def collection(kind: str) -> Any:
    return {
        "array": lambda: dask.array.arange(10, chunks=3),
        "bag": lambda: dask.bag.range(10, npartitions=3),
        "dataframe": frame,
        "delayed": lambda: dask.delayed(sum)(range(10)),
        "list": lambda: [dask.delayed(inc)(1), 7, [dask.array.ones(3, chunks=2)]],
    }[kind]()


@shared_task
def broken_collection() -> Any:
    return dask.bag.from_sequence(["in the bag"]).map(fail)


@shared_task
def kind_and_sum(value: Any) -> list[Any]:
    """Tell what was taken, and what it comes to."""
    return [type(value).__name__, int(numpy.sum(value.sum().compute()))]


@shared_task
def result_of(value: Any) -> Any:
    return value.result()


@shared_task
def increment(value: Any) -> Any:
    return value.increment().result()


@shared_task
def value_of(value: Any) -> Any:
    """Return what Dask has made of a collection that was given."""
    return [type(value).__name__, float(numpy.sum(value))]
