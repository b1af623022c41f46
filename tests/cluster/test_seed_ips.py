"""What IPS' users know of task pools, each part from end to end on a cluster."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from django.contrib.auth.models import User
from django.test import Client

from dask_facade import DaskFacade, chord
from dask_facade.exceptions import EncodeError
from dask_facade.models import Job
from dask_facade.pools import (
    BadTask,
    ContinuousArchive,
    DuplicateName,
    PoolError,
    Services,
    TaskPool,
    run_ensemble,
)
from dask_facade.states import FAILURE, SUCCESS
from tests.cluster import pool_tasks as tasks
from tests.cluster.portal import browser_of, portal
from tests.cluster.processes import ROOT, wait_for

pytestmark = [
    pytest.mark.usefixtures("dispatcher"),
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
]


def test_pool(tmp_path: Path) -> None:
    services = Services(working_dir=tmp_path)
    services.create_task_pool("pool")
    with pytest.raises(DuplicateName):
        services.create_task_pool("pool")
    services.add_task("pool", "quick", 1, tmp_path, tasks.echo, 0)
    with pytest.raises(DuplicateName):
        services.add_task("pool", "quick", 1, tmp_path, tasks.echo, 0)
    for program, folder, reason in (
        ("/no/such/program", tmp_path, "there is no program"),
        (__file__, tmp_path, "is not executable"),
        ("/bin/sleep", tmp_path / "missing", "does not exist"),
    ):
        with pytest.raises(BadTask, match=reason):
            services.add_task("pool", "bad", 1, folder, program)
    until = "until test -e go; do sleep .05; done"
    services.add_task("pool", "later", 1, tmp_path, "sh", "-c", until)
    services.add_task("pool", "endless", 1, tmp_path, "sh", "-c", "echo $$ > pid; exec sleep 600")

    assert services.submit_tasks("pool", block=False) == 3
    assert services.get_finished_tasks("pool") == {"quick": 0}
    assert services.get_exit_status("pool", "later") is None
    (tmp_path / "go").touch()
    assert services.get_finished_tasks("pool") == {"later": 0}  # it waited for that
    assert services.get_exit_status("pool") == {"quick": 0, "later": 0}
    wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "its start")
    pid = int((tmp_path / "pid").read_text())

    began = time.monotonic()
    services.remove_task_pool("pool")
    assert time.monotonic() - began < 20
    wait_for(lambda: not psutil.pid_exists(pid), "the end of what ran", 5)
    services.create_task_pool("pool")  # the name is free again
    services.close()


def test_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, app: DaskFacade) -> None:
    shifter = '#!/bin/sh\necho "$1" >> {0}/started\nshift\nINSIDE=yes exec "$@"\n'
    tasks.program(tmp_path, "shifter", shifter.format(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    notes = tmp_path / "notes"
    notes.mkdir()
    with TaskPool("options") as pool:
        for name in ("INSIDE", "CUDA_VISIBLE_DEVICES", "SET_BY_PLUGIN"):
            pool.add_task(name, 1, tmp_path, tasks.surroundings, name)
        pool.add_task("env", 1, tmp_path, tasks.surroundings, "A", task_env={"A": "b"})
        pool.add_task("mute", 1, tmp_path, "sh", "-c", "echo said; echo aside >&2")
        pool.add_task("split", 1, tmp_path, "sh", "-c", "echo out; echo err >&2",
                      logfile="out", errfile="err")  # fmt: skip
        pool.add_task("slow", 1, tmp_path, "sleep", 600, timeout=0.3)
        for name, nproc in (("wide", 2), ("narrow", 1), ("broad", 64)):
            pool.add_task(name, nproc, None, tasks.busy, str(tmp_path), name, 0.2)
        with pytest.raises(PoolError, match="wants 64 processors, and a worker has 2"):
            pool.submit_tasks(dask_ppw=2)

        count = pool.submit_tasks(
            block=True,
            dask_nodes=1,
            dask_ppw=2,
            launch_interval=0.05,
            use_shifter=True,
            shifter_args="--image=some/image",
            dask_worker_plugin=tasks.Notes(str(notes)),
            dask_worker_per_gpu=True,
            oversubscribe=True,
            logfile=tmp_path / "pool.out",
            errfile=tmp_path / "pool.err",
        )

        statuses = pool.get_finished_tasks()
        rows = app.store.fetch([each.id for each in pool.groups[0].results]).values()

    assert count == len(statuses) == 10
    said = {"INSIDE": "yes", "CUDA_VISIBLE_DEVICES": "4", "SET_BY_PLUGIN": "yes", "env": "b"}
    assert {name: statuses[name] for name in said} == {
        name: (str(tmp_path), value) for name, value in said.items()
    }
    assert (statuses["slow"], statuses["mute"]) == (-1, 0)
    assert [(tmp_path / name).read_text() for name in ("out", "err")] == ["out\n", "err\n"]
    assert (tmp_path / "pool.out").read_text() == "said\n"
    assert (tmp_path / "pool.err").read_text() == "aside\n"
    beside = {path.stem: path.read_text() for path in tmp_path.glob("*.beside")}
    assert (beside["wide"], beside["broad"]) == ("1", "1")
    assert sorted(path.suffix for path in notes.iterdir()) == [".setup", ".teardown"]
    assert (tmp_path / "started").read_text().split() == 2 * ["--image=some/image"]
    etas = sorted(row.eta for row in rows if row.eta is not None)
    assert len(etas) == 9  # the first one begins at once
    assert 0.3 < (etas[-1] - etas[0]).total_seconds() < 0.6


def test_executables(tmp_path: Path) -> None:
    here = os.getcwd()
    (tmp_path / "sub").mkdir()
    show = tasks.program(tmp_path, "show", '#!/bin/sh\nfor each; do echo "<$each>"; done\n')
    flood = "yes 0123456789 | head -c 10485760 >&2; pwd"
    with TaskPool("programs") as pool:
        pool.add_task("argv", 1, tmp_path, show, "a b", "*", "$HOME; ls", logfile="argv")
        pool.add_task("flood", 1, tmp_path / "sub", "sh", "-c", flood, logfile="flood")
        pool.add_task("code", 1, tmp_path, "sh", "-c", "exit 3")
        pool.add_task("signal", 1, tmp_path, "sh", "-c", "kill -TERM $$")
        pool.add_task(
            "family", 1, tmp_path, tasks.program(tmp_path, "kin", tasks.FAMILY), timeout=1
        )
        pool.submit_tasks()
        statuses = pool.get_finished_tasks()

    assert statuses == {"argv": 0, "flood": 0, "code": 3, "signal": -signal.SIGTERM, "family": -1}
    assert (tmp_path / "argv").read_text() == "<a b>\n<*>\n<$HOME; ls>\n"
    written = (tmp_path / "sub" / "flood").read_bytes()  # both streams
    assert len(written) > 10 * 2**20
    assert written.endswith(f"{tmp_path}/sub\n".encode())
    pids = [int((tmp_path / name).read_text()) for name in ("parent", "grandchild")]
    assert not any(map(psutil.pid_exists, pids))
    assert os.getcwd() == here


def test_callables(tmp_path: Path) -> None:
    with TaskPool("callables") as pool:
        pool.add_task("float", 1, tmp_path, tasks.echo, 0.5)
        pool.add_task("method", 1, tmp_path, tasks.Counter(2).plus, 0.5)
        pool.add_task("raises", 1, tmp_path, tasks.fail, "on purpose")
        pool.add_task("lock", 1, tmp_path, tasks.lock)
        pool.add_task("where", 1, tmp_path, tasks.surroundings, "HOME")
        pool.submit_tasks()
        statuses = pool.get_finished_tasks()

    assert (repr(statuses["float"]), statuses["method"]) == ("0.5", 2.5)
    assert repr(statuses["raises"]) == "ValueError('on purpose')"
    assert isinstance(statuses["lock"], EncodeError)
    assert statuses["where"][0] == str(tmp_path)


def test_worker_plugin(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    until = f"until ls {target}/*_archive.tar.gz; do sleep .05; done >&2"
    with TaskPool("plugged") as pool:
        script = f"echo 1 > first; {until}; echo 2 > second"
        pool.add_task("writes", 1, source, "sh", "-c", script, timeout=30)
        plugin = ContinuousArchive(source, target, interval=0.1)
        pool.submit_tasks(dask_ppw=1, dask_worker_plugin=plugin)
        assert pool.get_finished_tasks() == {"writes": 0}

    (archive,) = target.iterdir()
    with tarfile.open(archive) as files:
        assert sorted(files.getnames()) == ["first", "second"]


def test_log(tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    with TaskPool("logged", simulation_log=log, code="CODE") as pool:
        pool.add_task("good", 1, tmp_path, "/bin/sleep", 0.2)
        pool.add_task("bad", 1, tmp_path, tasks.fail, "x")
        pool.add_task("late", 1, tmp_path, "sleep", 600, timeout=0.3)
        pool.add_task("stuck", 1, tmp_path, tasks.linger, timeout=0.3)
        pool.submit_tasks()

    events = [json.loads(line) for line in log.read_text().splitlines()]
    keys = {"code", "eventtype", "ok", "walltime", "time", "state", "comment"}
    assert all(keys <= each.keys() for each in events)
    assert len([each for each in events if "LAUNCH" in each["eventtype"]]) == 4
    ends = {each["comment"].split(",")[0]: each for each in events if "elapsed_time" in each}
    assert {name.split()[-1]: (each["state"], each["ok"]) for name, each in ends.items()} == {
        "good": ("Succeeded", True),
        "bad": ("Failed", False),
        "late": ("Timed out", False),
        "stuck": ("Timed out", False),
    }
    assert 0.2 <= ends["task_name = good"]["elapsed_time"] < 5


def test_sweep(tmp_path: Path) -> None:
    table = run_ensemble(tasks.volume, {"width": [1, 2], "height": [3, 4]}, tmp_path, "box")

    assert [(row["width"], row["height"], row["result"]) for row in table] == [
        (1, 3, 3),
        (1, 4, 4),
        (2, 3, 6),
        (2, 4, 8),
    ]
    assert len({row["directory"] for row in table}) == 4
    assert Path(table[3]["directory"], "size").read_text() == "2 x 4"
    with (tmp_path / "box__ensemble_results.csv").open() as file:
        assert [row["result"] for row in csv.DictReader(file)] == ["3", "4", "6", "8"]


DRIVER = """
from dask_facade.pools import Component

class Driver(Component):
    def step(self, timestamp=0.0):
        worker = self.services.get_port("WORKER")
        self.services.call(worker, "step", 0.0)
"""

WORKER = """
import copy
from dask_facade.pools import Component, CopyOnTeardown

def function(seconds):
    print(f"function({seconds})")
    return 0

class Worker(Component):
    def step(self, timestamp=0.0):
        cwd = self.services.get_working_dir()
        self.services.create_task_pool("pool")
        self.services.add_task("pool", "binary", 1, cwd, self.EXECUTABLE, 0.1)
        self.services.add_task("pool", "function", 1, cwd, function, 0.5)
        self.services.add_task("pool", "method", 1, cwd, copy.copy(self).method, 0.5)
        plugin = CopyOnTeardown(self.SCRATCH, cwd)
        count = self.services.submit_tasks(
            "pool", use_dask=True, dask_nodes=1, use_shifter=True, dask_worker_plugin=plugin
        )
        print("count =", count)
        print("statuses =", sorted(self.services.get_finished_tasks("pool").items()))
        self.services.remove_task_pool("pool")

    def method(self, seconds):
        print(f"method({seconds})")
        return 0
"""

CONFIG = """
SIM_NAME = example
SIM_ROOT = $PWD/run
LOG_FILE = log
LOG_LEVEL = INFO
SIMULATION_MODE = NORMAL

[PORTS]
    NAMES = DRIVER WORKER
    [[DRIVER]]
        IMPLEMENTATION = driver
    [[WORKER]]
        IMPLEMENTATION = worker

[driver]
    CLASS = DRIVER
    SUB_CLASS =
    NAME = Driver
    NPROC = 1
    MODULE = driver

[worker]
    CLASS = WORKER
    SUB_CLASS =
    NAME = Worker
    NPROC = 1
    EXECUTABLE = $PWD/sleeps
    SCRATCH = $PWD/scratch
    MODULE = worker
"""

PLATFORM = """
HOST = here
MPIRUN = eval
NODE_DETECTION = manual
CORES_PER_NODE = 2
PROCS_PER_NODE = 2
"""


def test_ips_words(tmp_path: Path, environment: dict[str, str], alias: str) -> None:
    files = {"driver.py": DRIVER, "worker.py": WORKER, "sim.config": CONFIG, "platform": PLATFORM}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "scratch").mkdir()
    nap = f'echo "sleeps $1 $INSIDE"; sleep $1; echo done > {tmp_path}/scratch/left'
    tasks.program(tmp_path, "sleeps", f"#!/bin/sh\n{nap}\n")
    tasks.program(tmp_path, "shifter", '#!/bin/sh\nINSIDE=yes exec "$@"\n')

    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "dask_facade.pools",
            "--config",
            "sim.config",
            "--platform",
            "platform",
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            **environment,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert {"function(0.5)", "method(0.5)", "sleeps 0.1 yes"} <= set(lines)
    assert lines[-2:] == ["count = 3", "statuses = [('binary', 0), ('function', 0), ('method', 0)]"]
    assert (tmp_path / "run" / "work" / "WORKER__Worker_2" / "left").read_text() == "done\n"
    log = (tmp_path / "run" / "simulation_log" / "example.json").read_text().splitlines()
    ids = [each["task_id"] for each in map(json.loads, log) if "elapsed_time" in each]
    rows = Job.objects.using(alias).filter(id__in=ids)  # of the site's ledger
    assert [row.state for row in rows] == 3 * [SUCCESS]


@pytest.fixture
def browser(app: DaskFacade) -> Iterator[Client]:
    """Somebody who may see everything, of a site whose ledger is that of the dispatcher."""
    with portal(app, "tests.urls"):
        user = User.objects.create_superuser("root")
        yield browser_of(user)
        user.delete()


def test_rows(tmp_path: Path, browser: Client, app: DaskFacade) -> None:
    user = User.objects.get(username="root")
    with TaskPool("seen", user=user) as pool:
        pool.add_task("binary", 1, tmp_path, "/bin/sleep", 0.1)
        pool.add_task("raises", 1, tmp_path, tasks.fail, "on purpose")
        pool.submit_tasks()

    (group,) = pool.groups
    found = browser.get("/api/jobs/", {"group": group.id}).json()["results"]
    assert {each["arguments"] for each in found} == {
        "binary: sleep 0.1",
        "raises: fail(on purpose)",
    }
    assert {each["state"] for each in found} == {SUCCESS, FAILURE}
    assert {each["owner"] for each in found} == {str(user.pk)}
    assert all(each["created"] <= each["started"] <= each["finished"] for each in found)
    assert Client().get("/api/jobs/", {"group": group.id}).status_code in (401, 403)
    listed = browser.get("/admin/dask_facade/job/").text
    for each in found:
        assert each["id"] in listed
        page = browser.get(f"/admin/dask_facade/job/{each['id']}/change/").text
        assert each["arguments"] in page
        assert group.id in page


def test_pools_in_tasks_and_chords_and_tasks_in_pools_stand_in_the_ledger(
    app: DaskFacade, alias: str, tmp_path: Path
) -> None:
    total = chord([tasks.pooled.s([1, 2]), tasks.pooled.s([3])], tasks.total.s()).apply_async(
        user=7
    )
    with TaskPool("of tasks", user=7) as pool:
        pool.add_task("submits", 1, tmp_path, tasks.submitting, 5)
        pool.submit_tasks(block=False)
        assert total.get(timeout=120) == 14
        assert pool.get_finished_tasks() == {"submits": 11}

    (submits,) = (each.id for each in pool.groups[0].results)
    header = list(Job.objects.using(alias).filter(task=tasks.pooled.name))
    children = Job.objects.using(alias).filter(parent_id__in=[each.id for each in header])
    squares = list(children.exclude(task=tasks.total.name))
    added = list(Job.objects.using(alias).filter(parent_id=submits))
    last = Job.objects.using(alias).get(id=total.id)
    assert (len(header), len(squares), len(added)) == (2, 3, 2)
    jobs = [*header, *squares, *added, last]
    owners = [(job.task.rpartition(".")[2], job.owner) for job in jobs]
    assert {owner for _, owner in owners} == {"7"}, owners
    assert {job.state for job in jobs} == {SUCCESS}
    assert all(job.created <= job.started <= job.finished for job in jobs)
    assert {job.root_id for job in squares} <= {job.root_id for job in header}
    assert {job.root_id for job in added} == {submits}
    assert sorted(job.arguments for job in squares) == [f"{n}: squared({n})" for n in (1, 2, 3)]
