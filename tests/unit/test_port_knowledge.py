"""The port tool, the pages and the package say the same of Celery's features."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dask_facade.commands.elsewhere import WORDS
from dask_facade.commands.root import root
from dask_facade.compat import HOMES
from dask_facade.config import DEFAULTS
from dask_facade.porting.commands import commands_in
from dask_facade.porting.counterparts import attributes_of, counterpart, names_of
from dask_facade.porting.judging import judge
from dask_facade.porting.knowledge import INERT, KNOWLEDGE, NOT_NEEDED
from dask_facade.porting.uses import Judgement, Kind, Verdict

ROOT = Path(__file__).resolve().parents[2]
FEATURES = (ROOT / "docs/celery-features.md").read_text()
PORTING = (ROOT / "docs/coming-from-celery.md").read_text()

VERDICTS = {
    "works": Verdict.WORKS,
    "more than Celery": Verdict.WORKS,
    "differs": Verdict.DIFFERS,
    "passed over": Verdict.DIFFERS,
    "accepted, nothing happens": Verdict.DIFFERS,
    "never sent": Verdict.DIFFERS,
    "refused": Verdict.REFUSED,
    "not there yet": Verdict.REFUSED,
}
ONLY_IN_THE_TOOL = {"naive_eta", "eta_in_zone"}  # words of its own for values that it sees
NOT_IN_THE_TOOL = {
    "eta",  # which a time without a zone is
    "before_task_publish",  # differs in who sends it
    "Task.send_event",  # of which task cannot be read
}


def rows(text: str) -> Iterator[list[str]]:
    """Yield the rows of all tables of a page."""
    for line in text.splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def features() -> dict[str, Verdict]:
    """Return what the page says of each feature that it names."""
    return {
        name: VERDICTS[row[1]]
        for row in rows(FEATURES)
        if row[1] in VERDICTS
        for name in words(row[0])
    }


def spellings(name: str) -> set[str]:
    """Return how the page may name what the tool calls so."""
    plain = name.removesuffix("=False")
    last = plain.rpartition(".")[2]
    return {plain, last, f"app.{plain}", f"app.{last}", f"{plain}=True", f"self.retry({name})"}


def settings(first: str) -> set[str]:
    """Return the settings in the row of the table that begins so."""
    return next(set(words(row[1])) for row in rows(PORTING) if row[0] == first)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=f"{kind.value}-{name}")
        for kind, name in KNOWLEDGE
        if kind not in {Kind.SETTING, Kind.COMMAND} and name not in ONLY_IN_THE_TOOL
    ],
)
def test_the_page_says_what_the_tool_says(kind, name):
    said = features()

    pages = {said[each] for each in spellings(name) if each in said}

    if (kind, name) == (Kind.IMPORT, "kombu"):
        assert ["anything else of `kombu`", "refused"] in [row[:2] for row in rows(FEATURES)]
    else:
        assert KNOWLEDGE[kind, name].verdict in pages


def test_the_tool_knows_what_the_page_says_to_differ():
    known = {each for _, name in KNOWLEDGE for each in spellings(name)}
    known |= {name for kind, name in KNOWLEDGE if kind is Kind.SETTING}
    names = [
        name
        for name, verdict in features().items()
        if verdict is not Verdict.WORKS and re.fullmatch(r"[\w.]+", name)
    ]

    assert set(names) - known - NOT_IN_THE_TOOL == set()


def test_settings_are_what_the_page_says_they_are():
    nearly, not_needed = settings("nearly that"), settings("told, and not needed")
    explained = {"task_priority_zero_first"}  # named in the explanation of another, and ours
    names = settings("what they do in Celery") | nearly - explained | not_needed
    names = {name for name in names if "_" in name or name in DEFAULTS}

    assert {name for name in names if judge(Kind.SETTING, name).verdict is Verdict.WORKS} == (
        settings("what they do in Celery")
    )
    assert {name for name in names if judge(Kind.SETTING, name).says == NOT_NEEDED} == not_needed
    assert names == DEFAULTS.keys() - explained


@pytest.mark.parametrize("name", ["worker_prefetch_multiplier", "s3_bucket"])
def test_other_settings_mean_nothing(name):
    assert judge(Kind.SETTING, name) == Judgement(Verdict.DIFFERS, INERT)


def test_commands_are_those_that_there_are():
    ours = {name for name, command in root.commands.items() if not command.hidden}
    told = {name: judge(Kind.COMMAND, name).verdict for name in {*ours, *WORDS}}

    assert {name for name, verdict in told.items() if verdict is Verdict.DIFFERS} == ours
    assert {name for name, verdict in told.items() if verdict is Verdict.REFUSED} == set(WORDS)


def test_the_page_names_every_command():
    named = {
        name
        for row in rows(PORTING)
        for word in words(row[0])
        for name in [*(use.name for use in commands_in(word)), word]
    }

    assert {name for kind, name in KNOWLEDGE if kind is Kind.COMMAND} <= named


@pytest.mark.parametrize(
    "name",
    [name for kind, name in KNOWLEDGE if kind is Kind.IMPORT and name.startswith("celery.")],
)
def test_a_name_is_known_to_differ_only_if_it_is_here_and_to_be_refused_only_if_it_is_not(name):
    verdict = KNOWLEDGE[Kind.IMPORT, name].verdict
    here = counterpart(name) is not None

    if verdict is not Verdict.REFUSED:
        assert here
    elif here:  # a part of it is: the rest is refused
        assert judge(Kind.IMPORT, name).verdict is Verdict.WORKS
        assert judge(Kind.IMPORT, f"{name}.nothing.such").verdict is Verdict.REFUSED


def test_what_is_said_to_be_there_is_what_python_imports():
    """The tool reads source; this asks the modules themselves, under Celery's names."""
    home = ROOT / "dask_facade/celery"
    below = [path.relative_to(home).with_suffix("").parts for path in home.rglob("*.py")]
    modules = {*HOMES, *(".".join(["celery", *parts]).removesuffix(".__init__") for parts in below)}
    claims = {}
    for module in modules:
        found = counterpart(module)
        assert found is not None, module
        homes = ["dask_facade", "dask_facade.celery"] if module == "celery" else [found.module]
        claims[module] = {each: sorted(names_of(each)) for each in homes}
    code = (
        "import importlib, json, sys\n"
        "import django\n"
        "from django.conf import settings\n"
        "settings.configure(INSTALLED_APPS=['dask_facade'])\n"
        "django.setup()\n"
        "import dask_facade\n"
        "dask_facade.install_as_celery()\n"
        "for module, homes in json.load(sys.stdin).items():\n"
        "    as_celerys = importlib.import_module(module)\n"
        "    for home, names in homes.items():\n"
        "        found = importlib.import_module(home)\n"
        "        assert home == 'dask_facade' or found is as_celerys, (module, home)\n"
        "        lacking = [each for each in names if not hasattr(found, each)]\n"
        "        assert not lacking, (home, lacking)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        input=json.dumps(claims),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_what_an_app_is_said_to_have_it_has(app):
    for name in attributes_of("dask_facade.app", "DaskFacade"):
        assert name in dir(type(app)) or name in vars(app)

    assert attributes_of("dask_facade.control", "Control") <= {*dir(app.control)}


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("task", Verdict.WORKS),
        ("on_after_configure.connect", Verdict.WORKS),
        ("_get_current_object", Verdict.WORKS),  # of current_app
        ("control.revoke", Verdict.WORKS),
        ("control.inspect.active", Verdict.WORKS),
        ("control.inspect.nothing_such", Verdict.REFUSED),
        ("control.nothing_such", Verdict.REFUSED),
        ("control.pool_grow", Verdict.REFUSED),
        ("control.enable_events", Verdict.DIFFERS),
        ("steps", Verdict.REFUSED),
        ("nothing_such", Verdict.REFUSED),
    ],
)
def test_the_app_is_asked_for_what_it_has(name, verdict):
    assert judge(Kind.APP, name).verdict is verdict


@pytest.mark.parametrize(
    ("name", "verdict"),
    [
        ("celery", Verdict.WORKS),
        ("celery.shared_task", Verdict.WORKS),
        ("celery.uuid", Verdict.WORKS),
        ("celery.schedules.crontab", Verdict.WORKS),
        ("celery.states.SUCCESS.lower", Verdict.WORKS),
        ("celery.app.task.Task", Verdict.WORKS),
        ("billiard.exceptions.SoftTimeLimitExceeded", Verdict.WORKS),
        ("kombu.exceptions.OperationalError", Verdict.WORKS),
        ("kombu.Queue", Verdict.DIFFERS),
        ("celery.signals.heartbeat_sent", Verdict.DIFFERS),
        ("kombu", Verdict.REFUSED),
        ("kombu.mixins.ConsumerMixin", Verdict.REFUSED),
        ("celery.schedules.nothing_such", Verdict.REFUSED),
        ("celery.nothing.such", Verdict.REFUSED),
        ("django_celery_results.models.TaskResult", Verdict.REFUSED),
    ],
)
def test_imports_are_judged_by_what_is_here(name, verdict):
    assert judge(Kind.IMPORT, name).verdict is verdict


def test_what_is_refused_says_what_to_do_instead():
    assert [
        key for key, said in KNOWLEDGE.items() if said.verdict is Verdict.REFUSED and not said.says
    ] == []
