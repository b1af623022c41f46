"""System checks: what `manage.py check` says of the settings, with what to write instead.

They look at settings alone and connect to nothing, so they do not wear Django's database tag:
checks with it run only where a command names a database.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from dask_facade.conf import LEDGER_ALIAS, get_settings
from dask_facade.exceptions import ImproperlyConfigured

TAG = "dask_facade"
OTHER_ENGINES = ("mysql", "mariadb", "oracle", "mssql", "sql_server", "cockroach", "dummy")
HINT_OPTIONS = """Write in settings.py:
        DATABASES[{alias!r}]["OPTIONS"] = {{
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        }}"""


def register_checks() -> None:
    """Let `manage.py check` run the checks of this module."""
    register(check_settings, TAG)
    register(check_ledger_database, TAG)


def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find settings that are misspelt or of the wrong type."""
    try:
        get_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Correct settings.DASK_FACADE.", id="dask_facade.E002")]
    return []


def check_ledger_database(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Find a database that cannot hold the ledger, or that would be slow at it."""
    database = connections.settings[LEDGER_ALIAS]
    engine = str(database["ENGINE"]).lower()
    if any(name in engine for name in OTHER_ENGINES):
        return [_refused(str(database["ENGINE"]))]
    if "sqlite" in engine or "spatialite" in engine:
        return _check_sqlite(str(database["NAME"]), database["OPTIONS"])
    return []


def _refused(engine: str) -> CheckMessage:
    return Error(
        f"The ledger of jobs cannot be in the database {LEDGER_ALIAS!r}, whose engine is {engine}.",
        hint="Use PostgreSQL, or SQLite on one machine.",
        id="dask_facade.E001",
    )


def _check_sqlite(name: str, options: dict[str, Any]) -> list[CheckMessage]:
    if _is_in_memory(name):
        return [] if _is_made_for_tests(name) else [_unshared()]
    hint = HINT_OPTIONS.format(alias=LEDGER_ALIAS)
    messages: list[CheckMessage] = []
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        messages.append(
            Warning(
                "SQLite's transactions begin by reading: when one of them writes later while "
                "another process has written, it fails at once with 'database is locked'.",
                hint=hint,
                id="dask_facade.W001",
            )
        )
    commands = str(options.get("init_command", "")).lower()
    if not (
        re.search(r"\bjournal_mode\s*[=(]\s*['\"]?wal\b", commands)
        and re.search(r"\bsynchronous\s*[=(]", commands)
    ):
        messages.append(
            Warning(
                "SQLite is not told to keep a write-ahead log with synchronous=NORMAL: readers and "
                "the dispatcher block each other, and each commit waits for the disk.",
                hint=hint,
                id="dask_facade.W002",
            )
        )
    return messages


def _unshared() -> CheckMessage:
    return Warning(
        "SQLite's database is in memory: a dispatcher in another process never sees its jobs.",
        hint=f'Name a file as DATABASES[{LEDGER_ALIAS!r}]["NAME"].',
        id="dask_facade.W003",
    )


def _is_in_memory(name: str) -> bool:
    return ":memory:" in name or "mode=memory" in name


def _is_made_for_tests(name: str) -> bool:
    """Tell whether Django's test runner has put its own database in the place of the site's."""
    return name.startswith("file:memorydb_")
