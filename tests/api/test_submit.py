"""POST jobs/"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.db import OperationalError
from django.test import override_settings

from dask_facade.api.parsers import DEPTH_LIMIT
from dask_facade.ledger.orm import OrmStore
from dask_facade.models import Job
from dask_facade.serialization import load_arguments
from dask_facade.states import PENDING
from tests.api import tasks
from tests.api.conftest import ADD, JOBS

pytestmark = pytest.mark.django_db


def submit(client, **said):
    return client.post(JOBS, said, format="json")


def problem(response, status, code):
    """Return the body of a problem, after seeing that it is this one."""
    assert (response.status_code, response["Content-Type"]) == (status, "application/problem+json")
    body = response.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    assert isinstance(body["errors"], list)
    return body


def test_a_job_of_an_exposed_task_is_accepted(client, ann):
    response = submit(client, task=ADD, args=[2], kwargs={"y": 3})

    assert response.status_code == 202
    body = response.json()
    job = Job.objects.get()
    assert (job.id, job.task, job.state, job.owner) == (body["id"], ADD, PENDING, str(ann.pk))
    assert load_arguments(bytes(job.payload)) == ([2], {"y": 3})
    assert response["Location"] == body["url"] == f"http://testserver/api/jobs/{job.id}/"
    assert int(response["Retry-After"]) >= 1
    assert (body["task"], body["state"], body["arguments"]) == (ADD, PENDING, "2, y=3")


def test_the_location_shows_the_job(client):
    location = submit(client, task=ADD, args=[2])["Location"]

    assert client.get(location).json()["task"] == ADD


def test_options_are_those_of_apply_async(client):
    response = submit(
        client,
        task=ADD,
        args=[1],
        options={
            "queue": "slow",
            "priority": 7,
            "eta": "2100-01-01T12:00:00+02:00",
            "expires": "2100-01-02T00:00:00Z",
            "task_id": "mine",
        },
    )

    assert response.status_code == 202
    job = Job.objects.get(id="mine")
    assert (job.queue, job.priority) == ("slow", 7)
    assert job.eta == datetime(2100, 1, 1, 10, tzinfo=UTC)
    assert job.expires == datetime(2100, 1, 2, tzinfo=UTC)
    assert response["Retry-After"] == "60"


def test_a_countdown_counts_from_now(client):
    submit(client, task=ADD, args=[1], options={"countdown": 1000})

    ahead = Job.objects.get().eta - datetime.now(UTC)
    assert timedelta(seconds=900) < ahead <= timedelta(seconds=1000)


@pytest.mark.parametrize(
    "name", [tasks.hidden.name, tasks.misled.name, "nobody.knows", "json.tool", "", "a" * 255]
)
def test_a_task_that_is_not_exposed_is_as_unknown_as_one_that_is_not_there(client, name):
    response = submit(client, task=name or " x", args=[1])

    body = problem(response, 404, "task_not_found")
    assert body["detail"] == f"There is no task {(name or 'x')!r} to be called here."
    assert not Job.objects.exists()


def test_no_module_is_imported_because_of_a_name(client):
    sys.modules.pop("antigravity", None)

    problem(submit(client, task="antigravity.fly"), 404, "task_not_found")

    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("task", "args", "kwargs"),
    [
        (tasks.add, [], {}),
        (tasks.add, [1, 2, 3], {}),
        (tasks.add, [1], {"z": 1}),
        (tasks.add, [1], {"x": 1}),
        (tasks.bound, [], {}),
        (tasks.bound, [1, 2], {}),
    ],
)
def test_arguments_are_checked_before_anything_is_stored(client, task, args, kwargs):
    response = submit(client, task=task.name, args=args, kwargs=kwargs)

    assert task.name in problem(response, 400, "wrong_arguments")["detail"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({}, "/task"),
        ({"task": ADD, "args": "abc"}, "/args"),
        ({"task": ADD, "kwargs": []}, "/kwargs"),
        ({"task": ADD, "option": {}}, "/option"),
        ({"task": ADD, "options": []}, "/options"),
        ({"task": ADD, "options": {"acks_late": True}}, "/options/acks_late"),
        ({"task": ADD, "options": {"queue": "q" * 256}}, "/options/queue"),
        ({"task": ADD, "options": {"queue": ""}}, "/options/queue"),
        ({"task": ADD, "options": {"queue": "a\x00"}}, "/options/queue"),
        ({"task": ADD, "options": {"priority": 2**31}}, "/options/priority"),
        ({"task": ADD, "options": {"priority": "high"}}, "/options/priority"),
        ({"task": ADD, "options": {"countdown": -1}}, "/options/countdown"),
        ({"task": ADD, "options": {"countdown": "nan"}}, "/options/countdown"),
        ({"task": ADD, "options": {"countdown": 1e300}}, "/options/countdown"),
        ({"task": ADD, "options": {"eta": "2100-01-01T12:00:00"}}, "/options/eta"),
        ({"task": ADD, "options": {"eta": "tomorrow"}}, "/options/eta"),
        ({"task": ADD, "options": {"expires": "2100-01-01T12:00:00"}}, "/options/expires"),
        ({"task": ADD, "options": {"countdown": 1, "eta": "2100-01-01T12:00:00Z"}}, "/options"),
        ({"task": ADD, "options": {"task_id": "a" * 256}}, "/options/task_id"),
        ({"task": ADD, "options": {"task_id": ""}}, "/options/task_id"),
        ({"task": ADD, "options": {"a/b~": 1}}, "/options/a~1b~0"),
    ],
)
def test_a_body_that_says_something_else_is_refused_with_where(client, said, pointer):
    body = problem(submit(client, **said), 400, "invalid")

    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert all(error["detail"] and error["code"] for error in body["errors"])
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "body", ["", "{", "[" * 100_000, '{"task": NaN}', '"text"', "é".encode("latin-1")]
)
def test_a_body_that_is_no_json_object_is_refused(client, body):
    response = client.post(JOBS, body, content_type="application/json")

    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"


def test_another_type_of_body_is_refused(client):
    response = client.post(JOBS, {"task": ADD}, format="multipart")

    problem(response, 415, "unsupported_media_type")


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=1000)
def test_a_body_larger_than_the_site_takes_is_refused(client):
    assert submit(client, task=ADD, args=[1], kwargs={}).status_code == 202

    response = submit(client, task=tasks.take.name, args=["x" * 1000])

    problem(response, 413, "too_large")


@pytest.mark.parametrize(("depth", "status"), [(DEPTH_LIMIT - 1, 202), (DEPTH_LIMIT, 400)])
def test_arguments_nested_too_deep_are_refused(client, depth, status):
    args = json.loads("[" * depth + "]" * depth)  # within the object of the body

    assert submit(client, task=tasks.take.name, args=args).status_code == status


def test_an_id_that_is_taken_is_a_conflict(client):
    submit(client, task=ADD, args=[1], options={"task_id": "a/b"})

    response = submit(client, task=ADD, args=[1], options={"task_id": "a/b"})

    assert "'a/b'" in problem(response, 409, "duplicate_task_id")["detail"]


def test_who_is_not_logged_in_is_refused(client):
    client.logout()

    problem(submit(client, task=ADD, args=[1]), 403, "not_authenticated")
    assert not Job.objects.exists()


def test_a_database_that_is_away_is_said_to_be(client, monkeypatch):
    def fail(*args):
        raise OperationalError("secret words of the server")

    monkeypatch.setattr(OrmStore, "submit", fail)

    response = submit(client, task=ADD, args=[1])

    assert "secret" not in response.content.decode()
    problem(response, 503, "ledger_unavailable")
    assert response["Retry-After"]


def test_the_page_for_people_shows_the_form(client):
    response = client.get(JOBS, HTTP_ACCEPT="text/html")

    assert response.status_code == 200
    assert "kwargs" in response.content.decode()


@override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=None)
def test_a_site_without_a_limit_takes_what_the_ledger_does(client, monkeypatch):
    monkeypatch.setattr("dask_facade.api.parsers.PAYLOAD_LIMIT", 1000)

    response = submit(client, task=tasks.take.name, args=["x" * 1000])

    problem(response, 413, "too_large")


def test_arguments_that_the_ledger_does_not_take_are_too_large(client, monkeypatch):
    monkeypatch.setattr("dask_facade.submitting.PAYLOAD_LIMIT", 1000)

    response = submit(client, task=tasks.take.name, args=["x" * 1000])

    assert "1,000" in problem(response, 413, "too_large")["detail"]
    assert not Job.objects.exists()
