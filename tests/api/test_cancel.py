"""POST jobs/{id}/cancel/"""

from __future__ import annotations

import pytest

from dask_facade.jobs import REVOKE
from dask_facade.models import Request
from dask_facade.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS
from tests.api.conftest import JOBS
from tests.api.test_submit import problem

pytestmark = pytest.mark.django_db


def cancel(client, id, **said):
    return client.post(f"{JOBS}{id}/cancel/", said, format="json")


def asked():
    return [(each.kind, each.job_id, each.arguments) for each in Request.objects.order_by("pk")]


@pytest.mark.parametrize("state", [PENDING, STARTED, RETRY])
def test_the_dispatcher_is_asked_to_revoke_a_job(client, job, state):
    job("a/b", state)

    response = cancel(client, "a%252Fb")

    assert response.status_code == 202
    assert response["Location"] == f"http://testserver{JOBS}a%252Fb/"
    assert response.json()["state"] == state
    assert asked() == [(REVOKE, "a/b", {"terminate": False})]


def test_a_job_that_runs_is_terminated_if_that_is_said(client, job):
    job("a", STARTED)

    cancel(client, "a", terminate=True)

    assert asked() == [(REVOKE, "a", {"terminate": True})]


def test_nothing_need_be_said(client, job):
    job("a")

    assert client.post(f"{JOBS}a/cancel/").status_code == 202


def test_to_repeat_it_is_harmless(client, job):
    job("a", REVOKED)

    assert cancel(client, "a").status_code == 202
    assert asked() == []


@pytest.mark.parametrize("state", [SUCCESS, FAILURE])
def test_it_is_too_late_for_a_job_that_has_ended(client, job, state):
    job("a", state)

    problem(cancel(client, "a"), 409, "job_finished")
    assert asked() == []


def test_a_job_that_is_not_there_is_not_cancelled(client):
    problem(cancel(client, "none"), 404, "not_found")
    assert asked() == []


@pytest.mark.parametrize("said", [{"terminate": "maybe"}, {"force": True}])
def test_other_words_are_refused(client, job, said):
    job("a")

    problem(cancel(client, "a", **said), 400, "invalid")
    assert asked() == []


def test_others_may_only_with_the_permission(client_of, person, job):
    job("a")
    stranger = client_of(person("stranger"))
    reader = client_of(person("reader", "view_job"))
    operator = client_of(person("operator", "view_job", "change_job"))

    problem(cancel(stranger, "a"), 404, "not_found")
    problem(cancel(reader, "a"), 403, "permission_denied")
    assert asked() == []
    assert cancel(operator, "a").status_code == 202
    assert len(asked()) == 1


def test_a_get_changes_nothing(client, job):
    job("a")

    problem(client.get(f"{JOBS}a/cancel/"), 405, "method_not_allowed")
    assert asked() == []
