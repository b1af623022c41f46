"""``dask_dispatcher --autoreload``: code that changes while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.processes import ROOT, DispatcherProcess, wait_for

SETTINGS = """
from pathlib import Path

SECRET_KEY = "for tests only"
INSTALLED_APPS = ["dask_facade", "shop"]
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": Path(__file__).with_name("db.sqlite3"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}
"""
TASKS = """
from dask_facade import shared_task
from shop.prices import PRICE

@shared_task
def price():
    return PRICE
"""
ORDER = "import django; django.setup(); from shop.tasks import price; print(price.delay().get(60))"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose task returns what another module of its app says."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "site_settings.py").write_text(SETTINGS)
    (tmp_path / "shop" / "tasks.py").write_text(TASKS)
    (tmp_path / "shop" / "prices.py").write_text("PRICE = 1\n")
    return tmp_path


@pytest.fixture
def environment(project: Path) -> dict[str, str]:
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "site_settings",
        "PYTHONPATH": os.pathsep.join([str(project), str(ROOT)]),
    }


@pytest.fixture
def run(project: Path, environment: dict[str, str]) -> Callable[..., str]:
    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command],
            cwd=project,
            env=environment,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=90,
        ).stdout.strip()

    return run


@pytest.fixture
def dispatcher(
    project: Path, environment: dict[str, str], run: Callable[..., str]
) -> Iterator[DispatcherProcess]:
    run("-m", "django", "migrate", "-v", "0")
    with DispatcherProcess(
        ["--workers", "1", "--autoreload"],
        folder=project,
        settings="site_settings",
        PYTHONPATH=environment["PYTHONPATH"],
    ) as dispatcher:
        yield dispatcher


def test_a_job_runs_the_code_as_it_is_now(
    project: Path, run: Callable[..., str], dispatcher: DispatcherProcess
) -> None:
    (pid, *old) = [process.pid for process in dispatcher.family()]
    assert run("-c", ORDER) == "1"

    (project / "shop" / "prices.py").write_text("PRICE = 1_000\n")
    wait_for(lambda: dispatcher.output.count("jobs run on") == 2, "a new start", 60)

    assert run("-c", ORDER) == "1000"
    (same, *new) = [process.pid for process in dispatcher.family()]
    assert same == pid
    assert not set(old) & set(new)


def test_broken_code_is_told_of_and_the_old_goes_on(
    project: Path, run: Callable[..., str], dispatcher: DispatcherProcess
) -> None:
    prices = project / "shop" / "prices.py"
    assert run("-c", ORDER) == "1"

    prices.write_text("PRICE = = 2\n")
    wait_for(lambda: "the code as it was goes on" in dispatcher.output, "a word of it", 60)

    assert "SyntaxError" in dispatcher.output
    assert dispatcher.output.count("jobs run on") == 1
    prices.write_text("PRICE = 20_000\n")
    wait_for(lambda: dispatcher.output.count("jobs run on") == 2, "a new start", 60)
    assert run("-c", ORDER) == "20000"


def test_another_cluster_is_not_started_anew(project: Path, environment: dict[str, str]) -> None:
    refused = subprocess.run(
        [
            *(sys.executable, "-m", "django", "dask_dispatcher"),
            *("--autoreload", "--scheduler", "tcp://127.0.0.1:1"),
        ],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert refused.returncode == 1
    assert "leave out --autoreload, or say --cluster local" in refused.stderr
