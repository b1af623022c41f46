"""Pools with workers of their own: where these start, what they have, and when they end."""

from __future__ import annotations

import os
import stat
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from dask_facade import DaskFacade, chord, current
from dask_facade.pools import (
    BadTask,
    ContainerError,
    ContinuousArchive,
    PoolError,
    TaskPool,
    VersionMismatch,
    run_ensemble,
)
from tests.cluster import pool_tasks as tasks
from tests.cluster.processes import wait_for

# One database: what these tests are about has nothing to do with it.
pytestmark = [
    pytest.mark.usefixtures("dispatcher"),
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
]


def test_container_the_scheduler_and_the_workers_start_inside_it_and_a_plugin_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, target = tmp_path / "out", tmp_path / "target"
    out.mkdir()
    container(tmp_path, monkeypatch, "shifter", 'shift; exec "$@"')
    script = "echo 1 > first; until test -e ../target/shifted-0_archive.tar.gz; do sleep .05; done"
    with TaskPool("shifted") as pool:
        pool.add_task("inside", 1, tmp_path, tasks.surroundings, "INSIDE")
        pool.add_task("program", 1, tmp_path, "sh", "-c", 'test "$INSIDE" = yes')
        pool.add_task("only there", 1, tmp_path, "sh", "-c", "exit 0", in_container=True)
        pool.add_task("sees archive", 1, out, "sh", "-c", f"{script}; echo 2 > second", timeout=60)

        count = pool.submit_tasks(
            use_shifter=True,
            shifter_args="--image=some/image",
            dask_ppw=1,
            dask_worker_plugin=ContinuousArchive(out, target, interval=0.1),
        )

        assert count == 4
        assert pool.get_finished_tasks() == {
            "inside": (str(tmp_path), "yes"),
            "program": 0,
            "only there": 0,
            "sees archive": 0,
        }
    with tarfile.open(target / "shifted-0_archive.tar.gz") as archive:
        assert sorted(archive.getnames()) == ["first", "second"]
    assert "--image=some/image" in (tmp_path / "started").read_text()


def test_container_with_another_dask_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "image" / "dask"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text('__version__ = "2020.1.0"\n')
    (fake.parent / "distributed.py").write_text('__version__ = "2020.1.0"\n')
    (fake.parent / "dask_facade.py").write_text('__version__ = "0.1.0"\n')
    container(tmp_path, monkeypatch, "apptainer", f'shift 2; PYTHONPATH={fake.parent} exec "$@"')
    with TaskPool("old") as pool:
        pool.add_task("never", 1, tmp_path, "touch", "ran")

        with pytest.raises(VersionMismatch, match=r"dask is 2020\.1\.0 in the container and 20"):
            pool.submit_tasks(container=["apptainer", "exec", "image.sif"])

    assert not (tmp_path / "ran").exists()


def test_container_without_dask_says_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container(tmp_path, monkeypatch, "docker", "echo no such image; exit 125")
    with TaskPool("empty") as pool:
        pool.add_task("never", 1, tmp_path, "true")

        with pytest.raises(ContainerError, match=r"'docker run image'.*no such image"):
            pool.submit_tasks(container="docker run image")


def test_container_that_is_not_on_the_path_is_a_clear_error(tmp_path: Path) -> None:
    with TaskPool("nowhere") as pool:
        pool.add_task("never", 1, tmp_path, "true")

        with pytest.raises(ContainerError, match="no program 'shifter' on PATH"):
            pool.submit_tasks(use_shifter=True, shifter_args="--image=some/image")


def test_worker_plugin_is_set_up_once_a_worker_and_torn_down_and_each_gpu_has_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    notes = tmp_path / "notes"
    notes.mkdir()
    with TaskPool("plugged") as pool:
        for number in range(4):
            pool.add_task(f"{number}", 1, tmp_path, tasks.device, str(tmp_path), "SET_BY_PLUGIN")

        pool.submit_tasks(
            dask_worker_per_gpu=True, dask_ppw=1, dask_worker_plugin=tasks.Notes(str(notes))
        )

        assert set(pool.get_finished_tasks().values()) == {("4", "yes"), ("7", "yes")}
    assert {path.name: path.read_text() for path in notes.iterdir()} == {
        "plugged-0.setup": "setup\n",
        "plugged-0.teardown": "teardown\n",
        "plugged-1.setup": "setup\n",
        "plugged-1.teardown": "teardown\n",
    }


def test_options_dask_worker_per_gpu_without_one_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with TaskPool("blind") as pool:
        pool.add_task("never", 1, tmp_path, tasks.echo)

        with pytest.raises(PoolError, match="there is no GPU here"):
            pool.submit_tasks(dask_worker_per_gpu=True)


# Tasks with their nproc, and how many of them run at a time where there are two processors.
EXPECTED = [("narrow", 1, 2), ("slim", 1, 2), ("wide", 2, 1), ("broad", 64, 1)]


def test_options_nproc_is_a_resource_that_tasks_share_and_oversubscribe_stretches(
    tmp_path: Path,
) -> None:
    with TaskPool("sharing") as pool:
        for name, nproc, beside in EXPECTED:
            pool.add_task(name, nproc, None, tasks.busy, str(tmp_path), name, beside)

        with pytest.raises(PoolError, match="wants 64 processors, and a worker has 2"):
            pool.submit_tasks(dask_ppw=2)
        pool.submit_tasks(dask_nodes=1, dask_ppw=2, oversubscribe=True)

    beside = {path.stem: int(path.read_text()) for path in tmp_path.glob("*.beside")}
    assert beside == {name: count for name, _, count in EXPECTED}


def test_callables_that_cannot_travel_are_refused_before_anything_runs(
    app: DaskFacade, tmp_path: Path
) -> None:
    with TaskPool("stuck") as pool:
        pool.add_task("fine", 1, tmp_path, "touch", "ran")
        pool.add_task("stuck", 1, tmp_path, tasks.echo, tasks.lock())

        with pytest.raises(BadTask, match="task 'stuck': echo cannot travel"):
            pool.submit_tasks()

    assert not (tmp_path / "ran").exists()


def test_pool_a_chord_of_pools_works() -> None:
    assert chord([tasks.pooled.s([1, 2]), tasks.pooled.s([3])], tasks.total.s())().get(60) == 14


def test_pool_tasks_of_the_site_run_in_a_pool_and_are_submitted_there(tmp_path: Path) -> None:
    with TaskPool("of tasks") as pool:
        pool.add_task("task", 1, tmp_path, tasks.add, 1, 2)
        pool.add_task("submits", 1, tmp_path, tasks.submitting, 5)
        pool.submit_tasks()

        assert pool.get_finished_tasks() == {"task": 3, "submits": 11}


def test_sweep_runs_a_function_for_each_combination_in_a_directory_of_its_own(
    tmp_path: Path,
) -> None:
    table = run_ensemble(tasks.volume, {"width": [1, 2], "height": [3, 4]}, tmp_path, "boxes")

    assert [row["result"] for row in table] == [3, 4, 6, 8]
    assert [row["ensemble_name"] for row in table] == [f"boxes{number}" for number in range(4)]
    for row in table:
        size = Path(row["directory"], "size").read_text()
        assert size == f"{row['width']} x {row['height']}"
    first, *_ = (tmp_path / "boxes__ensemble_results.csv").read_text().splitlines()
    assert first == "ensemble_name,width,height,directory,result"


def test_sweep_runs_simulations_of_a_template(tmp_path: Path) -> None:
    (tmp_path / "part.py").write_text(PART)
    template = tmp_path / "template.config"
    template.write_text(TEMPLATE.format(script=tmp_path / "part.py"))

    table = run_ensemble(template, {"part": {"SIZE": [2, 3], "BREAKS": ["", "yes"]}}, tmp_path)

    assert [row["result"] for row in table] == [0, 1]
    assert [row["part:SIZE"] for row in table] == [2, 3]
    folder = Path(table[0]["directory"])
    assert (folder / "work" / "PART__Part_1" / "size").read_text() == "2 in ensemble0"
    assert "RuntimeError: it breaks" in (tmp_path / "ensemble1" / "ensemble1.log").read_text()


PART = """
from dask_facade.pools import Component

class Part(Component):
    def step(self, timestamp=0.0):
        if self.BREAKS:
            raise RuntimeError("it breaks")
        name = self.services.get_config_param("ENSEMBLE_INSTANCE")
        open("size", "w").write(f"{self.SIZE} in {name}")
"""

TEMPLATE = """
SIM_NAME = ?
SIM_ROOT = ?
[PORTS]
    NAMES = DRIVER
    [[DRIVER]]
        IMPLEMENTATION = part
[part]
    CLASS = PART
    NAME = Part
    SCRIPT = {script}
    SIZE = ?
    BREAKS = ?
"""


@pytest.fixture
def served(alias: str, app: DaskFacade, django_db_blocker: DjangoDbBlocker) -> Iterator[APIClient]:
    """The API of a site whose ledger is that of the dispatcher."""
    before = current.site()
    current.set_site(current.Site(app.store, app.client, before.packages))
    client = APIClient()
    client.force_authenticate(User(pk=7, username="root", is_superuser=True))
    with (
        django_db_blocker.unblock(),
        override_settings(
            DASK_FACADE={"LEDGER_DATABASE": alias},
            DATABASE_ROUTERS=["dask_facade.routers.LedgerRouter"],
        ),
    ):
        yield client
    current.set_site(before)


def test_rows_are_seen_in_the_api(served: APIClient, tmp_path: Path) -> None:
    with TaskPool("shown", user=User(pk=7)) as pool:
        pool.add_task("one", 1, tmp_path, "true")
        pool.add_task("two", 1, tmp_path, tasks.echo, 2)
        pool.submit_tasks()
        (group,) = pool.groups

    found = {job.id: served.get(f"/api/jobs/{job.id}/").json() for job in group.results}

    assert {each["arguments"] for each in found.values()} == {"one: true", "two: echo(2)"}
    assert {each["state"] for each in found.values()} == {"SUCCESS"}


def container(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str) -> None:
    """Put a program on PATH that notes what it starts."""
    path = folder / name
    path.write_text(f'#!/bin/sh\nexport INSIDE=yes\necho "$@" >> {folder}/started\n{code}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_who_waits_for_a_batch_leaves_the_workers_of_the_next_one_alone(tmp_path: Path) -> None:
    with TaskPool("overlapping") as pool:
        script = "touch began; until test -e go; do sleep .05; done"
        pool.add_task("first", 1, tmp_path, "sh", "-c", script)

        def submit_first() -> None:
            pool.submit_tasks(dask_nodes=1, dask_ppw=1)

        def submit_second() -> None:
            pool.submit_tasks(dask_nodes=1, dask_ppw=1, block=False)

        waiting = threading.Thread(target=submit_first)
        waiting.start()
        wait_for((tmp_path / "began").exists, "the first task", 30)
        pool.add_task("second", 1, tmp_path, "true")
        submitting = threading.Thread(target=submit_second)
        submitting.start()
        (tmp_path / "go").touch()
        while submitting.is_alive():
            pool.get_exit_status()

        wait_for(lambda: pool.get_exit_status("second") == 0, "the second task")
        waiting.join(20)
        assert not waiting.is_alive()
