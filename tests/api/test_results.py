"""GET jobs/{id}/result/"""

from __future__ import annotations

import pickle

import pytest

from dask_facade.states import (
    FAILURE,
    PENDING,
    READY_STATES,
    RECEIVED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from tests.api.conftest import JOBS
from tests.api.test_submit import problem

pytestmark = pytest.mark.django_db


class Bomb:
    """Says so where it is unpickled."""

    went_off = False

    def __reduce__(self):
        return (setattr, (Bomb, "went_off", True))


@pytest.mark.parametrize("state", [PENDING, RECEIVED, STARTED, RETRY])
def test_a_job_that_has_not_ended_is_still_accepted(client, job, state):
    job("a", state)

    response = client.get(f"{JOBS}a/result/")

    assert response.status_code == 202
    assert response.json() == {"id": "a", "state": state}
    assert response["Retry-After"] == "1"


@pytest.mark.parametrize(
    ("stored", "result"), [(b"j5", 5), (b"jnull", None), (b'j{"a":["\xc3\xa9"]}', {"a": ["é"]})]
)
def test_a_result_in_json_is_shown_as_it_is(client, job, stored, result):
    job("a", SUCCESS, result=stored, result_preview="a preview")

    response = client.get(f"{JOBS}a/result/")

    assert response.status_code == 200
    assert response.json() == {"id": "a", "state": SUCCESS, "result": result, "preview": None}


def test_a_pickled_result_is_shown_as_a_preview_and_never_unpickled(client, job):
    job("a", SUCCESS, result=b"c" + pickle.dumps(Bomb()), result_preview="<Bomb>")

    response = client.get(f"{JOBS}a/result/")

    assert response.json() == {"id": "a", "state": SUCCESS, "result": None, "preview": "<Bomb>"}
    assert not Bomb.went_off


def test_a_result_that_is_not_in_the_table_is_shown_as_a_preview(client, job):
    job("a", SUCCESS, result=None, result_preview="<array>", key="k", size=10**9)

    assert client.get(f"{JOBS}a/result/").json()["preview"] == "<array>"


def test_a_failure_is_a_problem_that_says_why(client, job):
    job("a", FAILURE, result=b"c" + pickle.dumps(Bomb()), result_preview="ValueError('no')")

    response = client.get(f"{JOBS}a/result/")

    assert problem(response, 424, "job_failed")["detail"] == "ValueError('no')"
    assert not Bomb.went_off


def test_a_revoked_job_has_a_code_of_its_own(client, job):
    job("a", REVOKED)

    problem(client.get(f"{JOBS}a/result/"), 424, "job_revoked")


def test_a_job_shows_its_end_whatever_that_is(client, job):
    for state in READY_STATES:
        job(state, state, result=None)

    for state in READY_STATES:
        assert client.get(f"{JOBS}{state}/").json()["state"] == state
