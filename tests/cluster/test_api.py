"""Jobs over HTTP, run by a real dispatcher."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import override_settings
from pytest_django import DjangoDbBlocker
from rest_framework.test import APIClient

from dask_facade import DaskFacade, current
from dask_facade.states import READY_STATES, REVOKED, SUCCESS
from tests.api import tasks
from tests.cluster.processes import DispatcherProcess, wait_for

JOBS = "/api/jobs/"


@pytest.fixture(autouse=True)
def site(alias: str, app: DaskFacade, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Let the site's ledger be the one that the dispatcher leads."""
    before = current.site()
    current.set_site(current.Site(app.store, app.client, before.packages))
    with (
        django_db_blocker.unblock(),
        override_settings(
            DASK_FACADE={"LEDGER_DATABASE": alias},
            DATABASE_ROUTERS=["dask_facade.routers.LedgerRouter"],
        ),
    ):
        yield
    current.set_site(before)


@pytest.fixture
def client() -> APIClient:
    client = APIClient()
    client.force_authenticate(User(pk=7, username="root", is_superuser=True))
    return client


def submit(client: APIClient, *args: object, task: str = tasks.add.name, **options: object) -> str:
    said = {"task": task, "args": args, "options": options}
    response = client.post(JOBS, said, format="json")
    assert response.status_code == 202, response.content
    return str(response["Location"])


def ended(client: APIClient, location: str) -> dict[str, object]:
    """Return the job once it has ended."""
    wait_for(lambda: client.get(location).json()["state"] in READY_STATES, "its end", 60)
    body: dict[str, object] = client.get(location).json()
    return body


def test_a_job_is_submitted_run_and_read_over_http(
    client: APIClient, dispatcher: DispatcherProcess
) -> None:
    location = submit(client, 2, 3)

    assert ended(client, location)["state"] == SUCCESS
    assert client.get(f"{location}result/").json()["result"] == 5


def test_a_failure_is_read_over_http(client: APIClient, dispatcher: DispatcherProcess) -> None:
    location = submit(client, "a", 1)

    ended(client, location)
    problem = client.get(f"{location}result/")

    assert problem.status_code == 424
    assert problem.json()["detail"].startswith("TypeError(")


@pytest.mark.parametrize("id", ["cancel/me", "%2F.."])
def test_a_job_is_cancelled_over_http(
    client: APIClient, dispatcher: DispatcherProcess, id: str
) -> None:
    location = submit(client, 1, countdown=3600, task_id=id)

    assert client.post(f"{location}cancel/").status_code == 202
    assert ended(client, location)["state"] == REVOKED
    assert client.post(f"{location}cancel/").status_code == 202
    assert client.get(f"{location}result/").json()["code"] == "job_revoked"
