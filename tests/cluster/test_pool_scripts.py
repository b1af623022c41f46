"""Pools of processes without Django: scripts, and simulations that a configuration describes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.cluster.processes import ROOT, assert_gone

DRIVER = """
from dask_facade.pools import Component


class Leader(Component):
    def step(self, timestamp=0.0):
        self.services.call(self.services.get_port("HELPER"), "step", timestamp)
"""

HELPER = """
import copy
from dask_facade.pools import Component


def halve(number):
    print(f"halve({number})")
    return number / 2


class Helper(Component):
    def step(self, timestamp=0.0):
        folder = self.services.get_working_dir()
        self.services.create_task_pool("pool")
        self.services.add_task("pool", "program", 1, folder, self.PROGRAM, 0.1)
        self.services.add_task("pool", "function", 1, folder, halve, 0.5)
        self.services.add_task("pool", "method", 1, folder, copy.copy(self).double, 0.5)
        print("count =", self.services.submit_tasks("pool", use_dask=True, dask_nodes=1))
        print(sorted(self.services.get_finished_tasks("pool").items()))
        print(self.services.get_exit_status("pool", "program"), folder)
        self.services.info("done")
        self.services.remove_task_pool("pool")

    def double(self, number):
        return number * int(self.FACTOR)
"""

CONFIG = """
SIM_NAME = example
SIM_ROOT = $PWD/run
LOG_FILE = example.log
LOG_LEVEL = INFO

[PORTS]
    NAMES = DRIVER HELPER
    [[DRIVER]]
        IMPLEMENTATION = leader
    [[HELPER]]
        IMPLEMENTATION = helper

[leader]
    CLASS = DRIVER
    SUB_CLASS =
    NAME = Leader
    SCRIPT = $PWD/leader.py

[helper]
    CLASS = HELPER
    SUB_CLASS =
    NAME = Helper
    SCRIPT = $PWD/helper.py
    PROGRAM = $PWD/nap
    FACTOR = 2
"""

SCRIPT = """
import os, sys
from dask_facade.pools import TaskPool


def nested(number):
    with TaskPool("within") as pool:
        pool.add_task("inner", 1, None, pow, number, 2)
        pool.submit_tasks(dask_ppw=1)
        return pool.get_finished_tasks()["inner"]


if __name__ == "__main__":
    pool = TaskPool("outer", processors=2)
    pool.add_task("nested", 1, None, nested, 3)
    pool.add_task("endless", 1, None, "sh", "-c", "echo $$ > pid; exec sleep 600")
    pool.submit_tasks(block=False)
    print(pool.get_finished_tasks(), "django" in sys.modules)
"""

DOOMED = """
import time
import psutil
from pathlib import Path
from dask_facade.pools import PoolError, TaskPool

pool = TaskPool("doomed")
pool.add_task("endless", 1, None, "sh", "-c", "echo $$ > pid; touch began; exec sleep 600")
pool.submit_tasks(block=False, dask_ppw=1)
while not Path("began").exists():
    time.sleep(0.01)
for each in psutil.Process().children():
    if "pools.inside" in " ".join(each.cmdline()):
        each.kill()
try:
    pool.get_finished_tasks()
except PoolError as error:
    print(error)
pool.remove()
print(pool.get_exit_status())
"""


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    left_out = ("DJANGO_SETTINGS_MODULE",)
    environment = {name: each for name, each in os.environ.items() if name not in left_out}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_ips_words_a_simulation_runs_as_its_configuration_says(tmp_path: Path) -> None:
    (tmp_path / "leader.py").write_text(DRIVER)
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "example.config").write_text(CONFIG)
    (tmp_path / "nap").write_text("#!/bin/sh\necho napping $1\nsleep $1\n")
    (tmp_path / "nap").chmod(0o755)

    done = python(tmp_path, "-m", "dask_facade.pools", "--config", "example.config")

    assert done.returncode == 0, done.stderr
    folder = tmp_path / "run" / "work" / "HELPER__Helper_2"
    assert {"napping 0.1", "halve(0.5)"} <= set(done.stdout.splitlines())
    assert done.stdout.splitlines()[-3:] == [
        "count = 3",
        "[('function', 0.25), ('method', 1.0), ('program', 0)]",
        f"0 {folder}",
    ]
    assert "done" in (tmp_path / "run" / "example.log").read_text()
    log = tmp_path / "run" / "simulation_log" / "example.json"
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [each["eventtype"] for each in (events[0], events[-1])] == ["IPS_START", "IPS_END"]
    tasks = [each for each in events if "task_name" in each["comment"]]
    assert {each["code"] for each in tasks} == {"HELPER__Helper"}
    assert len(tasks) == 6


def test_pool_of_a_script_has_a_ledger_in_memory_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)

    done = python(tmp_path, "script.py")

    assert (done.returncode, done.stdout) == (0, "{'nested': 9} False\n"), done.stderr
    assert "Traceback" not in done.stderr
    pid = int((tmp_path / "pid").read_text())
    assert_gone([psutil.Process(pid)] if psutil.pid_exists(pid) else [])


def test_pool_workers_that_die_are_a_clear_error_and_removal_waits_for_no_outcome(
    tmp_path: Path,
) -> None:
    (tmp_path / "script.py").write_text(DOOMED)

    done = python(tmp_path, "script.py")

    error = "the workers of pool 'doomed' have ended before they were told to"
    assert (done.returncode, done.stdout) == (0, f"{error}\n{{}}\n"), done.stderr
    pid = int((tmp_path / "pid").read_text())
    assert_gone([psutil.Process(pid)] if psutil.pid_exists(pid) else [])
