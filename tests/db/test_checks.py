"""What `manage.py check` says of a site's settings."""

from __future__ import annotations

import pytest
from django.core import checks
from django.db import connections
from django.test import override_settings

from dask_facade.checks import (
    check_addresses,
    check_cluster,
    check_deployment,
    check_ledger_database,
    check_routers,
    check_settings,
)

GOOD = {
    "transaction_mode": "IMMEDIATE",
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}
WAL = "PRAGMA journal_mode=WAL;"
NORMAL = "PRAGMA synchronous=NORMAL;"


@pytest.fixture
def found(monkeypatch):
    """The ids of what is said of a database with these settings."""

    def check(engine, name="db.sqlite3", **options):
        database = {"ENGINE": engine, "NAME": name, "OPTIONS": options}
        monkeypatch.setitem(connections.settings, "default", database)
        return [message.id.removeprefix("dask_facade.") for message in check_ledger_database(None)]

    return check


@pytest.mark.parametrize(
    "engine",
    [
        "django.db.backends.mysql",
        "django.contrib.gis.db.backends.mysql",
        "django.db.backends.oracle",
        "mssql",
        "django_cockroachdb",
        "django.db.backends.dummy",  # no DATABASES at all
    ],
)
def test_other_databases_are_refused(found, engine):
    assert found(engine) == ["E001"]


@pytest.mark.parametrize(
    "engine",
    [
        "django.db.backends.postgresql",
        "django.contrib.gis.db.backends.postgis",
        "django_prometheus.db.backends.postgresql",
    ],
)
def test_postgresql_needs_nothing_more(found, engine):
    assert found(engine) == []


@pytest.mark.parametrize(
    "engine", ["django.db.backends.sqlite3", "django.contrib.gis.db.backends.spatialite"]
)
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (GOOD, []),
        ({}, ["W001", "W002"]),
        (GOOD | {"transaction_mode": "immediate"}, []),
        (GOOD | {"transaction_mode": "EXCLUSIVE"}, []),
        (GOOD | {"transaction_mode": None}, ["W001"]),
        (GOOD | {"transaction_mode": "DEFERRED"}, ["W001"]),
        (GOOD | {"init_command": WAL}, ["W002"]),
        (GOOD | {"init_command": NORMAL}, ["W002"]),
        (GOOD | {"init_command": NORMAL + WAL}, []),
        (GOOD | {"init_command": "pragma synchronous = 1;pragma journal_mode = 'wal'"}, []),
        (GOOD | {"init_command": "PRAGMA journal_mode=DELETE;" + NORMAL}, ["W002"]),
        # Slower, and somebody's choice: it also survives a power cut.
        (GOOD | {"init_command": WAL + "PRAGMA synchronous=FULL;"}, []),
    ],
)
def test_sqlite_is_told_how_to_be_fast(found, engine, options, said):
    assert found(engine, **options) == said


@pytest.mark.parametrize("name", [":memory:", "file:site?mode=memory&cache=shared"])
def test_a_database_in_memory_is_not_shared(found, name):
    assert found("django.db.backends.sqlite3", name) == ["W003"]


def test_a_database_that_is_made_for_tests_is_left_alone(found):
    name = "file:memorydb_default?mode=memory&cache=shared"

    assert found("django.db.backends.sqlite3", name) == []


def test_hints_name_the_options_to_write(monkeypatch):
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": "a", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "default", database)

    for message in check_ledger_database(None):
        for option in (*GOOD, *GOOD.values()):
            assert option in message.hint


@override_settings(DASK_FACADE={"WORKERZ": 3})
def test_a_misspelt_setting_is_an_error():
    (message,) = check_settings(None)

    assert message.id == "dask_facade.E002"
    assert "WORKERZ" in message.msg


@override_settings(DASK_FACADE={})
def test_good_settings_are_not_talked_about():
    assert check_settings(None) == []


def test_a_misspelt_setting_is_told_with_the_one_that_was_meant():
    with override_settings(DASK_FACADE={"LEDGER_DATABSE": "jobs"}):
        (message,) = check_settings(None)

    assert "did you mean 'LEDGER_DATABASE'?" in message.msg


@pytest.fixture
def two_databases(monkeypatch):
    """A site whose jobs are in a database of their own."""
    engine = "django.db.backends.postgresql"
    database = {"ENGINE": engine, "NAME": "jobs", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "jobs", database)
    with override_settings(DASK_FACADE={"LEDGER_DATABASE": "jobs"}):
        yield


def test_a_ledger_in_a_database_that_is_none_is_an_error():
    with override_settings(DASK_FACADE={"LEDGER_DATABASE": "defalt"}):
        (message,) = check_ledger_database(None)

    assert message.id == "dask_facade.E003"
    assert "did you mean 'default'?" in message.msg


def test_the_ledgers_own_database_is_the_one_that_is_checked(two_databases, monkeypatch):
    monkeypatch.setitem(connections.settings["jobs"], "ENGINE", "django.db.backends.mysql")

    (message,) = check_ledger_database(None)

    assert message.id == "dask_facade.E001"
    assert "'jobs'" in message.msg


def test_a_ledger_elsewhere_needs_a_router(two_databases):
    (message,) = check_routers(None)

    assert message.id == "dask_facade.E004"
    assert "looks for jobs in 'default'" in message.msg
    assert "dask_facade.routers.LedgerRouter" in message.hint
    assert "--database=jobs" in message.hint


@override_settings(DATABASE_ROUTERS=["dask_facade.routers.LedgerRouter"])
def test_the_ledgers_router_passes(two_databases):
    assert check_routers(None) == []


class Keeper:
    """A site's router that lets nothing migrate."""

    def allow_migrate(self, db, app_label, **hints):
        return False


@override_settings(DATABASE_ROUTERS=["tests.db.test_checks.Keeper"])
def test_a_router_that_keeps_the_tables_out_is_an_error():
    (message,) = check_routers(None)

    assert message.id == "dask_facade.E004"
    assert "out of 'default'" in message.msg


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, []),
        ({"SCHEDULER_ADDRESS": "tcp://127.0.0.1:8786"}, []),
        ({"SCHEDULER_ADDRESS": "tcp://dask:8786"}, ["SCHEDULER_ADDRESS"]),
        ({"DISPATCHER_HOST": "localhost"}, []),
        ({"DISPATCHER_HOST": "0.0.0.0"}, ["DISPATCHER_HOST"]),
        ({"DISPATCHER_HOST": "0.0.0.0", "ALLOW_INSECURE_CLUSTER": True}, []),
        ({"DISPATCHER_HOST": "0.0.0.0", "WORKERZ": 1}, []),  # that is told first
    ],
)
def test_addresses_beyond_this_machine_are_errors(values, named):
    with override_settings(DASK_FACADE=values):
        messages = check_addresses(None)

    assert [message.id for message in messages] == ["dask_facade.E005"] * len(named)
    for message, name in zip(messages, named, strict=True):
        assert name in message.msg
        assert "ALLOW_INSECURE_CLUSTER" in message.msg
        assert message.hint


def test_an_open_cluster_is_told_of_where_the_site_is_deployed():
    with override_settings(DASK_FACADE={"ALLOW_INSECURE_CLUSTER": True}):
        (message,) = check_deployment(None)
    with override_settings(DASK_FACADE={}):
        nothing = check_deployment(None)

    assert message.id == "dask_facade.W004"
    assert message.hint
    assert nothing == []
    assert check_deployment not in checks.registry.registry.get_checks()


def test_the_checks_run_without_a_database_being_named():
    registered = checks.registry.registry.get_checks(include_deployment_checks=False)

    assert check_ledger_database in registered
    assert check_settings in registered
    assert checks.Tags.database not in check_ledger_database.tags


def test_the_settings_of_the_tests_pass_their_own_checks():
    assert checks.run_checks(tags=["dask_facade"]) == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("distributed.LocalCluster", None),
        ("distributed.SSHCluster", None),  # a function that returns one
        ("distributed.LocalClusterz", "has no attribute 'LocalClusterz'"),
        ("nowhere.at.all.Cluster", "No module named 'nowhere'"),
        ("LocalCluster", "no kind of cluster"),
        ("distributed.__version__", "is no kind of cluster, but a str"),
    ],
)
def test_a_kind_of_cluster_that_is_not_there_is_an_error_with_a_hint(path, said):
    with override_settings(DASK_FACADE={"CLUSTER": {"class": path}}):
        errors = check_cluster(None)

    assert [each.id for each in errors] == ([] if said is None else ["dask_facade.E012"])
    if said is not None:
        assert said in errors[0].msg
        assert "dask_jobqueue.SLURMCluster" in errors[0].hint


def test_a_site_with_a_local_cluster_has_none_to_be_checked():
    with override_settings(DASK_FACADE={}):
        assert check_cluster(None) == []
