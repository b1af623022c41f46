"""The tables: what migrations make of the models, and how their rows read."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connections

from dask_facade.ledger.sql import COLUMNS, LEASE_NAME
from dask_facade.models import (
    ID_LENGTH,
    DaskJob,
    Edge,
    Group,
    Job,
    Lease,
    Queue,
    Request,
    Schedule,
)
from dask_facade.states import ALL_STATES, SUCCESS
from tests.db.plans import chain, job

MODELS = {
    model._meta.db_table: model
    for model in (Job, Edge, Request, Lease, Queue, Group, Schedule, DaskJob)
}


@pytest.mark.django_db
def test_the_migrations_are_those_of_the_models():
    call_command("makemigrations", "dask_facade", check=True, dry_run=True, verbosity=0)


def test_the_statements_know_the_columns_of_the_models():
    columns = {
        table: {field.column for field in model._meta.concrete_fields}
        for table, model in MODELS.items()
    }

    assert columns == {table: set(names) for table, names in COLUMNS.items()}


def test_the_tables_have_the_columns_of_the_models(alias):
    for table, model in MODELS.items():
        with connections[alias].cursor() as cursor:
            described = connections[alias].introspection.get_table_description(cursor, table)

        assert {column.name for column in described} == {
            field.column for field in model._meta.concrete_fields
        }


def test_a_job_takes_few_indexes(alias):
    with connections[alias].cursor() as cursor:
        found = connections[alias].introspection.get_constraints(cursor, Job._meta.db_table)

    names = {name for name, what in found.items() if what["index"] and not what["primary_key"]}
    assert names - {"dask_facade_job_pkey"} == {index.name for index in Job._meta.indexes}


def test_an_id_may_be_as_long_as_promised(orm_ledger, alias):
    longest = "é" * ID_LENGTH
    made = job(longest, group_id=longest, parent_id=longest)
    orm_ledger.submit(made)

    orm_ledger.run(made)

    assert Job.objects.using(alias).get(id=longest).state == SUCCESS


def test_models_read_what_the_store_wrote(orm_ledger, alias):
    steps, edges = chain(2)
    orm_ledger.submitted(*steps, edges=edges)
    orm_ledger.run(steps[0], result=b"j3", runtime=0.25)
    orm_ledger.store.request("revoke", [steps[1].id], {"terminate": True})

    row = Job.objects.using(alias).get(id=steps[0].id)
    assert (bytes(row.payload), bytes(row.result), row.runtime) == (steps[0].payload, b"j3", 0.25)
    assert (row.hand, row.open, row.runner, row.arguments) == (1, 0, "runner-1", "1, 2")
    assert row.created <= row.claimed
    assert row.created == orm_ledger.fetch(steps[0]).created
    assert row.finished == orm_ledger.fetch(steps[0]).finished
    assert str(row) == f"shop.tasks.add {steps[0].id}"

    line = Edge.objects.using(alias).get()
    assert str(line) == f"{steps[0].id} -> {steps[1].id}"
    assert (line.position, line.takes_result) == (0, True)

    request = Request.objects.using(alias).get()
    assert (str(request), request.arguments) == (f"revoke {steps[1].id}", {"terminate": True})

    lease = Lease.objects.using(alias).get()
    assert (str(lease), lease.name) == ("dispatcher: first, epoch 1", LEASE_NAME)
    assert (lease.addresses, bytes(lease.secret)) == (["tcp://127.0.0.1:1"], b"secret")


def test_the_store_reads_what_the_models_wrote(orm_ledger, alias):
    Job.objects.using(alias).create(
        id="made", task="t", queue="celery", payload=b"j[[],{}]", root_id="made"
    )

    assert orm_ledger.take_up() == ["made"]
    assert orm_ledger.store.fetch(["made"])["made"].created is not None


@pytest.mark.parametrize("state", sorted(ALL_STATES))
def test_every_state_fits_its_column(state):
    field = Job._meta.get_field("state")

    assert len(state) <= field.max_length
    assert state in dict(field.choices)
