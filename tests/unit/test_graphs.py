"""What counts as a graph, and what it costs those that have none."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import dask
import dask.bag
import pytest

from dask_facade import graphs


def two() -> Any:
    return dask.delayed(1)


@pytest.mark.parametrize(
    "value",
    [two(), dask.bag.from_sequence([1, 2]), [1, two()], (two(),), {"a": two()}],
)
def test_delayed_objects_collections_and_what_directly_holds_them_are_graphs(value: Any) -> None:
    assert graphs.is_graph(value)


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "text",
        [],
        {},
        [1, "a", None],
        {"a": [1]},
        [[two()]],  # only what stands in it directly counts
        dask.delayed,  # a function
        dask.bag.Bag,  # the class is no collection
    ],
)
def test_everything_else_is_none(value: Any) -> None:
    assert not graphs.is_graph(value)


def test_who_has_no_graphs_never_imports_dask() -> None:
    script = (
        "import sys\n"
        "from dask_facade import graphs\n"
        "assert not graphs.is_graph([1, {'a': 2}])\n"
        "assert not {'dask', 'distributed'} & sys.modules.keys()\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
