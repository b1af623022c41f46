"""The server and the databases that sites have their ledger in; each remembers its jobs' lives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg

from tests.benchmarks.processes import ROOT, PeerFailed
from tests.chaos.services import Service, as_ordinary_user, free_port
from tests.chaos.waiting import wait_for

USER = "chaos"
_HISTORY = """
CREATE TABLE chaos_history (
    number bigserial PRIMARY KEY, id text, state text, attempt integer, hand integer,
    time float8 DEFAULT extract(epoch FROM clock_timestamp())
);
CREATE FUNCTION chaos_remember() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_history (id, state, attempt, hand)
        VALUES (NEW.id, NEW.state, NEW.attempt, NEW.hand);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_made AFTER INSERT ON dask_facade_job
    FOR EACH ROW EXECUTE FUNCTION chaos_remember();
CREATE TRIGGER chaos_moved AFTER UPDATE ON dask_facade_job FOR EACH ROW
    WHEN ((OLD.state, OLD.attempt, OLD.hand) IS DISTINCT FROM (NEW.state, NEW.attempt, NEW.hand))
    EXECUTE FUNCTION chaos_remember();
"""
"""Each state that a job was in, with its attempt and hand, in the order of their commits."""


class Ledger(Protocol):
    """A database with the tables of a site."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What Django's DATABASES say of it."""

    def drop(self) -> None:
        """Delete it."""

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""

    def epoch(self, column: str) -> str:
        """Return what a query has for a time as seconds since the epoch."""


class Postgres:
    """A server of our own, with its files in *folder*; an ordinary user runs it."""

    def __init__(self, folder: Path) -> None:
        installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not installed:
            raise PeerFailed("no PostgreSQL in /usr/lib/postgresql: apt-get install postgresql")
        programs = installed[-1].parent
        self.port = free_port()
        self._folder = folder
        files = folder / "postgres"
        files.mkdir()
        as_user = as_ordinary_user(files)
        initdb = [str(programs / "initdb"), "-D", str(files / "data"), "-U", USER, "-A", "trust"]
        subprocess.run(
            [*as_user, *initdb, "-E", "UTF8", "--locale=C", "--no-sync"],
            cwd=files,
            check=True,
            capture_output=True,
        )
        options = {
            "fsync": "off",  # the machine itself does not crash
            "listen_addresses": "127.0.0.1",
            "max_connections": "200",
            "port": str(self.port),
            "unix_socket_directories": "",
        }
        said = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        self.service = Service(
            "postgres",
            [*as_user, str(programs / "postgres"), "-D", str(files / "data"), *said],
            {"LC_ALL": "C"},
            folder,
            ready="database system is ready to accept connections",
            end=signal.SIGINT,  # whoever is connected
        )

    def make(self, name: str) -> PostgresLedger:
        """Return a new database with the tables of a site."""
        with psycopg.connect(**self._address("postgres"), autocommit=True) as server:
            known = server.execute("SELECT 1 FROM pg_database WHERE datname = 'template_site'")
            if known.fetchone() is None:
                server.execute("CREATE DATABASE template_site")
                template = PostgresLedger(self._address("template_site"))
                migrate(template, self._folder)
                with psycopg.connect(**template.address) as site:
                    site.execute(_HISTORY)
            server.execute(f'CREATE DATABASE "{name}" TEMPLATE template_site')
        return PostgresLedger(self._address(name))

    def _address(self, name: str) -> dict[str, Any]:
        return {"host": "127.0.0.1", "port": self.port, "user": USER, "dbname": name}


class PostgresLedger:
    """A database at *address*, which is as psycopg takes it."""

    def __init__(self, address: dict[str, Any]) -> None:
        self.address = address

    @property
    def settings(self) -> Mapping[str, Any]:
        """What Django's DATABASES say of it."""
        address = self.address
        return {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": address["host"],
            "PORT": address["port"],
            "USER": address["user"],
            "NAME": address["dbname"],
        }

    def drop(self) -> None:
        """Delete it."""
        with psycopg.connect(**{**self.address, "dbname": "postgres"}, autocommit=True) as server:
            server.execute(f'DROP DATABASE "{self.address["dbname"]}" WITH (FORCE)')

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        with psycopg.connect(**self.address, connect_timeout=5, autocommit=True) as connection:
            return connection.execute(statement).fetchall()

    def epoch(self, column: str) -> str:
        """Return what a query has for a time as seconds since the epoch."""
        return f"extract(epoch FROM {column})::float8"

    @contextmanager
    def locked(self, rows: str) -> Iterator[Callable[[], bool]]:
        """Lock the rows of a query, once it has some; yield what tells who waits for one.

        That is whether a transaction does that has done other things before: a lone statement
        would be committed at once.
        """
        with psycopg.connect(**self.address) as connection:
            wait_for(lambda: connection.execute(f"{rows} FOR UPDATE").rowcount, "a row to lock")
            yield lambda: bool(
                self.rows(
                    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    " AND datname = current_database() AND xact_start < query_start"
                )
            )


def migrate(ledger: Ledger, folder: Path) -> None:
    """Make the tables of a site."""
    done = subprocess.run(
        [sys.executable, "-m", "django", "migrate", "--verbosity=0"],
        cwd=ROOT,
        env={**os.environ, **environment(ledger, folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PeerFailed(f"migrate failed:\n{done.stderr}")


def environment(ledger: Ledger, folder: Path, **facade: object) -> dict[str, str]:
    """Return what lets a process be of the site on *ledger*, whose jobs write to *folder*."""
    return {
        "CHAOS_FOLDER": str(folder),
        "CHAOS_DATABASE": json.dumps(ledger.settings),
        "CHAOS_FACADE": json.dumps(facade),
        "DJANGO_SETTINGS_MODULE": "tests.chaos.site_settings",
    }
