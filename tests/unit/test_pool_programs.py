"""Programs of task pools, and what they start, in a runner's child and in a user's own process."""

from __future__ import annotations

import ctypes
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from dask_facade import DaskFacade, current
from dask_facade.ledger.memory import MemoryStore
from dask_facade.pools import TaskPool

GET_CHILD_SUBREAPER = 37
DEADLINE = 20.0  # seconds

# It starts a child, and one in a session of its own, and ends no sooner than they.
FAMILY = """
sh -c 'echo $$ > "$0/child"; exec sleep 600' "$0" &
setsid sh -c 'echo $$ > "$0/stranger"; exec sleep 600' "$0" &
wait
"""

# What a runner's child does, in a process that may adopt orphans.
IN_A_CHILD = """
import os, signal, subprocess, sys, threading, time
import psutil
from dask_facade.pools.processes import Adopted, Own, run

def shell(script, timeout=None, family=Adopted):
    return run(
        ["sh", "-c", script, sys.argv[1]],
        program="/bin/sh", cwd="/", env={}, timeout=timeout, family=family(),
    )

def children():
    return psutil.Process().children()

def is_zombie(process):
    return psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE

def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, children()
        time.sleep(0.01)
"""


@pytest.fixture
def eager() -> Iterator[TaskPool]:
    before = current.app() if current.has_app() else None
    DaskFacade("eager", store=MemoryStore(), task_always_eager=True)
    with TaskPool("eager", names={}) as pool:
        yield pool
    current.forget_app() if before is None else current.set_app(before)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_a_child(script: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CHILD + script, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def lives(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_an_eager_program_that_times_out_is_ended_with_its_family_and_nobody_else(
    eager: TaskPool, tmp_path: Path
) -> None:
    neighbours: list[subprocess.Popen[bytes]] = []

    def start_another() -> None:
        wait_for((tmp_path / "stranger").exists)
        neighbours.append(subprocess.Popen(["sleep", "600"], start_new_session=True))

    starting = threading.Thread(target=start_another)
    starting.start()
    eager.add_task("family", 1, tmp_path, "sh", "-c", FAMILY, tmp_path, timeout=1)

    eager.submit_tasks()

    starting.join(DEADLINE)
    (neighbour,) = neighbours
    alive = neighbour.poll() is None
    neighbour.kill()
    neighbour.wait()
    assert alive
    assert eager.get_finished_tasks() == {"family": -1}
    pids = [int((tmp_path / name).read_text()) for name in ("child", "stranger")]
    wait_for(lambda: not any(map(lives, pids)))


def test_an_eager_program_leaves_the_users_process_no_subreaper(
    eager: TaskPool, tmp_path: Path
) -> None:
    eager.add_task("true", 1, tmp_path, "true")

    eager.submit_tasks()

    is_subreaper = ctypes.c_int(-1)
    ctypes.CDLL(None).prctl(GET_CHILD_SUBREAPER, ctypes.byref(is_subreaper), 0, 0, 0)
    assert eager.get_finished_tasks() == {"true": 0}
    assert is_subreaper.value == 0


@pytest.mark.parametrize("family", ["Adopted", "Own"])
def test_a_program_is_ended_with_its_family_where_its_caller_is_interrupted(
    tmp_path: Path, family: str
) -> None:
    in_a_child(
        f"""
def interrupt():
    for name in ("child", "stranger"):
        path = f"{{sys.argv[1]}}/{{name}}"
        wait_for(lambda: os.path.exists(path) and os.stat(path).st_size)
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    shell({FAMILY!r}, family={family})
except KeyboardInterrupt:
    pass
else:
    raise AssertionError
""",
        tmp_path,
    )

    pids = [int((tmp_path / name).read_text()) for name in ("child", "stranger")]
    wait_for(lambda: not any(map(lives, pids)))


def test_a_childs_program_leaves_no_zombie_when_its_time_is_up(tmp_path: Path) -> None:
    in_a_child(f"assert shell({FAMILY!r}, 1) == (-1, False)\nassert children() == []", tmp_path)

    pids = [int((tmp_path / name).read_text()) for name in ("child", "stranger")]
    assert not any(map(psutil.pid_exists, pids))


def test_a_childs_program_leaves_daemons_that_are_buried_after_a_later_one(tmp_path: Path) -> None:
    in_a_child(
        """
daemon = "setsid sh -c 'until test -e $0/end; do sleep 0.01; done' $0 &"
assert shell(daemon) == (0, True)
(left,) = children()
assert not is_zombie(left)
assert shell("touch $0/end") == (0, True)
wait_for(lambda: children() == [] or is_zombie(left))
assert shell("exit 3") == (3, True)
assert children() == []
""",
        tmp_path,
    )


def test_a_childs_program_takes_no_other_threads_child_from_who_waits_for_it(
    tmp_path: Path,
) -> None:
    in_a_child(
        """
before = subprocess.Popen(["sh", "-c", "exit 5"], start_new_session=True)
wait_for(lambda: is_zombie(before))
started = []
over = threading.Event()

def start():
    wait_for(lambda: os.path.exists(sys.argv[1] + "/began"))
    for new_session in (True, False):
        started.append(subprocess.Popen(["sh", "-c", "exit 7"], start_new_session=new_session))
    wait_for(lambda: all(map(is_zombie, started)))
    open(sys.argv[1] + "/end", "w").close()
    over.wait(20)

thread = threading.Thread(target=start)
thread.start()
script = "touch $0/began; until test -e $0/end; do sleep 0.01; done"
assert shell(script, 20) == (0, True)
over.set()
thread.join()
assert [each.wait() for each in [before, *started]] == [5, 7, 7]
""",
        tmp_path,
    )
