"""Connections to the ledger's database: the calling thread's, a second one, a leader's own."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, tzinfo
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

OTHERS_PATIENCE = 1_000  # milliseconds, in which writers other than the caller are done


def zone_of(connection: BaseDatabaseWrapper) -> tzinfo:
    """Return the zone in which the database's times without one are."""
    return _zone(connection.timezone_name)


@cache
def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)


def is_open(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the caller has a transaction open, by `atomic` or by hand."""
    return connection.in_atomic_block or not connection.get_autocommit()


def is_in_memory(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether only this connection can see what is in the database."""
    return connection.vendor == "sqlite" and bool(connection.is_in_memory_db())  # type: ignore[attr-defined]  # SQLite's


def is_writing(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether the open transaction has written: then nobody else can, however patient."""
    if is_in_memory(connection):
        return True
    rival = second(connection.alias)
    rival.ensure_connection()
    raw = rival.connection
    ((patience,),) = raw.execute("PRAGMA busy_timeout").fetchall()
    raw.execute(f"PRAGMA busy_timeout = {OTHERS_PATIENCE}")
    try:
        raw.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        return "locked" in str(error)
    else:
        raw.execute("ROLLBACK")
        return False
    finally:
        raw.execute(f"PRAGMA busy_timeout = {patience}")


class _Beside(threading.local):
    """The connections with which a thread reads beside the transaction that it has open."""

    def __init__(self) -> None:
        self.by_process: dict[tuple[int, str], BaseDatabaseWrapper] = {}


_beside = _Beside()


def second(alias: str) -> BaseDatabaseWrapper:
    """Return the calling thread's other connection."""
    mine = _beside.by_process
    wrapper = mine.get((os.getpid(), alias))
    if wrapper is None:
        wrapper = mine[os.getpid(), alias] = connections.create_connection(alias)
    wrapper.close_if_unusable_or_obsolete()
    return wrapper


def close_second(alias: str) -> None:
    wrapper = _beside.by_process.pop((os.getpid(), alias), None)
    if wrapper is not None:
        wrapper.close()


def _connected(alias: str, options: Mapping[str, object]) -> Any:
    """Return a new connection of the driver's, set up by Django, with *options* besides its own."""
    wrapper = connections.create_connection(alias)
    wrapper.settings_dict = {
        **wrapper.settings_dict,
        "OPTIONS": {**wrapper.settings_dict["OPTIONS"], **options},
    }
    wrapper.inc_thread_sharing()
    # Django refuses to connect in a thread whose event loop is running, as a dispatcher's is.
    with ThreadPoolExecutor(1) as helper:
        helper.submit(wrapper.connect).result()
    return wrapper.connection


def connect_sqlite(alias: str) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connected(alias, {"timeout": 0})
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_postgres(alias: str) -> Any:
    settings = connections.settings[alias]
    return _connected(
        alias,
        {
            "connect_timeout": 5,
            "tcp_user_timeout": 10_000,
            **settings["OPTIONS"],
            "pool": None,
            "server_side_binding": True,
            # Set for sites behind a pooler that changes connections between transactions.
            "prepare_threshold": None if settings.get("DISABLE_SERVER_SIDE_CURSORS") else 0,
        },
    )
