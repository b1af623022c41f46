"""What the port tool sees in a module, and in files that start programs."""

from __future__ import annotations

from pathlib import Path

import pytest

from dask_facade.porting.commands import commands_in
from dask_facade.porting.finding import uses_in
from dask_facade.porting.project import look_through
from dask_facade.porting.sources import parse
from dask_facade.porting.survey import survey
from dask_facade.porting.uses import Kind, Verdict

HEAD = "from celery import Celery, shared_task\napp = Celery('x')\n"


def seen(text: str, name: str = "module.py") -> list[tuple[str, str]]:
    """Return kinds and names of what is used in a module, without what HEAD uses."""
    source = parse(Path(name), text, "utf-8")
    first = text.startswith(HEAD) * 2
    return [
        (use.kind.value, use.name) for use in uses_in(source, survey([source])) if use.line > first
    ]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("from celery import group as g", ["celery.group"]),
        ("import celery.schedules", ["celery.schedules"]),
        ("import celery as c\nc.states.SUCCESS.lower()", ["celery", "celery.states.SUCCESS.lower"]),
        ("from celery import states\nstates.SUCCESS", ["celery.states", "celery.states.SUCCESS"]),
        ("from celery.signals import *", ["celery.signals"]),
        # by what is asked of it
        ("import kombu\nkombu.Queue('a')", ["kombu.Queue"]),
        ("import kombu", ["kombu"]),
        (
            "from django_celery_beat.models import PeriodicTask",
            ["django_celery_beat.models.PeriodicTask"],
        ),
        (
            "INSTALLED_APPS = ['django_celery_results', 'celery_progress']",
            ["django_celery_results"],
        ),
        ("X = 'celery.beat:PersistentScheduler'", ["celery.beat.PersistentScheduler"]),
        ("X = {'()': 'celery.nothing.Such'}", ["celery.nothing.Such"]),
        ("X = 'celery.app.trace'", []),
        ("from .celery import app", []),
        ("from dask_facade import states\nstates.SUCCESS", []),
    ],
)
def test_imports_and_what_is_reached_through_them(text, names):
    assert seen(text) == [("import", name) for name in names]


@pytest.mark.parametrize(
    ("text", "uses"),
    [
        ("@app.task(bind=True)\ndef f(self): ...", [("app", "task"), ("task", "bind")]),
        ("@shared_task(acks_late=False)\ndef f(): ...", [("task", "acks_late=False")]),
        ("class T(app.Task):\n    rate_limit = '1/s'", [("app", "Task"), ("task", "rate_limit")]),
        ("app.control.inspect().active()", [("app", "control.inspect.active")]),
        ("app.send_task('a', priority=1)", [("app", "send_task"), ("option", "priority")]),
        ("@app.on_after_configure.connect\ndef f(): ...", [("app", "on_after_configure.connect")]),
        ("app.conf.task_queues", [("setting", "task_queues")]),
        ("app.conf.CELERY_ALWAYS_EAGER = 1", [("setting", "task_always_eager")]),
        ("app.conf['timezone'] = 'UTC'", [("setting", "timezone")]),
        ("app.conf.update(a=1)", [("setting", "a")]),
        ("app.conf.update({'b': 1}, **c)", [("setting", "b")]),
        ("x = Celery('y', backend='z')", [("setting", "result_backend")]),
        ("class C(Celery): ...\nc = C()\nc.steps", [("app", "steps")]),
        ("f.delay(1)", [("call", "delay")]),
        ("a.b.s(1) | c.si()", [("call", "s"), ("call", "si")]),
        ("self.retry(throw=False)", [("call", "retry"), ("retry", "throw=False")]),
        (
            "f.apply_async((), kwargs={}, queue='a')",
            [("call", "apply_async"), ("option", "queue")],
        ),
        ("subprocess.run('celery -A proj worker')", []),
    ],
)
def test_the_app_tasks_and_calls(text, uses):
    found = [use for use in seen(HEAD + text) if use[0] != "command"]

    assert sorted(found) == sorted(uses)


@pytest.mark.parametrize(
    ("time", "naive"),
    [
        ("datetime.now()", True),
        ("datetime.datetime.utcnow() + timedelta(hours=1)", True),
        ("timezone.now()", False),
        ("datetime.now(UTC)", False),
        ("datetime.now().astimezone()", False),
        ("make_aware(datetime.now())", False),
        ("later", False),
    ],
)
def test_times_without_a_zone(time, naive):
    name = "naive_eta" if naive else "eta"

    assert ("option", name) in seen(f"{HEAD}f.apply_async(eta={time})")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("CELERY_TASK_ROUTES = {}", ["task_routes"]),
        ("CELERY_TASK_ROUTES: dict = {}", ["task_routes"]),
        ("CELERYD_CONCURRENCY = BROKER_URL = 1", ["broker_url", "worker_concurrency"]),
        ("if DEBUG:\n    CELERY_ALWAYS_EAGER = True", ["task_always_eager"]),
        ("class Local:\n    CELERY_TIMEZONE = 'UTC'", ["timezone"]),
        (
            "@override_settings(CELERY_TASK_ALWAYS_EAGER=True, DEBUG=1)\ndef f(): ...",
            ["task_always_eager"],
        ),
        (
            "def test(settings):\n    settings.CELERY_TASK_ALWAYS_EAGER = True",
            ["task_always_eager"],
        ),
        ("def f():\n    CELERY_X = 1", []),
        ("BROKER_OF_OURS = 1; timezone = 'UTC'", []),
    ],
)
def test_settings(text, names):
    assert sorted(name for kind, name in seen(text) if kind == "setting") == names


@pytest.mark.parametrize(
    ("how", "settings", "names"),
    [
        (
            "'django.conf:settings', namespace='JOBS'",
            "JOBS_TIMEZONE = 1; CELERY_TIMEZONE = 2",
            ["timezone"] * 2,
        ),
        ("'proj.settings'", "timezone = 1; other = 2", ["timezone"]),
        ("'proj.other'", "timezone = 1", []),
    ],
)
def test_settings_are_where_the_app_reads_them(tmp_path, how, settings, names):
    (tmp_path / "jobs.py").write_text(f"{HEAD}app.config_from_object({how})\n")
    (tmp_path / "settings.py").write_text(f"{settings}  # of celery\n")

    report, _ = look_through(tmp_path)

    assert [place.use.name for place in report.places if place.use.kind is Kind.SETTING] == names


def test_settings_of_a_class():
    text = f"{HEAD}class Config:\n    timezone = 'UTC'\napp.config_from_object(Config)"

    assert ("setting", "timezone") in seen(text)


@pytest.mark.parametrize(
    "line",
    [
        "from proj.celery import app",
        "from .celery import app",
        "from proj import celery_app as app",
        "from . import celery_app as app",
    ],
)
def test_an_app_is_known_in_the_modules_that_import_it(tmp_path, line):
    package = tmp_path / "proj"
    package.mkdir()
    (package / "__init__.py").write_text("from .celery import app as celery_app")
    (package / "celery.py").write_text(HEAD)
    (package / "tasks.py").write_text(f"{line}\napp.steps  # of celery")

    report, _ = look_through(tmp_path)

    assert [place.use.name for place in report.places if "tasks" in place.file] == ["steps"]


@pytest.mark.parametrize(
    "text",
    [
        "pool.apply_async(f, (1,))",
        "a.s(1); a.retry()",
    ],
)
def test_other_libraries_have_such_methods_too(text):
    assert seen(f"import multiprocessing\n{text}") == []


@pytest.mark.parametrize(
    ("zone", "verdict"), [("", Verdict.REFUSED), ("CELERY_TIMEZONE = 'UTC'", Verdict.DIFFERS)]
)
def test_a_setting_says_what_a_time_without_a_zone_means(tmp_path, zone, verdict):
    (tmp_path / "settings.py").write_text(zone)
    (tmp_path / "tasks.py").write_text("f.apply_async(eta=datetime.now())")

    report, _ = look_through(tmp_path)

    [said] = [place.judgement.verdict for place in report.places if "eta" in place.use.name]
    assert said is verdict


def test_columns_count_characters():
    [use] = uses_in(
        source := parse(Path("m.py"), "x = 'é𝄞'; from celery import group", "utf-8"),
        survey([source]),
    )

    assert (use.line, use.column) == (1, 30)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("worker: celery -A proj worker -B", ["worker"]),
        ("beat: exec /app/.venv/bin/celery --app=proj beat\n", ["beat"]),
        ("python -m celery -A proj flower --port=80", ["flower"]),
        ('CMD ["celery", "-A", "proj", "worker", "-Q", "a,b"]', ["worker"]),
        ("command: celery --app proj -b redis:// worker", ["worker"]),
        ("args:\n  - celery\n  - -A\n  - proj\n  - beat\n", ["beat"]),
        ("celery \\\n  -A proj \\\n  worker", ["worker"]),
        ("ExecStart=/bin/sh -c '${BIN}/celery -A $APP multi start w1'", ["multi"]),
        (
            "watchmedo auto-restart -- celery worker; celery -A p inspect ping",
            ["worker", "inspect"],
        ),
        ("celery -A proj status && celery -A proj purge -f", ["status", "purge"]),
        ("# celery -A proj worker", []),
        ("pip install celery redis", []),
        ("celery:\n  image: worker", []),
        ("docker run celery\nworker", []),
        ("see celery -A proj documentation", []),
        ("Description=celery worker", []),
        ("celery worker is down", []),
        ("- name: celery worker -Q a\n  run: celery worker\n", ["worker"]),
        ("my-celery worker; celery.worker; celery-exporter worker", []),
    ],
)
def test_command_lines(text, names):
    assert [use.name for use in commands_in(text)] == names


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("call('celery -A proj worker')", ["worker"]),
        ("Popen(['celery', '-A', app, 'beat', '-l', 'INFO'])", ["beat"]),
        ("log('celery worker died')", []),
        ("print('celery is here'); x = ['celery', 'redis']", []),
    ],
)
def test_command_lines_in_python(text, names):
    assert [name for kind, name in seen(text) if kind == "command"] == names


def test_a_command_line_is_told_with_its_place_and_shortened():
    text = f"a\n  b: celery worker {'--option ' * 20}"

    [use] = commands_in(text)

    assert (use.line, use.column) == (2, 6)
    assert use.what.startswith("celery worker --option")
    assert len(use.what) <= 60


@pytest.mark.parametrize(
    "name",
    ["Procfile", "Dockerfile.prod", "Makefile", "compose.yaml", "w.service", "run.sh", "w.ini"],
)
def test_files_that_start_programs(tmp_path, name):
    (tmp_path / name).write_text("x: celery worker\n")

    assert [place.use.name for place in look_through(tmp_path)[0].places] == ["worker"]


def test_a_script_without_a_suffix(tmp_path):
    (tmp_path / "start").write_text("#!/bin/sh\nexec celery worker\n")
    (tmp_path / "notes").write_text("exec celery worker\n")

    [place] = look_through(tmp_path)[0].places

    assert (Path(place.file).name, place.use.line) == ("start", 2)


def test_a_module_that_is_nested_too_deeply_is_named(tmp_path):
    (tmp_path / "deep.py").write_text("celery = " + " + ".join("a" * 3000))
    (tmp_path / "tasks.py").write_text("f.delay()")

    report, _ = look_through(tmp_path)

    assert [error.path.name for error in report.broken] == ["deep.py"]
    assert [place.use.name for place in report.places] == ["delay"]
