"""What pools do when something goes wrong beside them, or two threads want different things."""

from __future__ import annotations

import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from dask_facade import DaskFacade, current
from dask_facade.exceptions import TaskRevokedError
from dask_facade.ledger.memory import MemoryStore
from dask_facade.pools import ContinuousArchive, CopyOnTeardown, DuplicateName, TaskPool
from dask_facade.pools.cluster import PoolCluster
from dask_facade.pools.journal import SimulationLog
from dask_facade.pools.ledgers import Ledger
from dask_facade.pools.shape import Shape
from dask_facade.pools.tally import Tally
from dask_facade.pools.task import task_of
from tests.unit.leading import Leader

DEADLINE = 20.0  # seconds

# It never becomes a cluster, and ends when its standard input does.
CONTAINER = """#!/bin/sh
echo $$ > {folder}/pid
mv {folder}/pid {folder}/began
exec cat
"""


@pytest.fixture
def app() -> Iterator[DaskFacade]:
    """An app whose ledger has a leader, which does nothing."""
    before = current.app() if current.has_app() else None
    store = MemoryStore()
    Leader(store, "127.0.0.1:1")
    app = DaskFacade("tests", store=store)
    yield app
    app.client.close()
    current.forget_app() if before is None else current.set_app(before)


@pytest.fixture
def container(tmp_path: Path) -> str:
    path = tmp_path / "container"
    path.write_text(CONTAINER.format(folder=tmp_path))
    path.chmod(0o755)
    return str(path)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# Two threads


def test_of_two_threads_that_take_a_name_one_gets_it() -> None:
    both = threading.Barrier(2)

    class Names(dict[str, TaskPool]):
        """Lets whoever looks wait for the other one to look, too."""

        def __contains__(self, name: object) -> bool:
            found = super().__contains__(name)
            with suppress(threading.BrokenBarrierError):
                both.wait(0.5)
            return found

    names = Names()
    made: list[TaskPool] = []
    refused: list[DuplicateName] = []

    def make() -> None:
        try:
            made.append(TaskPool("same", names=names))
        except DuplicateName as error:
            refused.append(error)

    threads = [threading.Thread(target=make) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(DEADLINE)

    assert (len(made), len(refused)) == (1, 1)
    assert names["same"] is made[0]


def test_what_one_thread_submits_does_not_run_once_another_has_ended_the_pool(
    app: DaskFacade, container: str, tmp_path: Path
) -> None:
    pool = TaskPool("ended", names={})
    pool.add_task("never", 1, tmp_path, "touch", "ran")
    counts: list[int] = []
    submitting = threading.Thread(
        target=lambda: counts.append(pool.submit_tasks(container=[container]))
    )
    submitting.start()
    wait_for((tmp_path / "began").exists)

    pool.remove()

    submitting.join(DEADLINE)
    assert counts == [0]
    assert pool.groups == []
    assert pool.get_finished_tasks() == {}
    assert not is_alive(int((tmp_path / "began").read_text()))


def cluster_in(container: str, store: Any) -> PoolCluster:
    shape = Shape(workers=1, threads=1, processors=1, prefix=(container,))
    return PoolCluster("pool", shape, store=store, queue="own:pool:1", settings_module="")


def test_workers_that_were_ended_before_they_began_never_do(
    app: DaskFacade, container: str, tmp_path: Path
) -> None:
    cluster = cluster_in(container, app.store)

    cluster.close()
    cluster.start()

    assert not (tmp_path / "began").exists()


def test_workers_are_ended_while_they_start(
    app: DaskFacade, container: str, tmp_path: Path
) -> None:
    cluster = cluster_in(container, app.store)
    starting = threading.Thread(target=cluster.start)
    starting.start()
    wait_for((tmp_path / "began").exists)

    cluster.close()

    starting.join(DEADLINE)
    assert not starting.is_alive()
    assert not is_alive(int((tmp_path / "began").read_text()))


# Files


def test_a_log_that_cannot_be_written_costs_no_outcome(
    app: DaskFacade, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    log = SimulationLog(tmp_path / "file" / "log.json")
    tally = Tally(Ledger(app), lambda: None, log, "CODE")
    for name in ("one", "two"):
        task = task_of(name, 1, tmp_path, "true", (), {})
        tally.add(app.submit(task.signature(log=log, code="CODE")).id, task)
    app.store.open_desk().revoke(1, tally.active, "revoked")

    tally.look()

    assert {name: type(each) for name, each in tally.new().items()} == dict.fromkeys(
        ("one", "two"), TaskRevokedError
    )
    assert "log.json cannot be written to" in caplog.text


def archived(folder: Path) -> dict[str, bytes]:
    """Archive what is in a folder; return the files of the archive."""
    plugin = ContinuousArchive(folder, folder.parent / "target", interval=600)
    plugin.setup(SimpleNamespace(name="worker"))
    plugin.teardown(None)
    with tarfile.open(folder.parent / "target" / "worker_archive.tar.gz") as archive:
        files = {each.name: archive.extractfile(each) for each in archive if each.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with three files, the second of which is odd."""
    folder = tmp_path / "source"
    folder.mkdir()
    for name in ("first", "odd", "third"):
        (folder / name).write_text(name)
    return folder


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError])
def test_worker_plugin_archives_all_else_where_a_file_cannot_be_read(
    source: Path,
    error: type[OSError],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    opened = Path.open

    def refused(path: Path, *args: Any, **options: Any) -> IO[Any]:
        if path.name == "odd":
            raise error(1, "it is not to be had")
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refused)

    assert archived(source) == {"first": b"first", "third": b"third"}
    assert "source/odd is left out of the archive: [Errno 1] it is not to be had" in caplog.text


def test_worker_plugin_archives_all_else_where_a_file_becomes_shorter(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked_at = tarfile.TarFile.gettarinfo

    def cut(archive: tarfile.TarFile, *args: Any, **options: Any) -> tarfile.TarInfo:
        member = looked_at(archive, *args, **options)
        if member.name == "odd":
            os.truncate(source / "odd", 1)
        return member

    monkeypatch.setattr(tarfile.TarFile, "gettarinfo", cut)

    assert archived(source) == {"first": b"first", "odd": b"o\0\0", "third": b"third"}
    assert "source/odd is archived with zeros in the place of its end: it became" in caplog.text


def test_worker_plugin_copies_all_else_where_something_cannot_be_copied(
    source: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source / "odd").unlink()
    os.mkfifo(source / "odd")

    CopyOnTeardown(source, tmp_path / "target").teardown(None)

    assert {path.name for path in (tmp_path / "target").iterdir()} == {"first", "third"}
    assert "source/odd is not copied" in caplog.text
