"""What the tasks of a pool can do, each kind once, on workers of the pool's own."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from dask_facade import DaskFacade
from dask_facade.exceptions import EncodeError, PayloadTooLarge
from dask_facade.pools import TaskPool, UnknownName
from tests.cluster import pool_tasks as tasks
from tests.cluster.processes import wait_for

# One database: what these tests are about has nothing to do with it.
pytestmark = [
    pytest.mark.usefixtures("dispatcher"),
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
]


@dataclass(frozen=True)
class Done:
    """A pool that has run, and what it left."""

    pool: TaskPool
    count: int
    statuses: dict[str, Any]
    folder: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "log.json").read_text().splitlines()]

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture(scope="module")
def done(
    app: DaskFacade, dispatcher: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Done]:
    """Every kind of task, run once, on a worker of the pool's own."""
    folder = tmp_path_factory.mktemp("pool")
    (folder / "sub").mkdir()
    both = tasks.program(folder, "both", "#!/bin/sh\necho out $1\necho err $1 >&2\n")
    print_env = tasks.program(folder, "print_env", '#!/bin/sh\nprintf "%s" "$COLOUR"\n')
    list_args = tasks.program(folder, "list_args", '#!/bin/sh\nfor each; do echo "<$each>"; done\n')
    with TaskPool("done", user=7, simulation_log=folder / "log.json", code="TEST") as pool:

        def add(name: str, what: Any, *args: Any, cwd: Path = folder, **options: Any) -> None:
            pool.add_task(name, 1, cwd, what, *args, **options)

        add("binary", "/bin/sleep", 0.5)
        add("float", tasks.echo, 0.5)
        add("method", tasks.Counter(2).plus, 0.5)
        add("lambda", lambda number: number + 1, 2)
        add("exit code", "sh", "-c", "exit 3")
        add("signal", "sh", "-c", "kill -TERM $$")
        add("arguments", list_args, "a b", "*", "$HOME; ls", 1, logfile="arguments.log")
        add("family", tasks.program(folder, "family", tasks.FAMILY), timeout=1)
        add("flood", "sh", "-c", "yes 0123456789 | head -c 10485760", logfile="flood.log")
        add("piped flood", "sh", "-c", "yes 0123456789 | head -c 10485760 >&2", errfile="flood.err")
        add("one log", both, 1, logfile="one.log")
        add("two logs", both, 2, logfile="two.log", errfile="two.err")
        add("pool's log", both, 3)
        add("env", print_env, task_env={"COLOUR": "green"}, logfile="env.log")
        add("pwd", "pwd", logfile="pwd.log", cwd=folder / "sub")
        add("where", tasks.surroundings, "COLOUR", task_env={"COLOUR": "red"}, cwd=folder / "sub")
        add("where else", tasks.surroundings, "COLOUR")
        add("chatter", tasks.chatter, logfile="chatter.log")
        add("raises", tasks.fail, "on purpose")
        add("unserialisable", tasks.lock)
        add("huge", tasks.zeros, 20_000_000)
        add("large", tasks.zeros, 1_000_000)
        add("hangs", tasks.linger, timeout=1)
        add("dask", tasks.with_dask, 3)
        count = pool.submit_tasks(block=True, dask_nodes=1, dask_ppw=2, logfile=folder / "pool.log")
        statuses = pool.get_finished_tasks()
        yield Done(pool, count, statuses, folder)


def test_pool_submit_returns_the_count_and_the_statuses_are_those_of_the_document(
    done: Done,
) -> None:
    assert done.count == len(done.statuses) == len(done.pool) == 24
    assert done.statuses["binary"] == 0
    assert done.pool.get_exit_status("binary") == 0
    assert done.pool.get_exit_status() == done.statuses


def test_pool_finished_tasks_are_told_once(done: Done) -> None:
    assert done.pool.get_finished_tasks() == {}


def test_pool_the_status_of_an_unknown_task_is_an_error(done: Done) -> None:
    with pytest.raises(UnknownName, match="no task of this pool named 'nobody'"):
        done.pool.get_exit_status("nobody")


def test_executables_exit_codes_and_signals_are_results(done: Done) -> None:
    assert done.statuses["exit code"] == 3
    assert done.statuses["signal"] == -signal.SIGTERM


def test_executables_get_arguments_as_they_are_given(done: Done) -> None:
    assert done.text("arguments.log") == "<a b>\n<*>\n<$HOME; ls>\n<1>\n"


def test_executables_that_time_out_are_minus_1_and_their_grandchildren_are_dead(
    done: Done,
) -> None:
    assert done.statuses["family"] == -1

    assert not any(psutil.pid_exists(int(done.text(name))) for name in ("parent", "grandchild"))


def test_executables_print_10_megabytes_without_a_deadlock(done: Done) -> None:
    assert (done.statuses["flood"], done.statuses["piped flood"]) == (0, 0)
    assert (done.folder / "flood.log").stat().st_size == 10 * 2**20
    assert (done.folder / "flood.err").stat().st_size == 10 * 2**20


def test_executables_a_logfile_alone_gets_both_streams(done: Done) -> None:
    assert sorted(done.text("one.log").splitlines()) == ["err 1", "out 1"]


def test_options_logfile_and_errfile_get_a_stream_each(done: Done) -> None:
    assert (done.text("two.log"), done.text("two.err")) == ("out 2\n", "err 2\n")


def test_options_logfile_of_the_pool_is_for_tasks_without_one(done: Done) -> None:
    assert {"out 3", "err 3"} <= set(done.text("pool.log").splitlines())


def test_options_task_env_is_added_to_one_task_alone(done: Done) -> None:
    assert done.text("env.log") == "green"
    assert done.statuses["where"] == (str(done.folder / "sub"), "red")
    assert done.statuses["where else"] == (str(done.folder), None)


def test_executables_run_in_a_directory_of_their_own(done: Done) -> None:
    assert done.text("sub/pwd.log") == f"{done.folder / 'sub'}\n"


def test_callables_get_real_arguments_and_return_values(done: Done) -> None:
    assert repr(done.statuses["float"]) == "0.5"
    assert done.statuses["method"] == 2.5
    assert done.statuses["lambda"] == 3
    assert done.statuses["dask"] == 9


def test_callables_print_to_their_logfile(done: Done) -> None:
    assert sorted(done.text("chatter.log").splitlines()) == ["said", "shouted"]


def test_callables_that_raise_cost_others_nothing(done: Done) -> None:
    assert isinstance(done.statuses["raises"], ValueError)
    assert str(done.statuses["raises"]) == "on purpose"


def test_callables_that_time_out_are_minus_1(done: Done) -> None:
    assert done.statuses["hangs"] == -1


def test_callables_whose_result_cannot_be_stored_say_so(done: Done) -> None:
    assert isinstance(done.statuses["unserialisable"], EncodeError)
    assert "lock" in str(done.statuses["unserialisable"])


def test_callables_return_what_the_ledger_can_keep(done: Done) -> None:
    assert done.statuses["large"] == bytes(1_000_000)
    assert isinstance(done.statuses["huge"], PayloadTooLarge)


def test_log_has_a_start_and_an_end_of_each_task(done: Done) -> None:
    events = done.events
    ends = {each["comment"].split(",")[0]: each for each in events if "END" in each["eventtype"]}
    launches = [each for each in events if each["eventtype"] == "IPS_LAUNCH_DASK_TASK"]

    assert len(ends) == len(launches) == done.count
    assert all(
        {"code", "eventtype", "ok", "walltime", "time", "state", "comment"} <= each.keys()
        for each in events
    )
    assert {each["code"] for each in events} == {"TEST"}
    binary = ends["task_name = binary"]
    assert binary["elapsed_time"] >= 0.5
    assert (binary["state"], binary["ok"]) == ("Succeeded", True)
    assert ends["task_name = exit code"]["state"] == "Failed"
    assert ends["task_name = raises"]["state"] == "Failed"
    assert ends["task_name = family"]["state"] == "Timed out"
    assert ends["task_name = hangs"]["state"] == "Timed out"
    assert "timed-out after 1.0s" in ends["task_name = family"]["comment"]
    assert "Target = sleep 0.5" in " ".join(each["comment"] for each in launches)


def test_rows_nothing_is_left_of_the_workers_of_a_pool_that_is_done(done: Done) -> None:
    def left() -> list[psutil.Process]:
        return [
            each
            for each in psutil.Process(os.getpid()).children(recursive=True)
            if "pools.inside" in " ".join(each.cmdline())
        ]

    wait_for(lambda: not left(), "the end of the pool's workers")
