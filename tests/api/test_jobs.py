"""GET jobs/ and jobs/{id}/"""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.urls import resolve, reverse

from dask_facade.models import Job
from dask_facade.states import FAILURE, PENDING, RECEIVED, STARTED, SUCCESS
from tests.api.conftest import ADD, JOBS
from tests.api.test_submit import problem

pytestmark = pytest.mark.django_db


def ids(response):
    assert response.status_code == 200, response.content
    return [job["id"] for job in response.json()["results"]]


def test_jobs_are_listed_newest_first(client, job):
    job("b", age=1)
    job("a", SUCCESS, age=2)
    job("z", FAILURE, age=3)

    assert ids(client.get(JOBS)) == ["b", "a", "z"]


def test_pages_lead_through_all_jobs_and_back(client, job):
    for age in range(5):
        job(str(age), SUCCESS if age % 2 else PENDING, age=age)

    first = client.get(f"{JOBS}?limit=2&task={ADD}")
    second = client.get(first.json()["next"])
    third = client.get(second.json()["next"])
    back = client.get(second.json()["previous"])

    assert [ids(page) for page in (first, second, third)] == [["0", "1"], ["2", "3"], ["4"]]
    assert first.json()["previous"] is None
    assert third.json()["next"] is None
    assert ids(back) == ["0", "1"]
    assert back.json()["previous"] is None
    assert ids(client.get(back.json()["next"])) == ["2", "3"]


def test_a_page_costs_the_same_however_many_jobs_it_has(client, job, django_assert_max_num_queries):
    for number in range(30):
        job(str(number), SUCCESS, age=number)

    with django_assert_max_num_queries(12) as queries:
        client.get(JOBS)

    assert "COUNT(" not in str(queries.captured_queries).upper()
    assert not [each for each in queries.captured_queries if '"payload"' in each["sql"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state=SUCCESS", ["s"]),
        ("state=SUCCESS&state=FAILURE", ["s", "f"]),
        (f"task={ADD}", ["s", "f"]),
        ("task=other", ["p"]),
        ("queue=slow", ["p"]),
        ("queue=slow&state=SUCCESS", []),
        ("group=g", ["f"]),
        ("root=s", ["s", "f"]),
        ("parent=s", ["f"]),
        ("owner=nobody", []),
        ("limit=1", ["s"]),
    ],
)
def test_filters_choose_jobs(client, job, query, found):
    job("s", SUCCESS, age=0)
    job("f", FAILURE, age=1, group_id="g", root_id="s", parent_id="s")
    job("p", PENDING, age=2, task="other", queue="slow")

    assert ids(client.get(f"{JOBS}?{query}")) == found


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("state=RUNNING", "state"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=9999999999999999999999", "limit"),
        ("limit=²", "limit"),
        ("before=x", "before"),
        ("after=", "after"),
        ("task=%00", "task"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(client, query, name):
    body = problem(client.get(f"{JOBS}?{query}"), 400, "invalid")

    assert [error["pointer"] for error in body["errors"]] == [f"/{name}"]


def test_users_see_their_own_jobs_and_those_permitted_all(client, client_of, person, job):
    job("mine")
    bob = client_of(person("bob"))
    clerk = client_of(person("clerk", "view_job"))

    assert ids(client.get(JOBS)) == ids(clerk.get(JOBS)) == ["mine"]
    assert ids(bob.get(JOBS)) == []
    problem(bob.get(f"{JOBS}mine/"), 404, "not_found")
    problem(bob.get(f"{JOBS}mine/result/"), 404, "not_found")
    assert clerk.get(f"{JOBS}mine/").status_code == 200


def test_jobs_that_nobody_owns_are_for_those_permitted(client, client_of, person, job):
    job("system", owner="")
    clerk = client_of(person("clerk", "view_job"))

    assert ids(client.get(JOBS)) == []
    assert ids(clerk.get(JOBS)) == ["system"]


def test_who_is_not_logged_in_sees_nothing(client, job):
    job("mine")
    client.logout()

    for url in (JOBS, f"{JOBS}mine/", f"{JOBS}mine/result/", f"{JOBS}none/"):
        problem(client.get(url), 403, "not_authenticated")


def test_a_job_says_what_its_row_does(client, job, ann):
    job(
        "a",
        RECEIVED,
        queue="slow",
        priority=3,
        arguments="1",
        said="HALFWAY",
        meta=b'j{"done":5}',
        group_id="g",
        parent_id="p",
        root_id="r",
        worker="tcp://127.0.0.1:1",
    )

    body = client.get(f"{JOBS}a/").json()

    assert body["url"] == f"http://testserver{JOBS}a/"
    assert {name: body[name] for name in ("id", "task", "state", "queue", "priority")} == {
        "id": "a",
        "task": ADD,
        "state": RECEIVED,
        "queue": "slow",
        "priority": 3,
    }
    assert (body["said"], body["meta"]) == ("HALFWAY", {"done": 5})
    assert (body["group"], body["parent"], body["root"]) == ("g", "p", "r")
    assert (body["owner"], body["arguments"]) == (str(ann.pk), "1")
    assert body["created"].endswith("Z")
    assert not body.keys() & {"payload", "options", "errbacks", "traceback", "result"}


def test_what_was_pickled_is_not_shown(client, job):
    job("a", STARTED, meta=b"c\x80\x04.")

    assert client.get(f"{JOBS}a/").json()["meta"] is None


def test_a_job_that_is_as_it_was_is_not_sent_again(client, job):
    job("a")
    seen = client.get(f"{JOBS}a/")

    again = client.get(f"{JOBS}a/", HTTP_IF_NONE_MATCH=seen["ETag"])
    Job.objects.update(state=SUCCESS)
    later = client.get(f"{JOBS}a/", HTTP_IF_NONE_MATCH=seen["ETag"])

    assert (again.status_code, again.content) == (304, b"")
    assert later.status_code == 200
    assert seen["Retry-After"] == "1"
    assert "Retry-After" not in later
    assert "private" in seen["Cache-Control"]


def test_an_id_that_nobody_has_is_not_found(client):
    problem(client.get(f"{JOBS}none/"), 404, "not_found")


ODD_IDS = [
    "a/b",
    "a/result",
    "x/cancel",
    "/",
    "a//b/",
    "50%",
    "%2F",
    "%252F",
    "é ü",
    "a?b#c",
    "..",
    ".",
    "a\nb",
    "a_2Fb",
    "+ +",
    ":~!$&'()*,;=@",
]


@pytest.mark.parametrize("id", ODD_IDS)
def test_an_id_is_any_string(client, job, id):
    job(id, SUCCESS, result=b"j7")
    (listed,) = client.get(JOBS).json()["results"]

    found = client.get(listed["url"])

    assert found.status_code == 200
    assert found.json()["id"] == id
    assert client.get(f"{listed['url']}result/").json()["result"] == 7


@pytest.mark.parametrize("id", ["a/b", "50%", "é ü", "a?b#c"])
def test_an_id_that_a_client_encoded_once_is_understood(client, job, id):
    job(id)

    assert client.get(f"{JOBS}{quote(id, safe='')}/").json()["id"] == id


@pytest.mark.parametrize("id", ODD_IDS)
def test_an_address_leads_to_its_view(id):
    for name in ("job", "result", "cancel"):
        assert "//" not in reverse(f"dask_facade_api:{name}", args=[id])

    match = resolve(reverse("dask_facade_api:job", args=["plain"]))
    assert match.kwargs == {"id": "plain"}
