from __future__ import annotations

import shutil
import signal
from collections.abc import Generator
from types import FrameType
from typing import Any

import hypothesis
import pytest

from tests import settings
from tests.databases import IN_CI, require_database

LONGEST = 300.0  # seconds for one test with what is set up for it: one that hangs fails
AGAIN = 60.0  # seconds for the cleaning up
MADE_RUN_DIR = pytest.StashKey[bool]()

# A busy machine must not fail a property by its deadline.
hypothesis.settings.register_profile(
    "dask_facade", hypothesis.settings.get_profile("ci" if IN_CI else "default"), deadline=None
)
hypothesis.settings.load_profile("dask_facade")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MADE_RUN_DIR] = not settings.RUN_DIR.exists()
    settings.RUN_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    if config.stash.get(MADE_RUN_DIR, False):
        shutil.rmtree(settings.RUN_DIR, ignore_errors=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Interrupt a test that hangs: it is cleaned up after, and the others have their turn."""

    def ring(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"it goes on after {LONGEST:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, LONGEST, AGAIN)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["default", "postgres"])
def database_alias(request: pytest.FixtureRequest) -> str:
    """Run the test once on each database.

    The test itself needs `pytest.mark.django_db(databases="__all__")`. Without a PostgreSQL
    server it is skipped there, and fails in CI.
    """
    alias: str = request.param
    require_database(alias)
    return alias
