"""``python -m dask_facade.port``."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from dask_facade import port

ROOT = Path(__file__).resolve().parents[2]

APP = """
import os
from celery import Celery

app = Celery("proj", broker="redis://")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
TASKS = """
from celery import shared_task
from celery.utils.log import get_task_logger

from proj.celery import app

log = get_task_logger(__name__)


@shared_task(bind=True, autoretry_for=(OSError,), rate_limit="10/m")
def fetch(self, url):
    app.control.revoke(self.request.id)


def start(url):
    return fetch.apply_async((url,), countdown=3).id
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(tmp_path, {"proj/celery.py": APP, "proj/tasks.py": TASKS})
    return tmp_path


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict]:
    status = port.main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def places(said: dict) -> list[tuple[str, int, str, str]]:
    return [
        (Path(each["file"]).name, each["line"], each["what"], each["verdict"])
        for each in said["places"]
    ]


def test_each_place_is_told_with_what_becomes_of_it(project, capsys):
    status, said = told(capsys, project)

    assert status == 0
    assert places(said) == [
        ("celery.py", 3, "celery.Celery", "works"),
        ("celery.py", 5, "conf.broker_url", "differs"),
        ("celery.py", 6, "app.config_from_object", "works"),
        ("celery.py", 7, "app.autodiscover_tasks", "works"),
        ("tasks.py", 2, "celery.shared_task", "works"),
        ("tasks.py", 3, "celery.utils.log.get_task_logger", "works"),
        ("tasks.py", 10, "bind=", "works"),
        ("tasks.py", 10, "autoretry_for=", "works"),
        ("tasks.py", 10, "rate_limit=", "differs"),
        ("tasks.py", 12, "app.control.revoke", "works"),
        ("tasks.py", 16, ".apply_async()", "works"),
        ("tasks.py", 16, "countdown=", "works"),
    ]
    assert said["summary"] == {"works": 10, "differs": 2, "refused": 0}
    assert said["renamed"] == {}


def test_people_are_told_in_lines_that_are_aligned(project, capsys):
    status = port.main([str(project)])

    lines = capsys.readouterr().out.splitlines()
    assert status == 0
    assert lines[1].split("  ")[0] == f"{project}/proj/celery.py:5:22"
    assert lines[1].endswith("is told, and not needed")
    assert len({line.index("works") for line in lines[:12]}) == 1
    assert lines[-1].split() == ["all", "10", "2", "0"]


def test_what_is_refused_is_the_exit_status(project, capsys):
    write(project, {"Procfile": "worker: celery -A proj worker -B\n"})

    status, said = told(capsys, project)

    assert status == 1
    assert said["places"][0]["what"] == "celery -A proj worker -B"
    assert "dask_dispatcher" in said["places"][0]["says"]


def test_a_file_that_does_not_parse_is_named_and_the_rest_goes_on(project, capsys):
    write(project, {"proj/bad.py": "x = 1\ndef (:\n", "proj/null.py": "x = 1\0"})
    (project / "proj/latin.py").write_bytes(b"x = '\xe9'\n")

    status, said = told(capsys, project, "--write")

    assert status == 1
    assert [(Path(each["file"]).name, each["line"]) for each in said["broken"]] == [
        ("bad.py", 2),
        ("latin.py", 1),
        ("null.py", 1),
    ]
    assert all(each["why"] for each in said["broken"])
    assert (project / "proj/bad.py").read_text() == "x = 1\ndef (:\n"
    assert len(said["renamed"]) == 2


def test_write_renames_the_imports_once(project, capsys):
    _, said = told(capsys, project, "--write")

    assert {Path(file).name: count for file, count in said["renamed"].items()} == {
        "celery.py": 1,
        "tasks.py": 2,
    }
    tasks = project / "proj/tasks.py"
    assert tasks.read_text() == TASKS.replace("from celery", "from dask_facade")
    before = tasks.stat()

    status, said = told(capsys, project, "--write")

    assert (status, said["renamed"]) == (0, {})
    assert tasks.stat() == before
    assert ("tasks.py", 10, "rate_limit=", "differs") in places(said)  # still a task


def test_without_write_nothing_is_written(project):
    port.main([str(project)])

    assert (project / "proj/tasks.py").read_text() == TASKS


def test_what_is_left_is_told(project, capsys):
    write(project, {"proj/own.py": "import celery\ncelery = celery.Celery()\n"})

    status, said = told(capsys, project, "--write")

    assert status == 0
    assert [(Path(each["file"]).name, each["what"]) for each in said["left"]] == [
        ("own.py", "import celery")
    ]


def test_a_file_that_cannot_be_written_is_told_and_the_rest_goes_on(project, capsys, monkeypatch):
    replace = os.replace

    def replace_or_fail(source: str, target: str) -> None:
        if target.endswith("celery.py"):
            raise PermissionError(13, "Permission denied", target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_or_fail)
    status, said = told(capsys, project, "--write")

    assert status == 1
    assert [each["why"][:28] for each in said["broken"]] == ["not written: PermissionError"]
    assert (project / "proj/celery.py").read_text() == APP
    assert "dask_facade" in (project / "proj/tasks.py").read_text()


def test_environments_and_what_is_not_the_projects_are_passed_over(project, capsys):
    bad = "from celery import bootsteps\n"
    write(
        project,
        {
            "venv/pyvenv.cfg": "",
            "venv/lib/one.py": bad,
            "conda/conda-meta/history": "",
            "conda/two.py": bad,
            ".git/hooks/three.py": bad,
            "web/node_modules/four.py": bad,
            "proj/migrations/five.py": bad,
            "notes.txt": "celery -A proj worker\n",
        },
    )
    os.mkfifo(project / "pipe.py")
    (project / "away.py").symlink_to(project / "nowhere")

    _, said = told(capsys, project)

    refused = [each["file"] for each in said["places"] if each["verdict"] == "refused"]
    assert [Path(file).name for file in refused] == ["five.py"]
    assert said["broken"] == []


def test_one_file_will_do(project, capsys):
    _, said = told(capsys, project / "proj/celery.py")

    assert len(said["places"]) == 4


@pytest.mark.parametrize("arguments", [[], ["nowhere"], [".", "--nonsense"]])
def test_a_wrong_call_is_told(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SystemExit) as ended:
        port.main(arguments)

    assert ended.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_nothing_of_the_projects_and_no_framework_is_imported(project):
    write(project, {"proj/__init__.py": "raise SystemExit('imported')"})
    code = (
        "import sys\n"
        "from dask_facade import port\n"
        "status = port.main([sys.argv[1], '--write'])\n"
        "found = {'celery', 'dask', 'distributed', 'django', 'proj'} & sys.modules.keys()\n"
        "sys.exit(f'{found} {status}' if found or status else 0)\n"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(project)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_the_demo_site_is_got_back_from_its_twin_for_celery(tmp_path, capsys):
    site = ROOT / "demo_site"
    files = {
        str(path.relative_to(site)): path.read_text().replace("DaskFacade", "Celery")
        for path in sorted(site.rglob("*.py"))
    }
    celerys = re.compile(
        r"^from dask_facade(?=(?:\.exceptions|\.states)? import (?!job_manager))", re.M
    )
    twin = {name: celerys.sub("from celery", text) for name, text in files.items()}
    write(tmp_path, twin)
    changed = {name for name in files if twin[name] != files[name]}
    assert {"demo/celery.py", "codebase/tasks.py"} < changed

    status, said = told(capsys, tmp_path, "--write")

    assert status == 0
    assert {os.path.relpath(name, tmp_path) for name in said["renamed"]} == changed
    assert {name: (tmp_path / name).read_text() for name in files} == files
