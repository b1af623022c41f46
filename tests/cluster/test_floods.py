"""Calls that say very much: they are not held up, and nobody who hears them drowns."""

from __future__ import annotations

from typing import Any

import pytest
from distributed import Client, Queue

from tests.cluster import worker_tasks as tasks
from tests.cluster.processes import DispatcherProcess, wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("app"),
]
in_a_thread_or_child = pytest.mark.parametrize(
    "options", [{}, {"time_limit": 120}], ids=["thread", "child"]
)

MANY = 20_000
LONG = 20.0  # seconds: a hundred times what these take on a quiet machine
SOON = 60.0
MEGABYTES = 20 * 2**20
KEPT = 1_000  # of what nobody reads


def flood(how: str, count: int, **options: Any) -> float:
    took: float = tasks.flood.apply_async((how, count), **options).get(timeout=SOON)
    return took


@in_a_thread_or_child
@pytest.mark.parametrize("how", ["update", "emit", "log", "print"])
def test_a_call_that_says_much_is_not_held_up_and_floods_no_dispatcher(
    dispatcher: DispatcherProcess, how: str, options: dict[str, Any]
) -> None:
    process = dispatcher.family()[0]
    flood(how, 10, **options)
    memory = process.memory_info().rss
    lines = len(dispatcher.lines)

    assert flood(how, MANY, **options) < LONG

    assert process.memory_info().rss - memory < MEGABYTES
    if how in ("update", "emit"):
        assert len(dispatcher.lines) - lines < 100
    else:
        wait_for(lambda: len(dispatcher.lines) - lines >= MANY, "all lines")


@in_a_thread_or_child
def test_what_nobody_reads_is_left_out_of_that_job_alone(
    client: Client, options: dict[str, Any]
) -> None:
    full = tasks.flood.apply_async(("emit", 2 * KEPT), **options)
    full.get(timeout=SOON)

    next_one = tasks.flood.apply_async(("emit", 3), **options)

    next_one.get(timeout=SOON)
    assert Queue(f"said:{full.id}", client=client, maxsize=KEPT).qsize() == KEPT
    assert Queue(f"said:{next_one.id}", client=client, maxsize=KEPT).qsize() == 3


@in_a_thread_or_child
@pytest.mark.usefixtures("dispatcher")
def test_what_somebody_reads_arrives_however_much_it_is(options: dict[str, Any]) -> None:
    result = tasks.flood.apply_async(("emit", 3 * KEPT), **options)

    assert list(result.said(timeout=SOON)) == list(range(3 * KEPT))
