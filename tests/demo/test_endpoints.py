from __future__ import annotations

import pytest
from codebase.tasks import measure_text
from django.apps import apps
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from dask_facade.models import Job
from dask_facade.states import FAILURE, PENDING

pytestmark = [
    pytest.mark.usefixtures("codebase_app"),
    pytest.mark.django_db,
    pytest.mark.urls("demo.urls"),
]

PATHS = ["/a/b.py", "/a/c.py"]


@pytest.fixture(autouse=True)
def few_files(monkeypatch):
    monkeypatch.setattr("codebase.endpoints.python_files", lambda directories: PATHS)


@pytest.fixture
def user():
    return User.objects.create_user("ann")


@pytest.fixture
def client(user):
    client = APIClient()
    client.force_login(user)
    return client


def test_a_view_of_a_site_answers_with_the_job_that_it_submitted(client, user):
    response = client.post("/api/runs/")

    run = apps.get_model("codebase", "Run").objects.get()
    assert response.status_code == 202
    assert response["Location"] == f"http://testserver/api/jobs/{run.job_id}/"
    assert response["Retry-After"] == "1"
    body = response.json()
    assert (body["id"], body["task"], body["state"]) == (run.job_id, "codebase.tasks.rank", PENDING)
    assert set(Job.objects.values_list("owner", flat=True)) == {str(user.pk)}


def test_the_location_leads_to_the_job_and_its_end(client):
    location = client.post("/api/runs/")["Location"]

    assert client.get(location).json()["state"] == PENDING
    assert client.get(f"{location}result/").status_code == 202
    Job.objects.update(state=FAILURE, result_preview="OSError('no such file')")
    assert client.get(f"{location}result/").json()["detail"] == "OSError('no such file')"


def test_nobody_starts_a_run_without_a_login(client):
    client.logout()

    assert client.post("/api/runs/").status_code == 403
    assert not Job.objects.exists()


def test_a_program_is_measured_over_http(client):
    asked = {"task": measure_text.name, "args": ["def f(a):\n    return a and 1\n"]}

    assert client.post("/api/jobs/", asked, format="json").status_code == 202
    assert measure_text(*asked["args"])["complexity"] == 2
    assert measure_text("print 'python 2'")["error"].startswith("SyntaxError: ")


def test_files_of_the_server_are_not_measured_over_http(client):
    for task in ("codebase.tasks.measure", "codebase.tasks.rank"):
        asked = {"task": task, "args": ["/etc/passwd"]}

        assert client.post("/api/jobs/", asked, format="json").status_code == 404
    assert not Job.objects.exists()
