from __future__ import annotations

import shutil

import hypothesis
import pytest

from tests import settings
from tests.databases import IN_CI, require_database

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


@pytest.fixture(params=["default", "postgres"])
def database_alias(request: pytest.FixtureRequest) -> str:
    """Run the test once on each database.

    The test itself needs `pytest.mark.django_db(databases="__all__")`. Without a PostgreSQL
    server it is skipped there, and fails in CI.
    """
    alias: str = request.param
    require_database(alias)
    return alias
