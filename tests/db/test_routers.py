"""The router that keeps the jobs' tables in the ledger's database."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.db import router
from django.test import override_settings

from dask_facade.models import DaskJob, DaskScheduler, Edge, Job, Lease, Request

pytestmark = pytest.mark.usefixtures("routed")


@pytest.fixture
def routed():
    with override_settings(
        DASK_FACADE={"LEDGER_DATABASE": "jobs"},
        DATABASE_ROUTERS=["dask_facade.routers.LedgerRouter"],
    ):
        yield


@pytest.mark.parametrize("model", [Job, Edge, Request, Lease, DaskJob, DaskScheduler])
def test_the_ledgers_models_are_read_and_written_where_it_is(model):
    assert router.db_for_read(model) == "jobs"
    assert router.db_for_write(model) == "jobs"


@pytest.mark.parametrize("model", [Job, Edge, Request, Lease, DaskJob, DaskScheduler])
def test_their_tables_are_made_there_alone(model):
    assert router.allow_migrate_model("jobs", model)
    assert not router.allow_migrate_model("default", model)


def test_other_models_are_left_alone():
    assert router.db_for_read(User) == router.db_for_write(User) == "default"
    assert router.allow_migrate_model("jobs", User)
    assert router.allow_migrate_model("default", User)
