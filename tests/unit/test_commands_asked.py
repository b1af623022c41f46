"""The command line, and a leader that answers."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner, Result

from dask_facade import DaskFacade, current, shared_task
from dask_facade.commands.root import root
from dask_facade.ledger.memory import MemoryStore
from dask_facade.registry import tasks
from dask_facade.states import FAILURE, PENDING, REVOKED, SUCCESS
from dask_facade.worker import state
from dask_facade.worker.commands import Panel, inspect_command
from tests.unit.house import House, is_done, job, wait_for
from tests.unit.workers import Worker, begin, reachable

NAME = "asked_cli"


@pytest.fixture
def app(
    no_thread_stays: None, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DaskFacade]:
    """An app that ``-A`` finds."""
    before = current.app() if current.has_app() else None
    known, own, meta = dict(tasks._tasks), dict(Panel.data), dict(Panel.meta)
    module = ModuleType(NAME)
    vars(module)["app"] = app = DaskFacade(NAME, store=store)
    monkeypatch.setitem(sys.modules, NAME, module)
    yield app
    app.close()
    state.reset_state()
    for registry, kept in ((tasks._tasks, known), (Panel.data, own), (Panel.meta, meta)):
        registry.clear()
        registry.update(kept)
    if before is not None:
        current.set_app(before)


@pytest.fixture
def house(lead: Callable[..., House], store: MemoryStore) -> House:
    house = lead()
    reachable(store, house)
    return house


@pytest.fixture
def worker(app: DaskFacade, house: House) -> Iterator[Worker]:
    worker = Worker(house, "mail@host", ("mail",))
    yield worker
    worker.end()


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(root, ("-A", NAME, *arguments), **options)


def document(*arguments: str) -> Any:
    """Return the one JSON document that a command prints."""
    ran = run("--json", *arguments)
    assert (ran.exit_code, ran.stderr) == (0, ""), ran.output
    (line,) = ran.stdout.splitlines()
    return json.loads(line)


# Nobody answers


@pytest.mark.parametrize(
    "arguments", [("status",), ("inspect", "active"), ("control", "shutdown")], ids=" ".join
)
def test_without_a_dispatcher_the_status_is_celerys_for_nobody(
    app: DaskFacade, arguments: tuple[str, ...]
) -> None:
    ran = run(*arguments, "-t", "0.05")

    assert ran.exit_code == 69
    assert "No nodes replied within time constraint" in ran.stderr
    assert "manage.py dask_dispatcher" in ran.stderr
    assert ran.stdout == ""


def test_without_workers_it_is_said_who_leads(app: DaskFacade, house: House) -> None:
    ran = run("status", "-t", "0.1")

    assert ran.exit_code == 69
    assert "house leads" in ran.stderr


def test_what_was_asked_for_without_workers_is_done_all_the_same(
    app: DaskFacade, house: House
) -> None:
    house.submit(job("a"))

    ran = run("control", "revoke", "a", "-t", "0.1")

    assert ran.exit_code == 69
    assert "is done by the dispatcher" in ran.stderr
    house.wait_for_state("a", REVOKED)


def test_without_a_dispatcher_nothing_is_purged(app: DaskFacade) -> None:
    ran = run("purge", "-f")

    assert ran.exit_code == 69
    assert "manage.py dask_dispatcher" in ran.stderr


def test_an_app_without_a_ledger_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType(NAME)
    vars(module)["app"] = DaskFacade(NAME, set_as_current=False)
    monkeypatch.setitem(sys.modules, NAME, module)
    monkeypatch.setattr(current, "_sites", [])

    ran = run("status")

    assert ran.exit_code == 1
    assert "no ledger: add 'dask_facade' to INSTALLED_APPS" in ran.stderr


# Workers


def test_status_tells_who_is_online(worker: Worker) -> None:
    ran = run("status")

    assert ran.exit_code == 0
    assert ran.stdout.splitlines() == ["->  mail@host: OK", "", "1 node online."]
    assert run("-q", "status").stdout.splitlines() == ["->  mail@host: OK"]
    assert document("status") == {"mail@host": {"ok": "pong"}}


def test_others_than_the_destination_are_not_asked(worker: Worker) -> None:
    assert run("status", "-d", "mail@host,other@host").exit_code == 0
    assert run("status", "-d", "other@host", "-t", "0.2").exit_code == 69


def test_inspect_tells_calls(worker: Worker, house: House) -> None:
    begin(house, worker, "a", queue="mail")

    ran = run("inspect", "active")

    assert ran.exit_code == 0
    assert ran.stdout.splitlines()[0] == "->  mail@host: OK"
    assert "1 node online." in ran.stdout
    (row,) = [line for line in ran.stdout.splitlines() if line.split()[:1] == ["a"]]
    assert "mail" in row.split()
    ((request,),) = document("inspect", "active").values()
    assert (request["id"], request["hostname"]) == ("a", "mail@host")


def test_json_may_be_said_before_the_command_or_behind_it(worker: Worker) -> None:
    before, behind = run("--json", "inspect", "ping"), run("inspect", "ping", "--json")

    assert before.stdout == behind.stdout == '{"mail@host": {"ok": "pong"}}\n'


def test_a_rate_limit_is_set_and_an_error_is_told(worker: Worker) -> None:
    @shared_task(name="shop.mail")
    def mail() -> None: ...

    set_ = run("control", "rate_limit", "shop.mail", "10/m")
    unknown = run("control", "rate_limit", "shop.nothing", "10/m")

    assert set_.stdout.splitlines() == [
        "->  mail@host: OK",
        "    new rate limit set successfully",
    ]
    assert unknown.stdout.splitlines() == ["->  mail@host: ERROR", "    unknown task"]
    assert mail.rate_limit == "10/m"


def test_a_commands_document_is_a_list_of_replies_as_celerys(worker: Worker) -> None:
    said = document("control", "add_consumer", "slow")

    assert said == [{"mail@host": {"ok": "add consumer slow"}}]


def test_a_command_of_the_projects_own_has_arguments(worker: Worker) -> None:
    @inspect_command(args=[("n", int)], variadic="names", signature="<n> [name ...]")
    def doubled(state: Any, n: int, names: Any = (), **_: Any) -> Any:
        """Tell twice as much."""
        return {"n": 2 * n, "names": names}

    assert document("inspect", "doubled", "4", "x") == {"mail@host": {"n": 8, "names": ["x"]}}
    assert "doubled <n> [name ...]" in run("inspect", "--list").stdout
    assert run("inspect", "doubled").exit_code == 2


def test_a_command_that_nobody_knows_is_a_usage_error(app: DaskFacade) -> None:
    ran = run("inspect", "rate_limit")

    assert ran.exit_code == 2
    assert "Command rate_limit not recognized. Available inspect commands: active" in ran.stderr


def test_a_job_is_terminated(worker: Worker, house: House) -> None:
    begin(house, worker, "a", queue="mail")

    ran = run("control", "terminate", "KILL", "a")

    assert ran.exit_code == 0
    assert "->  mail@host: OK" in ran.stdout
    house.wait_for_state("a", REVOKED)


def test_a_stamp_without_a_value_is_a_usage_error(app: DaskFacade) -> None:
    ran = run("control", "revoke_by_stamped_headers", "monitoring_id")

    assert ran.exit_code == 2
    assert "say name=value" in ran.stderr


def test_a_queue_is_paused_and_goes_on(app: DaskFacade, house: House) -> None:
    paused = run("control", "pause_queue", "slow")
    is_done(house)

    assert paused.stdout == "The dispatcher is asked to pause_queue slow.\n"
    assert house.call(house.writer.desk.paused) == {"slow"}
    assert document("control", "resume_queue", "slow") == {
        "asked": "resume_queue",
        "queue": "slow",
    }
    is_done(house)
    assert house.call(house.writer.desk.paused) == set()


# Jobs


def test_a_call_prints_its_id(app: DaskFacade, store: MemoryStore) -> None:
    ran = run("call", "shop.add", "-a", "[1]", "-k", '{"y": 2}', "--queue", "slow")

    id = ran.stdout.strip()
    made = store.fetch([id])[id]
    assert (ran.exit_code, made.state, made.task, made.queue) == (0, PENDING, "shop.add", "slow")
    assert document("call", "shop.add").keys() == {"task_id"}


def test_a_call_may_wait_and_expire(app: DaskFacade, store: MemoryStore) -> None:
    at = "2040-01-31T12:00+00:00"
    timed = run("call", "shop.add", "--eta", at, "--expires", "2040-02-01T00:00+00:00")
    soon = run("call", "shop.add", "--countdown", "60", "--expires", "120")

    found = store.fetch([timed.stdout.strip(), soon.stdout.strip()])
    first, second = found[timed.stdout.strip()], found[soon.stdout.strip()]
    assert first.eta is not None
    assert first.eta.isoformat() == "2040-01-31T12:00:00+00:00"
    assert second.eta is not None
    assert 50 < second.eta.timestamp() - time.time() <= 60


@pytest.mark.parametrize(
    "said",
    [
        ("--eta", "2040-01-31T12:00"),  # where?
        ("--expires", "2040-01-31T12:00"),
        ("--expires", "nan"),
        ("--countdown", "nan"),
        ("--countdown", "inf"),
        ("--countdown", "1e300"),
    ],
    ids=" ".join,
)
def test_a_time_that_means_nothing_is_a_usage_error(
    app: DaskFacade, store: MemoryStore, said: tuple[str, str]
) -> None:
    ran = run("call", "shop.add", *said)

    assert (ran.exit_code, ran.stdout) == (2, "")
    assert "Error: " in ran.stderr


def test_a_result_is_waited_for(worker: Worker, house: House) -> None:
    begin(house, worker, "a", queue="mail")
    worker.release("a")
    house.wait_for_state("a", SUCCESS)

    ran = run("result", "a", "-t", "shop.tasks.add")
    said = document("result", "a")

    assert (ran.exit_code, ran.stdout) == (0, f"{said['result']}\n")
    assert (said["task_id"], said["status"], said["traceback"]) == ("a", SUCCESS, None)
    assert said["date_done"][10] == "T"


def test_a_failure_is_told_and_is_the_status(app: DaskFacade) -> None:
    app.backend.mark_as_failure("a", ValueError("bad"), traceback="Traceback ...\nValueError: bad")

    ran = run("result", "a")
    told = run("result", "a", "--json")

    assert ran.exit_code == 1
    assert f"{FAILURE}: ValueError: bad" in ran.stderr
    assert ran.stdout == ""
    assert told.exit_code == 1
    assert json.loads(told.stdout)["result"] == {
        "exc_type": "ValueError",
        "exc_module": "builtins",
        "exc_message": "bad",
    }
    assert run("result", "a", "--traceback").stdout == "Traceback ...\nValueError: bad\n"


def test_a_result_that_json_cannot_say_is_told_in_words(app: DaskFacade) -> None:
    app.backend.mark_as_done("a", {(1, 2): {datetime(2030, 1, 31, tzinfo=UTC)}, "kind": object})

    assert document("result", "a")["result"] == {
        "(1, 2)": ["2030-01-31T00:00:00+00:00"],
        "kind": "<class 'object'>",
    }


def test_an_unknown_job_is_not_waited_for(app: DaskFacade) -> None:
    ran = run("result", "nobody")

    assert ran.exit_code == 1
    assert "no job 'nobody': never submitted, or pruned" in ran.stderr


def test_purge_asks_first(app: DaskFacade, house: House) -> None:
    house.submit(job("a"))

    refused = run("purge", input="n\n")
    agreed = run("purge", input="y\n")

    assert (refused.exit_code, agreed.exit_code) == (1, 0)
    assert "Are you sure?" in refused.stderr
    assert agreed.stdout == "Purged 1 job of all queues.\n"
    assert house.row("a").state == REVOKED


def test_purge_may_be_of_some_queues(app: DaskFacade, house: House) -> None:
    app.conf.task_queues = ["mail", "slow"]
    house.submit(job("a", queue="mail"), job("b", queue="slow"), job("c", queue="other"))

    assert document("purge", "-f", "-X", "slow") == {"purged": 1}
    assert document("purge", "-f", "-Q", "slow,other", "-X", "other") == {"purged": 1}
    assert run("purge", "-f", "-Q", "other", "-X", "other").exit_code == 2
    assert house.row("c").state != REVOKED
    assert run("purge", "-f").stdout == "Purged 1 job of all queues.\n"


# The project


def test_a_shell_has_the_app_and_its_tasks_at_hand(app: DaskFacade) -> None:
    @shared_task(name="shop.mail")
    def mail() -> None: ...

    wait_for(lambda: "shop.mail" in tasks, "a registered task")
    with_tasks = run("shell", "--python", input="print(app.main, mail.name, group)\n")
    without = run("shell", "--python", "-T", input="print(mail)\n")

    assert f"{NAME} shop.mail <class" in with_tasks.stdout
    assert with_tasks.exit_code == 0
    assert "NameError" in without.stderr


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("IPython", "def start_ipython(argv, user_ns): print('in', user_ns['app'].main)"),
        ("bpython", "def embed(names): print('in', names['app'].main)"),
    ],
)
def test_another_shell_is_used_where_it_is_installed(
    app: DaskFacade, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: str
) -> None:
    option = f"--{name.lower()}"
    before = run("shell", option)
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)

    asked_for, chosen = run("shell", option), run("shell")
    monkeypatch.delitem(sys.modules, name)

    assert before.exit_code == 1
    assert f"{name} is not installed here" in before.stderr
    assert asked_for.stdout == chosen.stdout == f"in {NAME}\n"
