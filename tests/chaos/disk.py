"""A ledger in SQLite on a disk of its own, which can be filled."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import settings
from tests.benchmarks.processes import PeerFailed
from tests.chaos.database import migrate

SIZE = "64m"
_NOW = "(julianday('now') - 2440587.5) * 86400.0"
_HISTORY = f"""
CREATE TABLE chaos_history (
    number integer PRIMARY KEY, id text, state text, attempt integer, hand integer,
    time real DEFAULT ({_NOW})
);
CREATE TRIGGER chaos_made AFTER INSERT ON dask_facade_job BEGIN
    INSERT INTO chaos_history (id, state, attempt, hand)
        VALUES (NEW.id, NEW.state, NEW.attempt, NEW.hand);
END;
CREATE TRIGGER chaos_moved AFTER UPDATE ON dask_facade_job
    WHEN (OLD.state, OLD.attempt, OLD.hand) IS NOT (NEW.state, NEW.attempt, NEW.hand) BEGIN
    INSERT INTO chaos_history (id, state, attempt, hand)
        VALUES (NEW.id, NEW.state, NEW.attempt, NEW.hand);
END;
"""


class SmallDisk:
    """A disk in *folder*, with the tables of a site on it; to mount it needs root, or sudo."""

    def __init__(self, folder: Path) -> None:
        self._place = folder / "disk"
        self._place.mkdir()
        options = f"size={SIZE},uid={os.getuid()}"
        _as_root("mount", "-t", "tmpfs", "-o", options, "none", str(self._place))
        self._path = self._place / "site.sqlite3"
        try:
            migrate(self, folder)
            with closing(sqlite3.connect(self._path)) as site:
                site.executescript(_HISTORY)
        except BaseException:
            self.drop()
            raise

    @property
    def settings(self) -> Mapping[str, Any]:
        """What Django's DATABASES say of it."""
        return {**settings.sqlite_database("chaos"), "NAME": str(self._path)}

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=30)) as site:
            return site.execute(statement).fetchall()

    def epoch(self, column: str) -> str:
        """Return what a query has for a time as seconds since the epoch."""
        return f"(julianday({column}) - 2440587.5) * 86400.0"

    def fill(self) -> None:
        """Leave no room."""
        with (self._place / "filler").open("wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(2**16))
            except OSError:
                pass

    def empty(self) -> None:
        """Make room again."""
        (self._place / "filler").unlink()

    def drop(self) -> None:
        """Let go of the disk, with all that is on it."""
        _as_root("umount", "--lazy", str(self._place))


def _as_root(*command: str) -> None:
    sudo = () if os.getuid() == 0 else ("sudo", "-n")
    try:
        subprocess.run([*sudo, *command], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerFailed(f"no disk of its own: {error}") from error
