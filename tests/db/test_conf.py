"""settings.DASK_FACADE -> Settings."""

from __future__ import annotations

import dataclasses

import pytest
from django.test import override_settings

from dask_facade.conf import Settings, get_settings, ledger_database
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.line import FRAME_LIMIT


def test_a_site_need_not_say_anything():
    with override_settings(DASK_FACADE={}):
        assert get_settings() == Settings()


def test_a_site_without_the_setting_has_the_defaults(settings):
    if hasattr(settings, "DASK_FACADE"):
        del settings.DASK_FACADE

    assert get_settings() == Settings()


def test_what_a_site_says_holds():
    with override_settings(DASK_FACADE={"WORKERS": 5, "SCHEDULER_ADDRESS": "tcp://host:8786"}):
        found = get_settings()

    assert (found.WORKERS, found.SCHEDULER_ADDRESS) == (5, "tcp://host:8786")
    assert found.HIGH_WATER == Settings().HIGH_WATER


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().WORKERS = 5


def test_the_defaults_pass_their_own_check():
    assert Settings.read(dataclasses.asdict(Settings())) == Settings()


def test_an_unknown_setting_is_named_with_those_there_are():
    with pytest.raises(ImproperlyConfigured, match=r"no setting 'BOX'; it has .*WORKERS"):
        Settings.read({"BOX": 1})


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("WORKER", "WORKERS"),
        ("workers", "WORKERS"),
        ("SCHEDULER_ADRESS", "SCHEDULER_ADDRESS"),
        ("RESULT_STORE_LIMITS", "RESULT_STORE_LIMIT"),
    ],
)
def test_a_misspelt_setting_is_answered_with_the_one_that_was_meant(name, setting):
    with pytest.raises(ImproperlyConfigured, match=rf"'{name}': did you mean '{setting}'\?"):
        Settings.read({name: 1})


def test_what_is_stored_at_once_is_no_more_than_what_is_stored():
    with pytest.raises(ImproperlyConfigured, match=r"RESULT_INLINE_LIMIT'\] is 2,000.* 1,000"):
        Settings.read({"RESULT_INLINE_LIMIT": 2000, "RESULT_STORE_LIMIT": 1000})


@pytest.mark.parametrize(
    ("values", "alias"),
    [
        ({}, "default"),
        ({"LEDGER_DATABASE": "jobs"}, "jobs"),
        ({"LEDGER_DATABASE": "jobs", "WORKERZ": 1}, "jobs"),
        ({"LEDGER_DATABASE": 7}, "default"),
        ("no dict", "default"),
    ],
)
def test_the_ledgers_database_is_known_whatever_else_is_wrong(values, alias):
    with override_settings(DASK_FACADE=values):
        assert ledger_database() == alias


@pytest.mark.parametrize("values", [None, [], "WORKERS", 5])
def test_the_setting_is_a_dict(values):
    with (
        override_settings(DASK_FACADE=values),
        pytest.raises(ImproperlyConfigured, match=r"DASK_FACADE is .*, which is no dict"),
    ):
        get_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKERS", "2"),
        ("WORKERS", 2.5),
        ("WORKERS", True),  # a bool is no number here
        ("WORKERS", None),
        ("LEASE", "5"),
        ("LEASE", False),
        ("SEND_GRACE", None),
        ("ALLOW_INSECURE_CLUSTER", 1),
        ("ALLOW_INSECURE_CLUSTER", "no"),
        ("DISPATCHER_HOST", None),
        ("DISPATCHER_HOST", 127),
        ("SCHEDULER_ADDRESS", 8786),
        ("ADVERTISE_ADDRESS", ("host", 1)),
        ("CLUSTER", "distributed.LocalCluster"),
        ("LINGER", "60"),
        ("RESULT_STORE_LIMIT", 1e6),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_by_name(name, value):
    with pytest.raises(ImproperlyConfigured, match=rf"DASK_FACADE\['{name}'\] is .*, which is no"):
        Settings.read({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE", 4.9),
        ("LEASE", float("nan")),
        ("LEASE", float("inf")),
        ("SEND_GRACE", -1.0),
        ("SEND_GRACE", float("nan")),
        ("WORKERS", 0),
        ("WORKERS", -1),
        ("HIGH_WATER", 0),
        ("MAX_LOST", 0),
        ("DISPATCHER_PORT", -1),
        ("DISPATCHER_PORT", 65_536),
        ("RESULT_INLINE_LIMIT", -1),
        ("RESULT_STORE_LIMIT", 0),
        ("RESULT_STORE_LIMIT", FRAME_LIMIT),  # a line must carry it, with what is around it
        ("CLUSTER", {}),
        ("CLUSTER", {"class": 1}),
        ("CLUSTER", {"class": "a.B", "kwarg": {}}),
        ("CLUSTER", {"class": "a.B", "kwargs": [1]}),
        ("CLUSTER", {"class": "a.B", "adapt": True}),
        ("CLUSTER", {"class": "a.B", "kwargs": {1: 2}}),
        ("LINGER", -1.0),
        ("ADVERTISE_ADDRESS", "host"),
        ("ADVERTISE_ADDRESS", "host:port"),
        ("ADVERTISE_ADDRESS", ":1"),
        ("ADVERTISE_ADDRESS", ""),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_name(name, value):
    with pytest.raises(ImproperlyConfigured, match=rf"DASK_FACADE\['{name}'\] must be"):
        Settings.read({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEASE", 5),  # a whole number passes for seconds
        ("LEASE", 60.0),
        ("SEND_GRACE", 0),
        ("DISPATCHER_PORT", 0),
        ("DISPATCHER_PORT", 65_535),
        ("MAX_LOST", 1),
        ("SCHEDULER_ADDRESS", None),
        ("ADVERTISE_ADDRESS", "dispatcher.shop:8700"),
        ("ADVERTISE_ADDRESS", "[::1]:8700"),
        ("RESULT_INLINE_LIMIT", 0),
        ("RESULT_STORE_LIMIT", 32 * 2**20),
    ],
)
def test_a_value_that_works_is_taken(name, value):
    assert getattr(Settings.read({name: value}), name) == value


def test_a_cluster_is_either_started_or_joined():
    cluster = {"class": "distributed.LocalCluster"}

    assert cluster == Settings.read({"CLUSTER": cluster}).CLUSTER
    with pytest.raises(ImproperlyConfigured, match="leave one of them out"):
        Settings.read({"CLUSTER": cluster, "SCHEDULER_ADDRESS": "tcp://127.0.0.1:8786"})
