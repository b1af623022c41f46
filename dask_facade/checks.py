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
from django.db import connections, router

from dask_facade.conf import Settings, get_settings, ledger_database, meant
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.models import Job

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
    register(check_routers, TAG)
    register(check_addresses, TAG)
    register(check_cluster, TAG)
    register(check_deployment, TAG, deploy=True)


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
    alias = ledger_database()
    if alias not in connections.settings:
        return [_unknown(alias)]
    database = connections.settings[alias]
    engine = str(database["ENGINE"]).lower()
    if any(name in engine for name in OTHER_ENGINES):
        return [_refused(alias, str(database["ENGINE"]))]
    if "sqlite" in engine or "spatialite" in engine:
        return _check_sqlite(alias, str(database["NAME"]), database["OPTIONS"])
    return []


def check_routers(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find routers that look for the jobs where they are not."""
    alias = ledger_database()
    found = router.db_for_write(Job)
    if found == alias and router.allow_migrate_model(alias, Job):
        return []
    if found == alias:
        problem = f"keeps the jobs' tables out of {alias!r}, where the ledger is"
    else:
        problem = f"looks for jobs in {found!r}, while the ledger is in {alias!r}"
    return [
        Error(
            f"Django {problem}.",
            hint='Let DATABASE_ROUTERS begin with "dask_facade.routers.LedgerRouter", and run '
            f"`manage.py migrate dask_facade --database={alias}`.",
            id="dask_facade.E004",
        )
    ]


def check_addresses(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find addresses beyond this machine that the dispatcher will refuse."""
    settings = _settings()
    if settings is None or settings.ALLOW_INSECURE_CLUSTER:
        return []
    defaults = Settings()
    addresses: dict[str, str] = {}
    if settings.SCHEDULER_ADDRESS is not None:
        addresses["SCHEDULER_ADDRESS"] = settings.SCHEDULER_ADDRESS
    if settings.DISPATCHER_HOST != defaults.DISPATCHER_HOST:
        addresses["DISPATCHER_HOST"] = f"{settings.DISPATCHER_HOST}:0"
    return [
        Error(
            problem,
            hint="Name an address of this machine, or allow the other one out loud.",
            id="dask_facade.E005",
        )
        for name, address in addresses.items()
        if (problem := _beyond(address, f"DASK_FACADE[{name!r}]"))
    ]


def check_cluster(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find a kind of cluster that is not there."""
    settings = _settings()
    if settings is None or settings.CLUSTER is None:
        return []
    # Its module loads Dask, of which a site with a local cluster has no need here.
    from dask_facade.cluster.deployed import kind_of

    try:
        kind_of(settings.CLUSTER["class"])
    except ImproperlyConfigured as error:
        return [
            Error(
                f"DASK_FACADE['CLUSTER']: {error}",
                hint='Let "class" be the dotted path of a class of clusters, such as '
                '"distributed.LocalCluster" or "dask_jobqueue.SLURMCluster", and install its '
                "package where the dispatcher runs.",
                id="dask_facade.E012",
            )
        ]
    return []


def _beyond(address: str, setting: str) -> str:
    """Return what is wrong with an address; "" if it is of this machine."""
    # Its module loads Dask, of which a site with the default addresses has no need here.
    from dask_facade.cluster.connection import require_loopback

    try:
        require_loopback(address, setting)
    except ImproperlyConfigured as error:
        return str(error)
    return ""


def check_deployment(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Find what is good enough for development alone."""
    settings = _settings()
    if settings is None or not settings.ALLOW_INSECURE_CLUSTER:
        return []
    return [
        Warning(
            "DASK_FACADE['ALLOW_INSECURE_CLUSTER'] is on: whoever reaches the scheduler, a worker "
            "or the dispatcher can run code there.",
            hint="Keep their ports to a network that only your own machines reach.",
            id="dask_facade.W004",
        )
    ]


def _settings() -> Settings | None:
    """Return the settings; None where `check_settings` says what is wrong with them."""
    try:
        return get_settings()
    except ImproperlyConfigured:
        return None


def _unknown(alias: str) -> CheckMessage:
    return Error(
        f"DASK_FACADE['LEDGER_DATABASE'] is {alias!r}, which DATABASES has not"
        f"{meant(alias, connections.settings)}",
        hint="Name the database that is to hold the jobs' table.",
        id="dask_facade.E003",
    )


def _refused(alias: str, engine: str) -> CheckMessage:
    return Error(
        f"The ledger of jobs cannot be in the database {alias!r}, whose engine is {engine}.",
        hint="Use PostgreSQL, or SQLite on one machine.",
        id="dask_facade.E001",
    )


def _check_sqlite(alias: str, name: str, options: dict[str, Any]) -> list[CheckMessage]:
    if _is_in_memory(name):
        return [] if _is_made_for_tests(name) else [_unshared(alias)]
    hint = HINT_OPTIONS.format(alias=alias)
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


def _unshared(alias: str) -> CheckMessage:
    return Warning(
        "SQLite's database is in memory: a dispatcher in another process never sees its jobs.",
        hint=f'Name a file as DATABASES[{alias!r}]["NAME"].',
        id="dask_facade.W003",
    )


def _is_in_memory(name: str) -> bool:
    return ":memory:" in name or "mode=memory" in name


def _is_made_for_tests(name: str) -> bool:
    """Tell whether Django's test runner has put its own database in the place of the site's."""
    return name.startswith("file:memorydb_")
