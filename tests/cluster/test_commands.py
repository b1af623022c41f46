"""The command line on a project with a dispatcher, as an operator uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.processes import DispatcherProcess, wait_for

FILES = {
    "manage.py": """
        import os, sys
        from django.core.management import execute_from_command_line
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
        execute_from_command_line(sys.argv)
    """,
    "proj/__init__.py": "from .celery import app as celery_app",
    "proj/celery.py": """
        import os
        from dask_facade import Celery
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")
        app = Celery("proj")
        app.config_from_object("django.conf:settings", namespace="CELERY")
        app.autodiscover_tasks()
    """,
    "proj/settings.py": """
        import os
        SECRET_KEY = "of a test"
        USE_TZ = True
        INSTALLED_APPS = ["dask_facade", "shop"]
        DATABASES = {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": os.environ.get("SHOP_DATABASE", "shop.sqlite3"),
                "OPTIONS": {"transaction_mode": "IMMEDIATE"},
            }
        }
        CELERY_BROKER_URL = "redis://user:hidden@localhost"
    """,
    "shop/__init__.py": "",
    "shop/tasks.py": """
        import time
        from pathlib import Path
        from dask_facade import shared_task

        @shared_task
        def add(x, y=0):
            return x + y

        @shared_task
        def fail():
            raise ValueError("bad")

        @shared_task
        def hold(path):
            while not Path(path).exists():
                time.sleep(0.01)
            return "let go"
    """,
}


class Project:
    """A Django project in a folder, as Celery's documentation has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in FILES.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            lines = text.strip("\n").splitlines()
            path.write_text("".join(f"{line.removeprefix('        ')}\n" for line in lines))

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python there, without the settings of the tests."""
        inherited = {
            name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env={**inherited, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command on its app."""
        return self.python("-m", "dask_facade", "-A", "proj", *arguments, **environment)

    def prints(self, *arguments: str) -> str:
        """Return what a command prints that does its work."""
        ran = self.run(*arguments)
        assert (ran.returncode, ran.stderr) == (0, "")
        return ran.stdout

    def document(self, *arguments: str) -> Any:
        """Return the JSON that it prints."""
        return json.loads(self.prints("--json", *arguments))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"))
    made = project.python("manage.py", "migrate", "-v", "0")
    assert made.returncode == 0, made.stderr
    dispatcher = DispatcherProcess(
        ["--workers", "1"], command=["manage.py"], folder=project.folder, settings=None
    )
    try:
        dispatcher.wait_until_ready()
        wait_for(lambda: project.run("-q", "status").returncode == 0, "a worker", 60)
        yield project
    finally:
        dispatcher.stop()


def test_status_tells_who_is_online(project: Project) -> None:
    *nodes, _, count = project.prints("status").splitlines()

    assert count == "1 node online."
    assert all(line.endswith(": OK") for line in nodes)


def test_workers_answer_what_inspect_asks(project: Project) -> None:
    ((name, registered),) = project.document("inspect", "registered").items()
    stats = project.document("inspect", "stats", "-d", name)[name]

    assert [each for each in registered if "shop" in each] == [
        "shop.tasks.add",
        "shop.tasks.fail",
        "shop.tasks.hold",
    ]
    assert stats["pool"]["max-concurrency"] == 1
    assert project.document("inspect", "ping", "-t", "5") == {name: {"ok": "pong"}}
    printed = project.prints("inspect", "stats")
    assert "pool.max-concurrency" in printed
    assert "1 node online." in printed


def test_a_call_runs_and_its_result_is_printed(project: Project) -> None:
    id = project.prints("call", "shop.tasks.add", "-a", "[2]", "-k", '{"y": 3}').strip()

    assert project.prints("result", id) == "5\n"
    said = project.document("result", id)
    assert (said["task_id"], said["name"], said["result"]) == (id, "shop.tasks.add", 5)


def test_a_failure_is_the_exit_status(project: Project) -> None:
    id = project.prints("call", "shop.tasks.fail").strip()

    ran = project.run("result", id)

    assert ran.returncode == 1
    assert ran.stderr == "Error: FAILURE: ValueError: bad\n"
    assert "in fail" in project.prints("result", id, "--traceback")


def test_a_running_call_is_told_and_terminated(project: Project) -> None:
    path = str(project.folder / "let go")
    id = project.document("call", "shop.tasks.hold", "-a", json.dumps([path]))["task_id"]

    def active() -> list[str]:
        (running,) = project.document("inspect", "active").values()
        return [each["id"] for each in running]

    try:
        wait_for(lambda: active() == [id], "the call", 30)
        assert id in project.prints("inspect", "query_task", id)
        assert project.run("control", "terminate", "KILL", id).returncode == 0
        ran = project.run("result", id)
        assert ran.returncode == 1
        assert "REVOKED" in ran.stderr
    finally:
        Path(path).touch()
    wait_for(lambda: project.run("-q", "status").returncode == 0, "the worker anew", 60)


def test_a_rate_limit_reaches_the_workers(project: Project) -> None:
    ((answer,),) = [
        each.values()
        for each in project.document("control", "rate_limit", "shop.tasks.add", "50/s")
    ]

    assert answer == {"ok": "new rate limit set successfully"}
    (registered,) = project.document("inspect", "registered", "rate_limit").values()
    assert "shop.tasks.add [rate_limit=50/s]" in registered


def test_a_paused_queue_is_purged(project: Project) -> None:
    project.prints("control", "pause_queue", "slow")
    ids = [
        project.prints("call", "shop.tasks.add", "-a", "[1]", "--queue", "slow").strip()
        for _ in range(2)
    ]

    assert project.document("purge", "-f", "-Q", "other") == {"purged": 0}
    assert project.prints("purge", "-f", "-Q", "slow") == "Purged 2 jobs of queue slow.\n"

    assert project.run("result", ids[0]).returncode == 1
    project.prints("control", "resume_queue", "slow")


def test_a_report_tells_the_settings_without_secrets(project: Project) -> None:
    told = project.prints("report")

    assert "software -> " in told
    assert "broker_url: 'redis://user:********@localhost'" in told


def test_a_database_without_tables_says_what_to_do(project: Project) -> None:
    ran = project.run("status", SHOP_DATABASE="empty.sqlite3")

    assert ran.returncode == 1
    assert "manage.py migrate" in ran.stderr


def test_a_database_that_is_away_is_told_in_one_line(project: Project) -> None:
    ran = project.run("call", "shop.tasks.add", SHOP_DATABASE="/absent/shop.sqlite3")

    assert ran.returncode == 69
    assert ran.stderr.startswith("Error: ")
    assert "Traceback" not in ran.stderr
