"""Named jobs as rows, and what others do with them meanwhile."""

from __future__ import annotations

import re
import time

import pytest
from django.db import connections
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dask_facade import job_manager
from dask_facade.models import DaskJob, Job
from dask_facade.states import PENDING

OWNER = "7"


def made(name="a", user=OWNER, **said):
    return job_manager.create_job(name, user, "DASK", **said)


def in_ledger(alias, id, state=PENDING, **fields):
    return Job.objects.using(alias).create(
        id=id, task="graph", queue="celery", payload=b"", root_id=id, state=state, graph=True,
        **fields,
    )  # fmt: skip


def linked(alias, state, name="linked", **fields):
    """A job whose work the ledger has in a state."""
    job = made(name)
    job.ledger_id, job.execute_time = f"job of {job.pk}", timezone.now()
    job.save()
    in_ledger(alias, job.ledger_id, state, **fields)
    return job


def elsewhere(done, job):
    """Do something about a job in another thread, which has a connection of its own."""
    try:
        done(job)
    finally:
        connections.close_all()


def wait_until_one_waits_for_a_lock(alias):
    deadline = time.monotonic() + 10
    with connections[alias].cursor() as cursor:
        while time.monotonic() < deadline:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if cursor.fetchone():
                return
            time.sleep(0.01)
    pytest.fail("nobody waits for a lock")


def family(alias, count, state=PENDING, name="family", **fields):
    """A parent whose leaves keep graphs, and whose work the ledger has in a state."""
    parent = made(name)
    DaskJob.objects.using(alias).filter(pk=parent.pk).update(
        is_parent=True, execute_time=timezone.now()
    )
    for number in range(count):
        leaf = linked(alias, state, f"{name} {number}", **fields)
        leaf.parent, leaf.work = parent, b"a graph"
        leaf.save()
    return job_manager.get_job(parent.pk)


class Meanwhile:
    """A graph that lets something happen when it is looked at, as somebody else may do then."""

    def __init__(self, happens):
        self.happens = happens

    def __dask_graph__(self):
        self.happens()
        return {}


def statements_of(alias, done):
    """Do something; return the statements that it took, without those that bound transactions."""
    with CaptureQueriesContext(connections[alias]) as caught:
        done()
    statements = [each["sql"] for each in caught]
    return [each for each in statements if not re.match("BEGIN|COMMIT|SAVEPOINT|RELEASE", each)]
