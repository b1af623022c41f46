"""A pool with workers of its own, whose dispatcher is killed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_facade import DaskFacade
from dask_facade.pools import TaskPool
from tests.cluster import pool_tasks as tasks
from tests.cluster.processes import DispatcherProcess, wait_for

# One database: what the test is about has nothing to do with it.
pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


@pytest.fixture
def pair(app: DaskFacade, environment: dict[str, str]) -> Iterator[list[DispatcherProcess]]:
    """A dispatcher that leads, and one that stands by."""
    started: list[DispatcherProcess] = []
    try:
        for words in ("jobs run on", "standing by"):
            started.append(DispatcherProcess(["--workers", "1"], **environment))
            wait_until_it_says(started[-1], words)
        yield started
    finally:
        for each in started:
            if not each.is_killed:
                each.stop()


def wait_until_it_says(dispatcher: DispatcherProcess, words: str) -> None:
    wait_for(lambda: words in dispatcher.output, words, 60)


def test_pool_of_own_workers_goes_on_under_the_next_dispatcher(
    pair: list[DispatcherProcess], tmp_path: Path
) -> None:
    script = "touch began; until test -e led; do sleep 0.05; done"
    with TaskPool("outliving") as pool:
        pool.add_task("runs", 1, tmp_path, "sh", "-c", script, timeout=60)
        pool.add_task("waits", 1, tmp_path, tasks.echo, 1)
        pool.submit_tasks(block=False, dask_ppw=1)
        wait_for((tmp_path / "began").exists, "a run")
        first, second = pair

        first.kill()
        wait_until_it_says(second, "jobs run on")
        (tmp_path / "led").touch()

        statuses = pool.get_finished_tasks()
        while len(statuses) < 2 and (more := pool.get_finished_tasks()):
            statuses |= more
    assert statuses == {"runs": 0, "waits": 1}
