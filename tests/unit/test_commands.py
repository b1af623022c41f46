"""The command line before it asks anybody: what it reads, how it finds the app, what it prints."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dask_facade import current
from dask_facade.commands.answers import show
from dask_facade.commands.catalogue import CONTROL, INSPECT, arguments_of, commands, find
from dask_facade.commands.elsewhere import WORDS
from dask_facade.commands.finding import find_app
from dask_facade.commands.printing import Output
from dask_facade.commands.root import root

BROKEN = {
    "absent": "there is no module 'absent' here",
    "shop_cli.absent": "there is no module 'shop_cli.absent' here",
    "absent.celery:app": "there is no module 'absent' here",
    "shop_cli:nothing": "the module has no such name",
    "shop_cli.numbers:app": "that is a builtins.int, and no dask_facade.DaskFacade",
    "shop_cli.empty": "module 'shop_cli.empty' has no app",
    "shop_cli.needy": "No module named 'not_installed'",
    "shop_cli.raising": "ZeroDivisionError: division by zero",
}


@pytest.fixture
def apps() -> Iterator[None]:
    """Let the current app be what it was."""
    before = current.app() if current.has_app() else None
    yield
    if before is None:
        current.forget_app()
    else:
        current.set_app(before)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, apps: None) -> Iterator[Path]:
    """A project whose app stands where Celery's documentation has it."""
    files = {
        "__init__": "",
        "celery": "from dask_facade import Celery\napp = Celery('shop_cli')\n",
        "bare": "from dask_facade import Celery\njobs = Celery('bare')\n",
        "calling": "from dask_facade import Celery\ncelery = Celery('calling')\n",
        "numbers": "app = 3\n",
        "empty": "",
        "needy": "import not_installed\n",
        "raising": "1 / 0\n",
    }
    folder = tmp_path / "shop_cli"
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop_cli"]:
        del sys.modules[name]


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(root, arguments, **options)


# Finding the app


@pytest.mark.parametrize(
    ("name", "main"),
    [
        ("shop_cli", "shop_cli"),
        ("shop_cli.celery", "shop_cli"),
        ("shop_cli.celery:app", "shop_cli"),
        ("shop_cli.celery.app", "shop_cli"),
        ("shop_cli.bare", "bare"),
        ("shop_cli.bare:jobs", "bare"),
        ("shop_cli.calling", "calling"),
    ],
)
def test_an_app_is_found_as_celery_finds_it(project: Path, name: str, main: str) -> None:
    assert find_app(name).main == main


@pytest.mark.parametrize("name", BROKEN)
def test_an_app_that_is_not_found_is_a_usage_error_that_says_why(project: Path, name: str) -> None:
    ran = run("-A", name, "status")

    assert ran.exit_code == 2
    assert f"-A {name}" in ran.stderr
    assert BROKEN[name] in ran.stderr
    assert ran.stdout == ""


def test_an_app_is_found_in_the_folder_that_is_said(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each != str(project)])
    monkeypatch.chdir(os.getcwd())  # and back

    ran = run("-A", "shop_cli", "--workdir", str(project), "report")

    assert ran.exit_code == 0, ran.output
    assert "software -> celery:" in ran.stdout


def test_without_a_name_it_is_the_app_of_the_site(apps: None, project: Path) -> None:
    app = find_app("shop_cli")

    assert find_app("") is app


def test_without_a_name_and_a_site_it_is_said_how_to_name_one(
    apps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CELERY_APP", raising=False)
    current.forget_app()

    ran = run("inspect", "active")

    assert ran.exit_code == 2
    assert "say -A proj before the command" in ran.stderr


def test_the_app_may_be_said_by_celerys_variable(project: Path) -> None:
    ran = run("report", "--json", env={"CELERY_APP": "shop_cli"})

    assert "celery:" in json.loads(ran.stdout)["report"]


# Reading


@pytest.mark.parametrize(
    ("kind", "name", "words", "arguments"),
    [
        (INSPECT, "active", (), {}),
        (INSPECT, "registered", (), {}),
        (
            INSPECT,
            "registered",
            ("rate_limit", "queue"),
            {"taskinfoitems": ["rate_limit", "queue"]},
        ),
        (INSPECT, "query_task", ("a", "b"), {"ids": ["a", "b"]}),
        (INSPECT, "conf", ("true",), {"with_defaults": True}),
        (CONTROL, "rate_limit", ("t", "10/m"), {"task_name": "t", "rate_limit": "10/m"}),
        (CONTROL, "time_limit", ("t", "1", "2.5"), {"task_name": "t", "soft": 1.0, "hard": 2.5}),
        (CONTROL, "pool_grow", ("3",), {"n": 3}),
        (CONTROL, "autoscale", ("3", "1"), {"max": 3, "min": 1}),
        (CONTROL, "add_consumer", ("slow",), {"queue": "slow"}),
        (CONTROL, "revoke", ("a", "b"), {"task_id": ["a", "b"]}),
        (CONTROL, "terminate", ("KILL", "a"), {"signal": "KILL", "task_id": ["a"]}),
        (CONTROL, "revoke_by_stamped_headers", ("x=1",), {"headers": ["x=1"]}),
        (CONTROL, "pause_queue", ("slow",), {"queue": "slow"}),
    ],
)
def test_the_words_of_a_command_are_its_arguments(
    kind: str, name: str, words: Sequence[str], arguments: dict[str, Any]
) -> None:
    meta = find(kind, name)

    assert meta is not None
    assert arguments_of(name, meta, words) == arguments


@pytest.mark.parametrize(
    ("kind", "name", "words", "told"),
    [
        (INSPECT, "active", ("a",), "too many arguments: active takes none"),
        (INSPECT, "query_task", (), "arguments are missing: query_task takes <id>"),
        (INSPECT, "conf", ("perhaps",), "with_defaults 'perhaps': say true or false"),
        (CONTROL, "rate_limit", ("t",), "arguments are missing: rate_limit takes <task> <rate"),
        (CONTROL, "time_limit", ("t", "soon"), "soft 'soon': could not convert"),
        (CONTROL, "cancel_consumer", (), "arguments are missing: cancel_consumer takes <queue>"),
        (CONTROL, "cancel_consumer", ("a", "b"), "too many arguments"),
        (CONTROL, "revoke", (), "arguments are missing: revoke takes <id>"),
        (CONTROL, "terminate", ("KILL",), "arguments are missing: terminate takes <signal> <id>"),
    ],
)
def test_words_that_do_not_fit_are_a_usage_error(
    kind: str, name: str, words: Sequence[str], told: str
) -> None:
    meta = find(kind, name)
    assert meta is not None

    with pytest.raises(click.UsageError) as raised:
        arguments_of(name, meta, words)

    assert told in raised.value.message


def test_a_command_is_of_one_kind() -> None:
    assert find(CONTROL, "active") is None
    assert find(INSPECT, "rate_limit") is None
    assert not commands(INSPECT).keys() & commands(CONTROL).keys()


def test_an_older_name_is_understood_and_not_listed() -> None:
    assert find(INSPECT, "dump_tasks") == find(INSPECT, "registered")
    assert "dump_tasks" not in commands(INSPECT)


@pytest.mark.parametrize(
    "arguments",
    [
        ("call", "shop.add", "-a", "{"),
        ("call", "shop.add", "-a", '{"x": 1}'),
        ("call", "shop.add", "-k", "[1]"),
        ("call", "shop.add", "--eta", "tomorrow"),
        ("call", "shop.add", "--expires", "soon"),
        ("call", "shop.add", "--countdown", "soon"),
        ("inspect",),
        ("inspect", "active", "-t", "0"),
        ("status", "-d", ","),
        ("result",),
        ("nothing",),
        ("--workdir", "/absent", "report"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_read_is_a_usage_error(arguments: Sequence[str]) -> None:
    ran = run(*arguments)

    assert ran.exit_code == 2
    assert "Error: " in ran.stderr


@pytest.mark.parametrize("kind", [INSPECT, CONTROL])
def test_what_can_be_said_is_listed_without_an_app(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")

    ran = run(kind, "--list")

    assert ran.exit_code == 0
    assert all(name in ran.stdout for name in commands(kind))


@pytest.mark.parametrize("name", WORDS)
def test_a_command_that_is_something_else_here_says_what(name: str) -> None:
    ran = run("-A", "absent", name, "-l", "INFO", "--help", "-Q", "mail")

    assert ran.exit_code == 2
    assert f"{name} is no command here" in ran.stderr


def test_options_that_mean_nothing_here_are_passed_over_aloud(project: Path) -> None:
    said = ("-A", "shop_cli", "-b", "redis://", "--result-backend", "rpc://")

    loud = run(*said, "report")
    quiet = run(*said, "-q", "report")

    assert (loud.exit_code, quiet.exit_code) == (0, 0)
    assert "-b: there is no message broker" in loud.stderr
    assert "--result-backend: " in loud.stderr
    assert quiet.stderr == ""


# Printing


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_what_is_no_terminal_gets_rows_that_are_not_folded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Output().table(("id", "args"), [("a" * 200, [1, "[bold]"]), ("b", None)])

    head, first, second = printed(capsys)
    assert head.split() == ["id", "args"]
    assert first == f'    {"a" * 200}  [1, "[bold]"]'
    assert second == "    b"


def test_on_a_terminal_all_is_folded_but_ids(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "70")
    id = "01a1ff8a-3ed7-7231-8000-30e65ccee4ab"

    Output().table(("id", "args"), [(id, "x" * 100)])

    lines = [click.unstyle(line) for line in printed(capsys)]
    assert lines[1].split()[0] == id
    assert "".join(line[42:] for line in lines[1:]).replace(" ", "") == "x" * 100
    assert max(map(len, lines)) <= 70


def test_mappings_are_printed_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    Output().pairs({"pid": 7, "pool": {"processes": [7], "limits": {}}})

    assert [line.split() for line in printed(capsys)] == [
        ["pid", "7"],
        ["pool.processes", "[7]"],
        ["pool.limits", "{}"],
    ]


def test_a_document_is_one_line_of_json_with_iso_times(capsys: pytest.CaptureFixture[str]) -> None:
    when = datetime(2030, 1, 31, 12, tzinfo=UTC)

    Output().document({"done": when, "what": {1, 2}, "text": "\n"})

    (line,) = printed(capsys)
    assert json.loads(line) == {
        "done": "2030-01-31T12:00:00+00:00",
        "what": [1, 2],
        "text": "\n",
    }


REQUEST = {
    "id": "a-b",
    "name": "shop.add",
    "args": [1, 2],
    "kwargs": {},
    "time_start": 0.0,
    "delivery_info": {"routing_key": "mail"},
}
WAITING = {**REQUEST, "time_start": None}
ANSWERS = [
    (
        "active",
        [REQUEST],
        """
        id   task      args    kwargs  queue  began
        a-b  shop.add  [1, 2]  {}      mail   1970-01-01 00:00:00+00:00
        """,
    ),
    (
        "reserved",
        [WAITING],
        """
        id   task      args    kwargs  queue  began
        a-b  shop.add  [1, 2]  {}      mail
        """,
    ),
    ("active", [], "- empty -"),
    ("revoked", ["a", "b"], "* a\n        * b"),
    ("registered", [], "- empty -"),
    (
        "scheduled",
        [{"eta": "2030-01-31", "priority": 6, "request": WAITING}],
        """
        eta         id   task      args    kwargs  queue
        2030-01-31  a-b  shop.add  [1, 2]  {}      mail
        """,
    ),
    (
        "query_task",
        {"a-b": ["active", REQUEST]},
        """
        standing  id   task      args    kwargs  queue  began
        active    a-b  shop.add  [1, 2]  {}      mail   1970-01-01 00:00:00+00:00
        """,
    ),
    ("active_queues", [{"name": "mail", "exchange": {}}], "queue\n        mail"),
    ("ping", {"ok": "pong"}, "pong"),
    ("rate_limit", {"error": "unknown task"}, "unknown task"),
    ("report", {"ok": "one\ntwo"}, "one\n        two"),
    ("own", [{"x": 1}, {"y": "z"}], "x  y\n        1\n           z"),
    ("own", 7, "7"),
]


@pytest.mark.parametrize(("command", "answer", "lines"), ANSWERS)
def test_an_answer_is_printed_for_people(
    capsys: pytest.CaptureFixture[str], command: str, answer: Any, lines: str
) -> None:
    show(Output(), command, answer)

    wanted = dedent(" " * 8 + lines.strip()).splitlines()
    assert printed(capsys) == [f"    {line}".rstrip() for line in wanted]
