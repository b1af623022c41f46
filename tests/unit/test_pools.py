"""What task pools decide before anything runs, and the parts of a run that need no cluster."""

from __future__ import annotations

import json
import os
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dask_facade import DaskFacade, current
from dask_facade.ledger.memory import MemoryStore
from dask_facade.pools import (
    BadConfig,
    BadTask,
    Component,
    ContinuousArchive,
    CopyOnTeardown,
    DuplicateName,
    PoolError,
    Services,
    Simulation,
    TaskPool,
    UnknownName,
    slots,
)
from dask_facade.pools.__main__ import main
from dask_facade.pools.config import parse, read, written
from dask_facade.pools.ensemble import Instance, filled, instances_of
from dask_facade.pools.journal import TASK_END, SimulationLog
from dask_facade.pools.machine import gpus_here
from dask_facade.pools.shape import Wanted, shape_of
from dask_facade.pools.task import task_of


def noop() -> None: ...


@pytest.fixture
def pool() -> TaskPool:
    return TaskPool("unit", names={})


# Names and bad input


def test_pool_a_name_is_taken_until_its_pool_is_removed() -> None:
    first = TaskPool("same")

    with pytest.raises(DuplicateName, match="a task pool named 'same' already"):
        TaskPool("same")
    first.remove()
    TaskPool("same").remove()


def test_pool_a_task_name_is_taken_for_good(pool: TaskPool, tmp_path: Path) -> None:
    pool.add_task("same", 1, tmp_path, noop)

    with pytest.raises(DuplicateName, match="a task of this pool named 'same' already"):
        pool.add_task("same", 1, tmp_path, noop)


def test_pool_without_tasks_submits_none(pool: TaskPool) -> None:
    assert pool.submit_tasks(dask_nodes=1) == 0
    assert pool.get_finished_tasks() == {}


def test_pool_a_task_must_be_able_to_run(pool: TaskPool, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("no program")
    table: list[tuple[Any, Any, Any, dict[str, Any], str]] = [
        (1, tmp_path, "/no/such/program", {}, "there is no program '/no/such/program'"),
        (1, tmp_path, "no-such-program", {}, "there is no program 'no-such-program' on PATH"),
        (1, tmp_path, plain, {}, "is not executable"),
        (1, tmp_path / "missing", noop, {}, "its working directory .* does not exist"),
        (1, plain, noop, {}, "its working directory .* does not exist"),
        (0, tmp_path, noop, {}, "nproc is a number of processors, at least 1, not 0"),
        ("many", tmp_path, noop, {}, "nproc is a number"),
        (1, tmp_path, 7, {}, "neither a program nor callable"),
        (1, tmp_path, noop, {"timeout": 0}, "timeout is a number of seconds, more than 0"),
        (1, tmp_path, noop, {"timeout": "soon"}, "timeout is a number of seconds"),
        (1, tmp_path, noop, {"logfle": "x"}, "no such option: logfle"),
    ]

    for nproc, folder, target, options, reason in table:
        with pytest.raises(BadTask, match=f"task 'bad': .*{reason}"):
            pool.add_task("bad", nproc, folder, target, **options)
    pool.add_task("bad", 1, tmp_path, noop)  # the name was not taken by what was refused


def test_executables_keep_a_blank_and_are_found_on_the_path(tmp_path: Path) -> None:
    blank = tmp_path / "with blank"
    blank.write_text("#!/bin/sh\n")
    blank.chmod(0o755)

    found = task_of("t", "2", tmp_path, str(blank), ("a b",), {"timeout": "1.5", "task_ppn": 4})

    assert (found.program, found.args, found.nproc, found.timeout) == (str(blank), ("a b",), 2, 1.5)
    assert task_of("t", 1, None, "sh", (), {}).program in ("/bin/sh", "/usr/bin/sh")
    inside = task_of("t", 1, None, "only-there", (), {"in_container": True})
    assert inside.program == "only-there"


def test_callables_run_at_once_where_all_calls_do(tmp_path: Path) -> None:
    before = current.app() if current.has_app() else None
    DaskFacade("eager", store=MemoryStore(), task_always_eager=True)
    pool = TaskPool("eager", names={})
    pool.add_task("where", 1, tmp_path, os.getcwd)
    pool.add_task("wrong", 1, tmp_path, int, "x")

    assert pool.submit_tasks(dask_nodes=1) == 2

    statuses = pool.get_finished_tasks()
    assert statuses["where"] == str(tmp_path)
    assert isinstance(statuses["wrong"], ValueError)
    current.forget_app() if before is None else current.set_app(before)


# Options


@pytest.mark.parametrize(
    ("said", "nprocs", "expected"),
    [
        ({}, [1], (1, 8, 8, False)),  # one node, all its processors
        ({"dask_nodes": 2}, [1, 1], (2, 8, 8, False)),
        ({"dask_nodes": "2", "dask_ppw": "4"}, [1], (2, 4, 4, False)),
        ({"dask_ppw": 4}, [2, 2], (1, 2, 4, False)),  # as many tasks as fit beside each other
        ({"dask_ppw": 4}, [1, 3], (1, 4, 4, True)),
        ({"dask_ppw": 2, "oversubscribe": True}, [4], (1, 1, 2, False)),
        ({"dask_worker_per_gpu": True}, [1], (2, 4, 4, False)),
        ({"dask_worker_per_gpu": True, "dask_nodes": 3, "dask_ppw": 1}, [1], (6, 1, 1, False)),
    ],
)
def test_options_make_the_shape_of_a_cluster(
    said: dict[str, Any], nprocs: list[int], expected: tuple[int, int, int, bool]
) -> None:
    shape = shape_of(Wanted(**said), nprocs, processors=8, gpus=("0", "1"))

    assert (shape.workers, shape.threads, shape.processors, shape.shares) == expected


@pytest.mark.parametrize(
    ("said", "nprocs", "reason"),
    [
        ({"dask_nodes": 0}, [1], "dask_nodes is a number of at least 1, not 0"),
        ({"dask_ppw": "x"}, [1], "dask_ppw is a number of at least 1, not 'x'"),
        ({"dask_ppw": 2}, [3], "wants 3 processors, and a worker has 2"),
        ({"dask_worker_per_gpu": True}, [1], "there is no GPU here"),
    ],
)
def test_options_that_cannot_be_are_refused(
    said: dict[str, Any], nprocs: list[int], reason: str
) -> None:
    with pytest.raises(PoolError, match=reason):
        shape_of(Wanted(**said), nprocs, processors=8, gpus=())


@pytest.mark.parametrize(
    ("said", "prefix"),
    [
        ({}, ()),
        ({"use_shifter": True}, ("shifter",)),
        ({"use_shifter": True, "shifter_args": "--image=a b"}, ("shifter", "--image=a", "b")),
        ({"shifter_args": ("--image=a",)}, ("shifter", "--image=a")),
        ({"container": "apptainer exec 'my image.sif'"}, ("apptainer", "exec", "my image.sif")),
        ({"container": ["docker", "run", "-i"]}, ("docker", "run", "-i")),
    ],
)
def test_options_say_the_words_before_a_command(
    said: dict[str, Any], prefix: tuple[str, ...]
) -> None:
    assert Wanted(**said).prefix == prefix
    assert Wanted(**said).own_workers is bool(said)


def test_options_gpus_are_those_that_cuda_may_see() -> None:
    assert gpus_here({"CUDA_VISIBLE_DEVICES": "0, 3"}) == ("0", "3")
    assert gpus_here({"CUDA_VISIBLE_DEVICES": ""}) == ()


def test_options_nproc_takes_slots_and_gives_them_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.make(tmp_path / "slots", 2)
    monkeypatch.setenv(slots.FOLDER, str(tmp_path / "slots"))
    began, over = threading.Event(), threading.Event()

    def narrow() -> None:
        with slots.taken(1):
            began.set()
            over.wait(20)

    thread = threading.Thread(target=narrow)
    wide_ran: list[bool] = []
    with slots.taken(2):
        thread.start()
        assert not began.wait(0.1)
    assert began.wait(20)
    wide = threading.Thread(target=lambda: _take(3, wide_ran))  # more than there are: all
    wide.start()
    wide.join(0.1)
    assert wide_ran == []
    over.set()
    for each in (thread, wide):
        each.join(20)
    assert wide_ran == [True]


def _take(count: int, ran: list[bool]) -> None:
    with slots.taken(count):
        ran.append(True)


# Worker plugins


def test_worker_plugin_copies_at_the_end_also_into_what_is_there(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "folder").mkdir(parents=True)
    (target / "folder").mkdir(parents=True)
    (source / "file").write_text("1")
    (source / "folder" / "inner").write_text("2")
    (target / "folder" / "older").write_text("3")

    CopyOnTeardown(source, target).teardown(None)

    files = {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()}
    assert files == {"file", "folder/inner", "folder/older"}


def test_worker_plugin_archives_at_the_end_what_is_not_an_archive(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    plugin = ContinuousArchive(tmp_path, tmp_path, interval=600)
    worker = SimpleNamespace(name="tcp://1:2")

    for _ in range(2):
        plugin.setup(worker)
        plugin.teardown(worker)

    with tarfile.open(tmp_path / "tcp___1_2_archive.tar.gz") as archive:
        assert archive.getnames() == ["file"]


# Log


def test_log_is_lines_of_json_and_knows_which_ends_it_has(tmp_path: Path) -> None:
    log = SimulationLog(tmp_path / "log" / "run.json", began=100.0)
    log.begins("CODE", "task", "sleep 1", 101.5, task_id="a")
    assert not log.has_end_of("a")

    log.ends("CODE", "task", "Succeeded", 101.5, 103.0, task_id="a", target="sleep", operation="1")

    assert log.has_end_of("a")
    assert not log.has_end_of("b")
    first, second = (json.loads(line) for line in log.path.read_text().splitlines())
    assert first == {
        "code": "CODE",
        "eventtype": "IPS_LAUNCH_DASK_TASK",
        "ok": True,
        "walltime": "1.50",
        "time": "1970-01-01|00:01:41UTC",
        "state": "Running",
        "comment": "task_name = task, Target = sleep 1",
        "task_id": "a",
    }
    assert second["eventtype"] == TASK_END
    assert (second["state"], second["ok"], second["elapsed_time"]) == ("Succeeded", True, 1.5)
    assert second["comment"] == "task_name = task, elapsed time = 1.50s"


@pytest.mark.parametrize(
    "line",
    [
        "# not JSON",
        '{"eventtype": "IPS_TASK_END", "task_id": "b", "eleva',  # its writer died
        '{"code": "FRAMEWORK"}',  # an event of another kind
        '["IPS_TASK_END"]',
        "null",
        '{"eventtype": "IPS_TASK_END"}',
        '{"eventtype": "IPS_TASK_END", "task_id": ["b"]}',
        "[" * 100_000,
        "\udcff",  # no UTF-8
    ],
)
def test_log_passes_over_lines_that_it_cannot_read(tmp_path: Path, line: str) -> None:
    log = SimulationLog(tmp_path / "run.json")
    log.path.write_text(f"{line}\n", errors="surrogateescape")
    log.ends("CODE", "task", "Succeeded", 101.5, 103.0, task_id="a")

    assert log.has_end_of("a")
    assert not log.has_end_of("b")


# Sweep


def test_sweep_makes_an_instance_of_each_combination() -> None:
    made = instances_of({"A": [1, 2], "B": ["x", "y"], "C": "fixed"}, "run")

    assert [each.row for each in made] == [
        {"ensemble_name": "run0", "A": 1, "B": "x", "C": "fixed"},
        {"ensemble_name": "run1", "A": 1, "B": "y", "C": "fixed"},
        {"ensemble_name": "run2", "A": 2, "B": "x", "C": "fixed"},
        {"ensemble_name": "run3", "A": 2, "B": "y", "C": "fixed"},
    ]


def test_sweep_of_components_takes_first_values_together() -> None:
    made = instances_of({"one": {"A": [3, 2], "B": [2.3, 5.8]}, "two": {"D": [7, 5]}}, "run")

    assert [each.row for each in made] == [
        {"ensemble_name": "run0", "one:A": 3, "one:B": 2.3, "two:D": 7},
        {"ensemble_name": "run1", "one:A": 2, "one:B": 5.8, "two:D": 5},
    ]


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"one": {"A": [1, 2], "B": [1]}}, "as many values as each other"),
        ({"A": []}, "at least one value"),
        ({"one": {"A": []}}, "at least one value"),
    ],
)
def test_sweep_refuses_what_makes_no_combination(variables: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadConfig, match=reason):
        instances_of(variables, "run")


def test_sweep_fills_a_template_and_lets_nothing_unsaid(tmp_path: Path) -> None:
    template = parse("SIM_NAME = x\nSPEED = ?\n[comp]\n  A = ?\n  B = kept\n")
    both = {("comp", "A"): 1.5, ("", "SPEED"): 2}

    made = filled(template, Instance("run0", both), tmp_path)

    assert made["comp"] == {"A": "1.5", "B": "kept"}
    assert (made["SIM_NAME"], made["SPEED"], made["SIM_ROOT"]) == ("run0", "2", str(tmp_path))
    with pytest.raises(BadConfig, match="no value is said of SPEED in the template"):
        filled(template, Instance("run0", {("comp", "A"): 1}), tmp_path)
    with pytest.raises(BadConfig, match=r"no section \[other\]"):
        filled(template, Instance("run0", {("other", "A"): 1}), tmp_path)


# Configurations


def test_ips_words_a_configuration_has_sections_lists_and_names(tmp_path: Path) -> None:
    path = tmp_path / "sim.config"
    path.write_text(
        "# a comment\n"
        "SIM_ROOT = $HOME/run   # another\n"
        "EMPTY =\n"
        "LIST = a, 'b, c', $SIM_ROOT\n"
        'QUOTED = "x # y"\n'
        "[PORTS]\n"
        "  NAMES = DRIVER WORKER\n"
        "  [[DRIVER]]\n"
        "    IMPLEMENTATION = driver\n"
        "[driver]\n"
        "  SCRIPT = ${SIM_ROOT}/driver.py\n"
        "  HOME = $HOME/inner\n"
    )

    found = read(path, {"HOME": "/home/me"})

    assert found == {
        "SIM_ROOT": "/home/me/run",
        "EMPTY": "",
        "LIST": ["a", "b, c", "/home/me/run"],
        "QUOTED": "x # y",
        "PORTS": {"NAMES": "DRIVER WORKER", "DRIVER": {"IMPLEMENTATION": "driver"}},
        "driver": {"SCRIPT": "/home/me/run/driver.py", "HOME": "/home/me/inner"},
    }
    assert parse(written(found)) == found


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("what is this", "line 1: 'what is this' is neither a heading nor an entry"),
        ("[[deep]]", "line 1: .* is no heading of a section here"),
        ("[odd]]", "line 1: .* is no heading"),
        ("A = $NOBODY", r"A names \$NOBODY, which is not set"),
        ("A = $A", r"A names \$A, which is not set"),
        ("A = $B\nB = $A", r"A names \$A, which is not set"),
    ],
)
def test_ips_words_a_configuration_that_says_nothing_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    path = tmp_path / "sim.config"
    path.write_text(text)

    with pytest.raises(BadConfig, match=reason):
        read(path, {})


def test_ips_words_a_wrong_command_line_ends_with_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["--config", str(tmp_path / "missing.config")])

    assert "missing.config cannot be read: No such file" in capsys.readouterr().err


SCRIPT = """
from dask_facade.pools import Component

class Lead(Component):
    def init(self, timestamp=0.0):
        self.calls = ["init"]
    def step(self, timestamp=0.0):
        helper = self.services.get_port("HELPER")
        assert self.services.call(helper, "step", 1.5) == ("helped", 1.5)
        assert self.services.get_config_param("SIM_NAME") == "small"
        open("here", "w").close()
        if self.FAILS:
            raise RuntimeError("as it was told")

class Helper(Component):
    def step(self, timestamp=0.0):
        return "helped", timestamp
"""


def small(folder: Path, **changes: str) -> dict[str, Any]:
    (folder / "parts.py").write_text(SCRIPT)
    lead = {"CLASS": "LEAD", "NAME": "Lead", "SCRIPT": str(folder / "parts.py"), "FAILS": ""}
    return {
        "SIM_NAME": "small",
        "SIM_ROOT": str(folder / "run"),
        "PORTS": {
            "NAMES": "DRIVER HELPER",
            "DRIVER": {"IMPLEMENTATION": "lead"},
            "HELPER": {"IMPLEMENTATION": "help"},
        },
        "lead": {**lead, **changes},
        "help": {"CLASS": "HELP", "NAME": "Helper", "SCRIPT": str(folder / "parts.py")},
    }


def test_ips_words_a_driver_calls_other_components_in_their_directories(tmp_path: Path) -> None:
    simulation = Simulation(small(tmp_path))

    simulation.run()

    assert (tmp_path / "run" / "work" / "LEAD__Lead_1" / "here").exists()
    events = [json.loads(line) for line in simulation.log.path.read_text().splitlines()]
    assert [each["code"] for each in events if each["eventtype"] == "IPS_CALL_END"] == [
        "LEAD__Lead",
        "HELP__Helper",
        "LEAD__Lead",
        "LEAD__Lead",
    ]
    assert (events[-1]["eventtype"], events[-1]["ok"]) == ("IPS_END", True)


def test_ips_words_what_a_component_raises_ends_the_simulation(tmp_path: Path) -> None:
    simulation = Simulation(small(tmp_path, FAILS="yes"))

    with pytest.raises(RuntimeError, match="as it was told"):
        simulation.run()

    last = json.loads(simulation.log.path.read_text().splitlines()[-1])
    assert (last["eventtype"], last["state"], last["ok"]) == ("IPS_END", "Failed", False)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"NAME": "Nobody"}, "has no component 'Nobody'"),
        ({"NAME": ""}, r"\[lead\] does not say NAME"),
        ({"SCRIPT": ""}, "neither SCRIPT nor MODULE"),
        ({"SCRIPT": "/no/such.py"}, "there is no script /no/such.py"),
    ],
)
def test_ips_words_a_component_that_is_not_there_is_a_clear_error(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    with pytest.raises(BadConfig, match=reason):
        Simulation(small(tmp_path, **changes)).run()


def test_ips_words_an_unknown_pool_port_or_entry_is_a_clear_error(tmp_path: Path) -> None:
    services = Services(working_dir=tmp_path)

    assert services.get_working_dir() == str(tmp_path)
    with pytest.raises(UnknownName, match="no task pool named 'nobody'"):
        services.submit_tasks("nobody")
    with pytest.raises(UnknownName, match="no port named 'nobody'"):
        services.get_port("nobody")
    with pytest.raises(UnknownName, match="no entry in the configuration named 'nobody'"):
        services.get_config_param("nobody")
    assert services.get_config_param("nobody", silent=True) is None


def test_ips_words_a_node_that_has_no_number_of_processors_is_a_clear_error(tmp_path: Path) -> None:
    simulation = Simulation(small(tmp_path), {"PROCS_PER_NODE": "many"})

    with pytest.raises(BadConfig, match="PROCS_PER_NODE is a number, not 'many'"):
        Services(simulation=simulation).create_task_pool("pool")


def test_ips_words_pools_of_two_components_may_have_one_name() -> None:
    one, other = Services(), Services()
    for services in (one, other):
        services.create_task_pool("pool")

    with pytest.raises(DuplicateName):
        one.create_task_pool("pool")
    one.remove_task_pool("pool")
    one.create_task_pool("pool")
    one.close()
    other.close()


def test_ips_words_a_component_has_its_section_as_attributes() -> None:
    component = Component(None, {"EXECUTABLE": "/bin/sleep", "step": "not this"})

    assert component.EXECUTABLE == "/bin/sleep"  # type: ignore[attr-defined]  # of its section
    assert callable(component.step)
