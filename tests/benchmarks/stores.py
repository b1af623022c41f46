"""What keeps the peers' jobs during a run. Nothing of it is left afterwards.

Each is a context manager that takes a folder of its own and yields the environment in which the
peer's processes find it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import redis
from psycopg import sql

from tests import settings
from tests.benchmarks.processes import ROOT, PeerFailed, Server

NAME = "benchmarks"
REDIS_PORT = 6379
REDIS_PORT_OF_OUR_OWN = 16379
REDIS_NUMBERS = range(15, 0, -1)


@contextmanager
def nothing(folder: Path) -> Iterator[Mapping[str, str]]:
    """Keep nothing."""
    yield {}


@contextmanager
def sqlite_site(folder: Path) -> Iterator[Mapping[str, str]]:
    """Make a site on a SQLite database."""
    yield _migrated({**settings.sqlite_database(NAME), "NAME": str(folder / "site.sqlite3")})


@contextmanager
def postgres_site(folder: Path) -> Iterator[Mapping[str, str]]:
    """Make a site on a database of its own, on the PostgreSQL server of the tests."""
    database = settings.postgres_database(NAME)
    name = sql.Identifier(database["NAME"])
    try:
        server = psycopg.connect(settings.POSTGRES_URL, autocommit=True, connect_timeout=5)
    except psycopg.OperationalError as error:
        raise PeerFailed(f"no PostgreSQL (see DASK_FACADE_TEST_POSTGRES): {error}") from error
    with server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(name))
        try:
            yield _migrated(database)
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _migrated(database: Mapping[str, Any]) -> Mapping[str, str]:
    environment = {
        "BENCH_DATABASE": json.dumps(database),
        "DJANGO_SETTINGS_MODULE": "tests.benchmarks.site_settings",
    }
    done = subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--verbosity=0"],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"migrate failed:\n{done.stderr}")
    return environment


@contextmanager
def redis_database(folder: Path) -> Iterator[Mapping[str, str]]:
    """Take an empty database of the Redis server that answers, or of one that is started."""
    if _answers(REDIS_PORT):
        with _empty_database(REDIS_PORT) as environment:
            yield environment
    else:
        with (
            Server(
                ["redis-server", "--port", str(REDIS_PORT_OF_OUR_OWN), "--save", ""],
                {},
                folder / "redis.log",
                ready="Ready to accept connections",
            ),
            _empty_database(REDIS_PORT_OF_OUR_OWN) as environment,
        ):
            yield environment


def _answers(port: int) -> bool:
    try:
        with redis.Redis(port=port, socket_connect_timeout=2) as server:
            return bool(server.ping())
    except redis.ConnectionError:
        return False


@contextmanager
def _empty_database(port: int) -> Iterator[Mapping[str, str]]:
    for number in REDIS_NUMBERS:
        with redis.Redis(port=port, db=number) as database:
            if database.dbsize():
                continue  # somebody else's
            try:
                yield {"BENCH_REDIS": f"redis://127.0.0.1:{port}/{number}"}
            finally:
                database.flushdb()
            return
    raise PeerFailed(f"no database of the Redis server at port {port} is empty")
