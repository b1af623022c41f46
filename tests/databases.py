"""Which of the two databases a test can have."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import pytest

from tests import settings

IN_CI = os.environ.get("CI") == "true"


def require_database(alias: str) -> None:
    """Skip the test where database *alias* cannot be had, and say why; in CI, fail."""
    if alias in settings.DATABASES:
        return
    if settings.TEST_DB == "postgres":
        pytest.skip("PostgreSQL is the default database of this run")
    address = urlsplit(settings.POSTGRES_URL)
    missing = (
        f"no PostgreSQL server answers at {address.hostname}:{address.port}: start one, or name "
        "another as DASK_FACADE_TEST_POSTGRES=postgresql://user:password@host:port/database"
    )
    if IN_CI:
        pytest.fail(missing, pytrace=False)
    pytest.skip(missing)
