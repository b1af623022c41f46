"""A site that has joined a cluster: named jobs when it is down for a moment, and task pools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dask
import pytest
from distributed import Client

from dask_facade import DaskFacade, job_manager
from dask_facade.pools import TaskPool
from dask_facade.states import SUCCESS
from tests.cluster import named_functions as functions
from tests.cluster import pool_tasks as tasks
from tests.cluster import seed_programs as programs
from tests.cluster.deployment import Deployment
from tests.cluster.processes import DispatcherProcess, wait_for

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


@pytest.fixture
def dispatchers(
    environment: dict[str, str], deployment: Deployment
) -> Iterator[Callable[[], DispatcherProcess]]:
    """Starts one dispatcher after the other, all with that cluster."""
    started: list[DispatcherProcess] = []

    def start() -> DispatcherProcess:
        started.append(DispatcherProcess(["--scheduler", deployment.address], **environment))
        started[-1].wait_until_ready()
        return started[-1]

    try:
        yield start
    finally:
        for each in started:
            if not each.is_killed:
                each.stop()


def test_what_ends_while_nobody_looks_is_complete_later(
    app: DaskFacade,
    deployment: Deployment,
    dispatchers: Callable[[], DispatcherProcess],
    tmp_path: Path,
) -> None:
    go = str(tmp_path / "go")
    first = dispatchers()
    ends, fails, processed, submitted = jobs = [
        job_manager.create_job(name, "7") for name in ("ends", "fails", "processed", "submitted")
    ]
    processed.process_results_function = functions.convert_to_dollar_sign
    with Client(deployment.address, set_as_default=False) as client:
        future = client.submit(programs.once_there, go, pure=False)
        ends.execute(future)
        fails.execute(client.submit(functions.fail, future, pure=False))
        processed.execute(dask.delayed(len)(dask.delayed(programs.once_there)(go)))
        wait_for(lambda: ends.status == "Running", "its adoption", 60)
        app.control.pause_queue("celery")
        wait_for(lambda: not app.store.asked("pause", "celery"), "the queue's pause", 60)
        submitted.execute(dask.delayed(len)(go))
        assert submitted.status == "Submitted"

        first.kill()
        Path(go).touch()
        assert future.result(timeout=60) == go
    dispatchers()
    app.control.resume_queue("celery")
    wait_for(lambda: all(job.done() for job in jobs), "the end of all", 60)

    assert [job.status for job in jobs] == ["Complete", "Error", "Complete", "Complete"]
    assert (ends.result, processed.result, submitted.result) == (go, f"${len(go)}", len(go))
    assert "no good" in fails.status_message


def test_a_pool_runs_on_the_cluster_and_on_workers_of_its_own(
    app: DaskFacade, dispatchers: Callable[[], DispatcherProcess], tmp_path: Path
) -> None:
    dispatchers()
    with TaskPool("joined", user=7) as pool:
        pool.add_task("program", 1, tmp_path, "pwd", logfile="log")
        pool.add_task("function", 1, tmp_path, tasks.echo, 0.5)
        pool.submit_tasks()
        assert pool.get_finished_tasks() == {"program": 0, "function": 0.5}
        assert (tmp_path / "log").read_text() == f"{tmp_path}\n"

        pool.add_task("own", 1, tmp_path, tasks.echo, "there")
        pool.submit_tasks(dask_nodes=1, dask_ppw=1)
        assert pool.get_finished_tasks() == {"own": "there"}

    ids = [result.id for group in pool.groups for result in group.results]
    assert {(job.owner, job.state) for job in app.store.fetch(ids).values()} == {("7", SUCCESS)}
