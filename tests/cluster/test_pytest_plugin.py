"""Celery's fixtures, in the tests of a project: without Django, so with the ledger in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.processes import ROOT

TASKS = """
from celery import shared_task

@shared_task
def add(x, y):
    return x + y

@shared_task(bind=True)
def about(self):
    import celery, os
    return [self.app.main, self.app.conf.result_backend, celery.__name__, os.getpid()]
"""

CONFTEST = """
import dask_facade
dask_facade.install_as_celery()
pytest_plugins = ["celery.contrib.pytest"]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project_tasks.py").write_text(TASKS)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    return tmp_path


def run(project: Path, code: str) -> str:
    """Run *code* as the project's tests; return what pytest says."""
    (project / "test_project.py").write_text(code)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("DJANGO", "PYTEST"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:django", "-p", "no:cacheprovider"],
        cwd=project,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_worker_of_the_session_runs_what_apps_of_tests_submit(project):
    out = run(
        project,
        """
import os

import pytest
from celery import group
from celery.contrib.testing.manager import Manager
from celery.signals import task_received


@pytest.fixture(scope="session")
def celery_config():
    return {"result_backend": "redis://"}


@pytest.fixture(scope="session")
def celery_includes():
    return {"project_tasks"}


def test_results(celery_app, celery_session_worker):
    from project_tasks import add

    assert add.delay(2, 3).get(timeout=10) == 5
    assert group(add.s(n, n) for n in range(3))().get(timeout=10) == [0, 2, 4]


def test_a_worker_is_like_the_app(celery_session_app, celery_session_worker):
    from project_tasks import about

    main, backend, celery, pid = about.delay().get(timeout=10)

    assert (main, backend, celery) == ("celery.tests", "redis://", "dask_facade.celery")
    assert pid != os.getpid()


def test_signals_of_the_worker_are_heard_here(celery_session_worker):
    from project_tasks import add

    heard = []

    def hear(request=None, **named):
        heard.append(request.id)

    task_received.connect(hear)
    result = add.delay(1, 1)
    result.get(timeout=10)
    task_received.disconnect(hear)

    assert heard == [result.id]


def test_tasks_of_a_test_itself(celery_session_app, celery_session_worker):
    @celery_session_app.task
    def mul(x, y):
        return x * y

    celery_session_worker.reload()

    assert mul.delay(4, 4).get(timeout=10) == 16


def test_waiting(celery_app, celery_session_worker):
    Manager(celery_app).wait_until_idle()
""",
    )

    assert "5 passed" in out


def test_a_worker_of_a_test_ends_with_it(project):
    out = run(
        project,
        """
import threading

import pytest


@pytest.fixture(scope="session")
def celery_includes():
    return {"project_tasks"}


@pytest.mark.parametrize("number", [1, 2])
def test_results(number, celery_app, celery_worker):
    from project_tasks import add

    celery_app.set_current()
    assert add.delay(number, 3).get(timeout=10) == number + 3


def test_no_thread_is_left():
    assert not [each for each in threading.enumerate() if each.name == "dask-facade-worker"]
""",
    )

    assert "3 passed" in out


def test_settings_of_a_test_and_the_trap(project):
    out = run(
        project,
        """
import pytest
from celery import current_app


@pytest.fixture(scope="session")
def use_celery_app_trap():
    return True


@pytest.mark.celery(result_backend="redis://there")
def test_settings(celery_app):
    assert celery_app.conf.result_backend == "redis://there"


def test_the_trap(celery_app):
    with pytest.raises(RuntimeError, match="current_app"):
        current_app.main


def test_depending_on_the_app(celery_app, depends_on_current_app):
    assert current_app.main == "celery.tests"
""",
    )

    assert "3 passed" in out
