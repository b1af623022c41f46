"""Jobs in the Django admin."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from dask_facade import current
from dask_facade.jobs import REOPEN, REVOKE
from dask_facade.models import Edge, Job, Lease, Request
from dask_facade.states import ALL_STATES, FAILURE, PENDING, REVOKED, STARTED, SUCCESS

pytestmark = pytest.mark.django_db

LIST = "/admin/dask_facade/job/"


@pytest.fixture(autouse=True)
def silent_line(monkeypatch):
    """Count the nudges instead of looking for a dispatcher."""
    nudges = []
    monkeypatch.setattr(type(current.site().client), "nudge", lambda self: nudges.append(1))
    return nudges


@pytest.fixture
def login():
    """Return a client of a member of the staff with these permissions of ours."""

    def make(*permissions):
        user = User.objects.create_user(f"with {permissions}", is_staff=True)
        user.user_permissions.set(
            Permission.objects.filter(
                content_type__app_label="dask_facade", codename__in=permissions
            )
        )
        client = Client()
        client.force_login(user)
        return client

    return make


@pytest.fixture
def reader(login):
    return login("view_job")


@pytest.fixture
def operator(login):
    return login("view_job", "change_job")


@pytest.fixture
def job():
    """Insert a job; *age* is in minutes."""

    def make(id, state=PENDING, *, age=0.0, **columns):
        return Job.objects.create(
            id=id,
            state=state,
            created=timezone.now() - timedelta(minutes=age),
            **{"task": "shop.tasks.send", "queue": "q", "payload": b"", "root_id": id, **columns},
        )

    return make


def page_of(response):
    assert response.status_code == 200, response.content
    return unescape(response.content.decode())


def listed(response):
    """Return the ids in a list, as they stand in it."""
    return re.findall(r'<code title="([^"]*)"', page_of(response))


def link(response, label):
    """Return where a link of this label leads; None where there is none."""
    found = re.search(rf'<a href="([^"]*)"[^>]*>{label}</a>', page_of(response))
    return None if found is None else LIST + found[1]


def address(id):
    return reverse("admin:dask_facade_job_change", args=[quote(id)])


def asked():
    return [(each.kind, each.job_id, each.arguments) for each in Request.objects.order_by("pk")]


def test_the_list_shows_the_newest_jobs_with_their_states(reader, job):
    job("b", SUCCESS, age=1, runtime=0.0123, worker="tcp://w:1", owner="7")
    job("a", FAILURE, age=2)
    job("01234567-89ab-7cde-8f01-23456789abcd", age=3)

    response = reader.get(LIST)

    assert listed(response) == ["b", "a", "01234567-89ab-7cde-8f01-23456789abcd"]
    page = page_of(response)
    assert "dask-state-success" in page
    assert "…6789abcd" in page
    assert "12.3 ms" in page
    assert "tcp://w:1" in page


def test_pages_lead_through_all_jobs_and_back(reader, job):
    for number in range(120):
        job(f"{number:03}", SUCCESS if number % 2 else PENDING, age=number)
    ids = [f"{number:03}" for number in range(120)]

    first = reader.get(LIST)
    second = reader.get(link(first, "Older"))
    third = reader.get(link(second, "Older"))
    back = reader.get(link(third, "Newer"))

    assert listed(first) == ids[:50]
    assert listed(second) == listed(back) == ids[50:100]
    assert listed(third) == ids[100:]
    assert link(first, "Newer") is link(first, "Newest") is link(third, "Older") is None
    assert listed(reader.get(link(third, "Newest"))) == ids[:50]


def test_pages_keep_filter_and_search(reader, job):
    for number in range(60):
        job(f"x{number:03}", SUCCESS, age=number)
        job(f"y{number:03}", FAILURE, age=number)

    first = reader.get(f"{LIST}?state__exact=FAILURE&q=y")
    second = reader.get(link(first, "Older"))

    assert listed(second) == [f"y{number:03}" for number in range(50, 60)]


def test_nothing_is_counted_and_no_row_has_a_query_of_its_own(
    reader, job, django_assert_max_num_queries
):
    for number in range(60):
        job(f"{number:03}", SUCCESS, age=number, parent_id="000")
    session_user_permissions_lease = 8

    with django_assert_max_num_queries(len(ALL_STATES) + session_user_permissions_lease) as queries:
        reader.get(LIST)

    ours = [each["sql"] for each in queries.captured_queries if '"dask_facade_job"' in each["sql"]]
    assert len(ours) == len(ALL_STATES)
    assert not [sql for sql in ours if "COUNT(" in sql or "OFFSET" in sql or '"payload"' in sql]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("state__exact=FAILURE", ["f"]),
        ("state__exact=RETRY", []),
        ("state__exact=NONSENSE", []),
        ("queue=slow", ["f"]),
        ("queue=", ["f", "abc", "abd"]),
        ("queue=slow&state__exact=SUCCESS", []),
        ("q=ab", ["abc", "abd"]),
        ("q=abc", ["abc"]),
        ("q= abc ", ["abc"]),
        ("q=ABC", []),
        ("q=a%25", []),  # no wildcard
        ("q=bill.", ["f"]),
        ("q=.tasks", []),
        ("group_id__exact=g", ["abd"]),
    ],
)
def test_filters_and_search_choose_jobs(reader, job, query, found):
    job("f", FAILURE, age=0, queue="slow", task="bill.tasks.pay")
    job("abc", SUCCESS, age=1)
    job("abd", SUCCESS, age=2, group_id="g")

    assert listed(reader.get(f"{LIST}?{query}")) == found


def test_the_form_of_the_queue_keeps_the_other_filters(reader, job):
    page = page_of(reader.get(f"{LIST}?state__exact=FAILURE&queue=slow"))

    form = page[page.index('class="dask-filter"') :]
    assert '<input type="hidden" name="state__exact" value="FAILURE">' in form
    assert 'name="queue" value="slow"' in form


def test_a_page_that_is_none_leads_back_to_the_list(reader):
    response = reader.get(f"{LIST}?before=nonsense")

    assert (response.status_code, response["Location"]) == (302, f"{LIST}?e=1")


@pytest.mark.parametrize("holder", [None, "", "host:1"])
def test_the_list_says_whether_a_dispatcher_runs(reader, holder):
    if holder is not None:
        Lease.objects.create(name="dispatcher", epoch=1, beat=1, holder=holder, secret=b"s")

    page = page_of(reader.get(LIST))

    assert ("No dispatcher is running" in page) is not bool(holder)


@pytest.mark.parametrize("id", ["plain", "a/b", "..", "é ü?#", "a_2Fb", "a\nb", '"><script>'])
def test_a_job_has_a_page_whatever_its_id(reader, job, id):
    job(id, SUCCESS)
    (href,) = re.findall(r'<th class="field-short_id"><a href="([^"]*)"', page_of(reader.get(LIST)))

    page = reader.get(href)

    assert page.status_code == 200
    assert page.context["original"].id == id
    assert "<script>" not in page.content.decode().replace("<script>\n", "")


def test_a_page_shows_what_a_job_was_asked_and_how_it_ended(reader, job):
    job(
        "a",
        FAILURE,
        arguments="1, password=********",
        result_preview="ValueError('<b>')",
        traceback='Traceback:\n  File "x.py"\nValueError: <b>',
        attempt=3,
        runtime=4000.0,
        result=b"c" + b"not to be unpickled",
        payload=b"c" + b"not to be unpickled",
    )

    response = reader.get(address("a"))
    page = page_of(response)

    assert "1, password=********" in page
    assert "ValueError('<b>')" in page
    assert 'File "x.py"' in page
    assert "1 h 6 min" in page
    assert "<b>" not in response.content.decode()
    assert "unpickled" not in page
    assert not re.findall(r'<(?:input|select|textarea)[^>]*name="(?!csrf|_)', page.split("<h1")[1])


def test_a_page_links_the_jobs_around(reader, job, django_assert_max_num_queries):
    job("root")
    job("p", STARTED, root_id="root")
    job("a", STARTED, parent_id="p", root_id="root", group_id="g/1", said="HALFWAY")
    for number in range(30):
        job(f"child{number:02}", PENDING, parent_id="a", age=-number)
        Edge.objects.create(
            parent_id=f"child{number:02}", child_id="a", position=number, takes_result=True
        )
    job("next")
    Edge.objects.create(parent_id="a", child_id="next", position=0, takes_result=False)
    Edge.objects.create(parent_id="a", child_id="pruned", position=0, takes_result=False)

    with django_assert_max_num_queries(15):
        page = page_of(reader.get(address("a")))

    for id in ("root", "p", "next", "child00", "child19"):
        assert f'href="{address(id)}"' in page
    assert address("child20") not in page
    assert f'href="{LIST}?parent_id__exact=a"' in page
    assert f'href="{LIST}?group_id__exact=g%2F1"' in page
    assert "pruned" not in page
    assert "HALFWAY" in page


def test_a_job_that_is_gone_leads_back(reader):
    assert reader.get(address("none")).status_code == 302


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("revoke", [(REVOKE, "p", {"terminate": False}), (REVOKE, "s", {"terminate": False})]),
        ("terminate", [(REVOKE, "p", {"terminate": True}), (REVOKE, "s", {"terminate": True})]),
        ("retry", [(REOPEN, "f", {}), (REOPEN, "r", {})]),
    ],
)
def test_actions_ask_the_dispatcher_for_jobs_in_a_state_that_allows_it(
    operator, job, silent_line, django_capture_on_commit_callbacks, action, expected
):
    for state in (PENDING, STARTED, SUCCESS, FAILURE, REVOKED):
        job({PENDING: "p", STARTED: "s", SUCCESS: "x", FAILURE: "f", REVOKED: "r"}[state], state)

    with django_capture_on_commit_callbacks(execute=True):
        response = operator.post(
            LIST,
            {"action": action, "index": "0", "_selected_action": ["p", "s", "x", "f", "r"]},
            follow=True,
        )

    assert sorted(asked()) == expected
    assert silent_line
    said = [str(message) for message in response.context["messages"]]
    assert f"The dispatcher is asked to {expected[0][0]} 2 jobs." in said
    assert "3 of those selected are in another state by now." in said
    assert {entry.object_id for entry in LogEntry.objects.all()} == {id for _, id, _ in expected}
    assert Job.objects.get(id="p").state == PENDING  # the dispatcher alone moves it


def test_the_buttons_of_a_page_lead_back_to_it(operator, job):
    job("a/b", STARTED)
    page = page_of(operator.get(address("a/b")))
    form = page[page.index('class="dask-steps"') : page.index("</form>", page.index("dask-steps"))]
    fields = dict(re.findall(r'<input type="hidden" name="(_[^"]*)" value="([^"]*)"', form))

    response = operator.post(LIST, {**fields, "action": "terminate"})

    assert re.findall(r'value="(\w+)">(\w+)</button>', form) == [
        ("revoke", "Revoke"),
        ("terminate", "Terminate"),
    ]
    assert (response.status_code, response["Location"]) == (302, address("a/b"))
    assert asked() == [(REVOKE, "a/b", {"terminate": True})]


@pytest.mark.parametrize(
    ("state", "labels"),
    [(PENDING, ["Revoke", "Terminate"]), (FAILURE, ["Retry"]), (SUCCESS, [])],
)
def test_a_page_offers_what_its_state_allows(operator, job, state, labels):
    job("a", state)

    page = page_of(operator.get(address("a")))

    assert re.findall(r'name="action" value="\w+">(\w+)<', page) == labels


def test_who_may_only_look_is_offered_nothing_and_asks_in_vain(reader, job):
    job("a", FAILURE)

    for page in (page_of(reader.get(LIST)), page_of(reader.get(address("a")))):
        assert 'name="action"' not in page
    reader.post(LIST, {"action": "retry", "index": "0", "_selected_action": ["a"]})

    assert asked() == []


def test_who_may_not_look_sees_nothing(login, job):
    job("a")
    stranger = login()

    assert stranger.get(LIST).status_code == 403
    assert stranger.get(address("a")).status_code == 403


def test_jobs_are_neither_added_nor_edited_nor_deleted(client, job):
    User.objects.create_superuser("root", password="x")
    client.force_login(User.objects.get(username="root"))
    job("a")

    assert client.get(f"{LIST}add/").status_code == 403
    assert client.post(address("a"), {"task": "other"}).status_code == 403
    assert client.post(f"{address('a').removesuffix('change/')}delete/").status_code == 403
    assert 'value="delete_selected"' not in page_of(client.get(LIST))
    assert Job.objects.get().task == "shop.tasks.send"


def test_a_search_keeps_the_filters_and_does_not_count(reader, job):
    job("abc", FAILURE)

    page = page_of(reader.get(f"{LIST}?state__exact=FAILURE&q=ab"))

    form = page[page.index('id="changelist-search"') : page.index('id="searchbar_helptext"')]
    assert 'name="q" value="ab"' in form
    assert '<input type="hidden" name="state__exact" value="FAILURE">' in form
    assert "result" not in form
