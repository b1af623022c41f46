"""The document on task pools: its worker plugins run as they are printed, and what they promise.

The container is a program on PATH that starts what it is told to start, right here.
"""

from __future__ import annotations

import os
import re
import sys
import tarfile
from ast import literal_eval
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dask_facade.pools import Services
from tests.cluster import pool_tasks as tasks
from tests.cluster.documents import Block, blocks_of, run_here, text_of
from tests.cluster.processes import DispatcherProcess

# One database: what these tests are about has nothing to do with it.
pytestmark = [
    pytest.mark.usefixtures("dispatcher"),
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
]

DOCUMENT = "004"

IMPORTS = """
import os
from threading import Event, Thread
from distributed.diagnostics.plugin import WorkerPlugin
from dask_facade.pools import Component
"""

BLOCKS = [
    Block(
        0,
        IMPORTS,
        changed=(("'/tmp'", "{folder}"),),
        after="Worker(services).step()",
        why="the /tmp of a container is its own; that of this machine has more in it",
    ),
    Block(
        1,
        IMPORTS,
        changed=(("'/tmp'", "{folder}"), ("evt.wait(60)", "evt.wait(0.1)")),
        after="Worker(services).step()",
        why="as above; and a test has no minute to wait for the first archive",
    ),
]
COPYING, ARCHIVING = BLOCKS

# With one worker nothing shows that each has its own.
ON_TWO_NODES = ("use_shifter=True", "use_shifter=True, dask_nodes=2")

SHIFTER = """#!/bin/sh
export INSIDE=shifter
exec "$@"
"""

# Both fail outside the container.
WRITES = """#!/bin/sh
test "$INSIDE" = shifter && echo all > output
"""
WRITES_AGAIN_ONCE_ARCHIVED = """#!/bin/sh
test "$INSIDE" = shifter && echo some > early || exit 1
timeout 30 sh -c 'until ls {target}/*_archive.tar.gz; do sleep .05; done' && echo all > late
"""

Run = Callable[[Block, str], dict[str, object]]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """The working directory of the component."""
    path = tmp_path / "target"
    path.mkdir()
    return path


@pytest.fixture
def services(target: Path) -> Iterator[Services]:
    services = Services(working_dir=target)
    yield services
    services.close()


@pytest.fixture
def run(
    services: Services,
    dispatcher: DispatcherProcess,
    tmp_path: Path,
    target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run a block with ``shifter`` and this ``executable`` on PATH; return the exit statuses."""

    def run(block: Block, executable: str) -> dict[str, object]:
        (tmp_path / "written").mkdir()
        programs = tmp_path / "programs"
        programs.mkdir()
        tasks.program(programs, "shifter", SHIFTER)
        tasks.program(programs, "executable", executable.replace("{target}", str(target)))
        monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
        code = block.code_in(DOCUMENT, tmp_path)
        (error,) = run_here([code], dispatcher.scheduler, services=services)
        assert not error, error
        statuses: dict[str, object] = services.get_exit_status("pool")
        return statuses

    return run


def test_the_plugin_of_the_document_copies_what_tasks_wrote_when_it_is_torn_down(
    run: Run, target: Path
) -> None:
    statuses = run(COPYING, WRITES)

    assert statuses == {"task_1": 0}
    assert {path.name: path.read_text() for path in target.iterdir()} == {"output": "all\n"}


def test_the_plugin_of_the_document_archives_while_tasks_run_and_when_it_is_torn_down(
    run: Run, target: Path
) -> None:
    statuses = run(ARCHIVING, WRITES_AGAIN_ONCE_ARCHIVED)

    assert statuses == {"task_1": 0}
    assert contents(target) == [{"./early": "some\n", "./late": "all\n"}]


def test_the_plugin_of_the_document_makes_an_archive_for_each_worker(
    run: Run, target: Path
) -> None:
    block = replace(ARCHIVING, changed=(*ARCHIVING.changed, ON_TWO_NODES))

    statuses = run(block, WRITES)

    assert statuses == {"task_1": 0}
    assert contents(target) == [{"./output": "all\n"}] * 2


def contents(folder: Path) -> list[dict[str, str]]:
    """Return the files of each archive in a folder, which has nothing else in it."""
    found = []
    for path in folder.iterdir():
        assert path.name.endswith("_archive.tar.gz")
        with tarfile.open(path) as archive:
            files = [member for member in archive if member.isfile()]
            readers = {each.name: archive.extractfile(each) for each in files}
            found.append({name: file.read().decode() for name, file in readers.items() if file})
    return found


def test_a_program_a_function_and_a_method_end_as_the_document_shows(
    services: Services, tmp_path: Path
) -> None:
    class Sleeper:
        def method(self, seconds: float) -> int:
            sys.stdout.write(f"myMethod({seconds})\n")
            return 0

    def function(seconds: float) -> int:
        sys.stdout.write(f"myFun({seconds})\n")
        return 0

    binary = tasks.program(tmp_path, "sleep", '#!/bin/sh\necho "$0 $1"\nexec /bin/sleep "$1"\n')
    count, printed, statuses = shown()

    services.create_task_pool("pool")
    services.add_task("pool", "binary", 1, tmp_path, binary, 0.5)
    services.add_task("pool", "function", 1, tmp_path, function, 0.5)
    services.add_task("pool", "method", 1, tmp_path, Sleeper().method, 0.5)
    ret_val = services.submit_tasks("pool", use_dask=True, logfile=tmp_path / "log")

    assert ret_val == count
    assert services.get_finished_tasks("pool") == statuses
    log = (tmp_path / "log").read_text().replace(str(tmp_path), "/bin")
    assert sorted(log.splitlines()) == sorted(printed)


def shown() -> tuple[int, list[str], dict[str, int]]:
    """Return the count, what tasks print, and the statuses, as the document has them."""
    example = re.search(
        r"^ +ret_val = (\d+)\n((?: +.*\n)+?) +exit_status = +(.*)\n", text_of(DOCUMENT), re.M
    )
    assert example is not None
    count, printed, statuses = example.groups()
    return int(count), [line.strip() for line in printed.splitlines()], literal_eval(statuses)


def test_no_block_of_the_document_on_pools_is_left_out() -> None:
    assert [block.number for block in BLOCKS] == list(range(len(blocks_of(DOCUMENT))))
