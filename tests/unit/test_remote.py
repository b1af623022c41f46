"""What only leads to a result, told from what is one."""

from __future__ import annotations

from typing import Any

import dask
import dask.array
import dask.bag
import pytest
from distributed import Future

from dask_facade.cluster.remote import is_published, is_remote, is_returned
from dask_facade.worker.data import key_of, text_of

DELAYED = dask.delayed(1)


@pytest.mark.parametrize(
    "value",
    [
        DELAYED,
        Future("a key"),
        dask.bag.range(2, npartitions=1),
        dask.array.ones(2),
        [1, DELAYED],
        ({"a": [Future("a key")]},),
    ],
)
def test_futures_and_collections_are_no_values_wherever_they_stand(value: Any) -> None:
    assert is_remote(value)


@pytest.mark.parametrize(
    "value",
    [1, "text", [1, [2]], {}, [], {"a": (1,)}, dask.bag.Bag, Future, {DELAYED.key}, object()],
)
def test_all_else_is_a_value(value: Any) -> None:
    assert not is_remote(value)


def test_a_key_tells_how_a_result_is_kept() -> None:
    keys = [("dask-facade-published", "id", 1), ("dask-facade-returned", "id", 1), "any-key"]
    found = [key_of(text_of(key)) for key in keys]

    assert found == keys
    assert list(map(is_published, found)) == [True, False, False]
    assert list(map(is_returned, found)) == [False, True, False]
