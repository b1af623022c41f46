"""Task pools of a site, on its workers."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_facade import DaskFacade
from dask_facade.exceptions import TaskRevokedError
from dask_facade.pools import TaskPool
from dask_facade.states import FAILURE, SUCCESS
from tests.cluster import pool_tasks as tasks
from tests.cluster.processes import wait_for

pytestmark = pytest.mark.usefixtures("dispatcher")


def test_pool_without_wishes_runs_on_the_workers_of_the_site(
    app: DaskFacade, tmp_path: Path
) -> None:
    with TaskPool("plain") as pool:
        pool.add_task("binary", 1, tmp_path, "pwd", logfile="log")
        pool.add_task("function", 1, tmp_path, tasks.surroundings, "PATH")

        assert pool.submit_tasks(block=False) == 2
        statuses: dict[str, Any] = {}
        while found := pool.get_finished_tasks():
            statuses |= found

    assert statuses["binary"] == 0
    assert (tmp_path / "log").read_text() == f"{tmp_path}\n"
    assert statuses["function"][0] == str(tmp_path)


def test_pool_finished_tasks_come_as_they_end_and_more_can_follow(tmp_path: Path) -> None:
    with TaskPool("growing") as pool:
        pool.add_task("quick", 1, tmp_path, tasks.echo, 1)
        pool.add_task("slow", 1, tmp_path, "sleep", 600)
        pool.submit_tasks(block=False)

        assert pool.get_finished_tasks() == {"quick": 1}
        assert pool.get_exit_status("slow") is None

        pool.add_task("later", 1, tmp_path, tasks.echo, 2)
        assert pool.submit_tasks(block=False) == 1
        assert pool.get_finished_tasks() == {"later": 2}


def test_pool_removal_ends_what_runs_within_seconds(app: DaskFacade, tmp_path: Path) -> None:
    pool = TaskPool("removed")
    pool.add_task("family", 1, tmp_path, tasks.program(tmp_path, "family", tasks.FAMILY))
    pool.add_task("function", 1, tmp_path, tasks.linger)
    pool.add_task("waits", 1, tmp_path, "sleep", 600)

    def submit() -> None:
        pool.submit_tasks()
        app.store.disconnect()

    submitting = threading.Thread(target=submit)  # it waits for all of them
    submitting.start()
    wait_for(lambda: (tmp_path / "grandchild").exists() and (tmp_path / "parent").exists(), "a run")
    pids = [int((tmp_path / name).read_text()) for name in ("parent", "grandchild")]

    pool.remove_task_pool()

    wait_for(lambda: not submitting.is_alive(), "the end of who waits")
    wait_for(lambda: not any(map(psutil.pid_exists, pids)), "the end of the family", 5)
    statuses = pool.get_exit_status()
    assert {name: type(each) for name, each in statuses.items()} == dict.fromkeys(
        ("family", "function", "waits"), TaskRevokedError
    )
    with TaskPool("removed"):  # the name is free again
        pass


def test_options_launch_interval_parts_the_starts(app: DaskFacade, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    with TaskPool("spread", simulation_log=log) as pool:
        for number in range(2):
            pool.add_task(f"task {number}", 1, tmp_path, tasks.echo)
        pool.submit_tasks(launch_interval=1.0)

    events = [json.loads(line) for line in log.read_text().splitlines()]
    ends = {each["task_id"]: each["start_time"] for each in events if "END" in each["eventtype"]}
    first, second = (app.store.fetch([each.id])[each.id] for each in pool.groups[0].results)
    assert first.eta is None
    assert first.created is not None
    assert second.eta is not None
    assert (second.eta - first.created).total_seconds() > 0.9
    assert ends[second.id] > second.eta.timestamp() - 0.1


def test_rows_a_pool_is_a_group_of_jobs_with_owner_and_times(
    app: DaskFacade, tmp_path: Path
) -> None:
    with TaskPool("rows", user=7) as pool:
        pool.add_task("binary", 1, tmp_path, "/bin/sleep", 0.1)
        pool.add_task("raises", 1, tmp_path, tasks.fail, "on purpose")
        pool.submit_tasks()

    (group,) = pool.groups
    jobs = app.store.fetch(app.store.group(group.id))
    assert len(jobs) == 2
    assert {(job.owner, job.group_id) for job in jobs.values()} == {("7", group.id)}
    assert all(job.created and job.started and job.finished for job in jobs.values())
    binary, raised = sorted(jobs.values(), key=lambda job: job.arguments)
    assert (binary.state, binary.arguments) == (SUCCESS, "binary: sleep 0.1")
    assert binary.task == "dask_facade.pools.running.execute"
    assert (raised.state, raised.arguments) == (FAILURE, "raises: fail(on purpose)")
    assert "on purpose" in (raised.traceback or "")
