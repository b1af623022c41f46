"""Tables of named jobs: whose jobs they show, in which order, and what can be done."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db.models.signals import post_init
from django.test import Client, override_settings
from django.utils import timezone

from dask_facade import job_manager, schedulers
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.jobs_table import (
    ACTIONS,
    MOST,
    Action,
    JobsTable,
    page_of,
    table_named,
    visible_to,
)
from dask_facade.models import DaskJob, Job, Request
from dask_facade.named.statuses import STATUSES
from dask_facade.states import FAILURE, PENDING, STARTED, SUCCESS
from tests.cluster import named_functions as functions
from tests.db import jobs_pages

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.db.jobs_pages")]


@pytest.fixture
def user():
    return User.objects.create_user("ann")


@pytest.fixture
def visitor(client, user):
    client.force_login(user)
    return client


@pytest.fixture
def staff():
    client = Client()
    client.force_login(User.objects.create_user("staff", is_staff=True))
    return client


def made(user, name="job", state=None, **said):
    """A job whose work the ledger has in a state."""
    job = job_manager.create_job(name, user, **said)
    if state is not None:
        job.ledger_id, job.execute_time = f"job-{job.pk}", timezone.now()
        job.save()
        Job.objects.create(
            id=job.ledger_id, task="graph", queue="celery", payload=b"", root_id="r", state=state,
            result_preview="<b>15</b>", traceback="line <1>",
        )  # fmt: skip
    return job


def names(page: str) -> list[str]:
    """Return the first cells of a table's rows."""
    return re.findall(r"<tr id=[^>]*>\s*<td>([^<]*)</td>", page)


def do(client, job, action, table="jobs", **said):
    return client.post(f"/jobs/{table}/{job.pk}/{action}/", {"next": "/said/", **said})


# Whose jobs


def test_one_sees_ones_own_jobs(visitor, user):
    made(user, "mine")
    made(User.objects.create_user("bob"), "his")

    assert names(visitor.get("/page/").text) == ["mine"]


def test_staff_and_holders_of_the_permission_see_all(visitor, user, staff):
    made(user, "mine")
    made(User.objects.create_user("bob"), "his")

    assert names(staff.get("/page/").text) == ["his", "mine"]
    user.user_permissions.add(Permission.objects.get(codename="view_daskjob"))
    page = visitor.get("/page/").text
    assert names(page) == ["his", "mine"]
    assert page.count(">Stop</button>") == 1  # to see is not to steer


def test_who_has_not_logged_in_sees_none_and_does_nothing(client, user):
    job = made(user, state=STARTED)

    assert names(client.get("/page/").text) == []
    assert do(client, job, "stop", confirmed="1").status_code == 403
    assert client.get(f"/jobs/jobs/{job.pk}/logs/page/").status_code == 403
    assert not Request.objects.exists()


@pytest.mark.parametrize("action", [name for name, each in ACTIONS.items() if each.callback])
def test_others_jobs_are_not_there(visitor, action):
    job = made(User.objects.create_user("bob"), state=STARTED)

    assert do(visitor, job, action, confirmed="1").status_code == 404
    assert visitor.get(f"/jobs/jobs/{job.pk}/logs/page/").status_code == 404
    assert not Request.objects.exists()
    assert DaskJob.objects.filter(pk=job.pk).exists()


def test_who_may_see_all_may_not_steer_all(visitor, user, staff):
    job = made(User.objects.create_user("bob"), state=STARTED)
    user.user_permissions.add(Permission.objects.get(codename="view_daskjob"))

    assert do(visitor, job, "stop", confirmed="1").status_code == 403
    assert do(staff, job, "stop", confirmed="1").status_code == 302
    user = User.objects.get(pk=user.pk)
    user.user_permissions.add(Permission.objects.get(codename="change_daskjob"))
    assert do(visitor, job, "stop", confirmed="1").status_code == 302


# Nothing on GET


@pytest.mark.parametrize("action", list(ACTIONS))
def test_nothing_changes_on_get(visitor, user, action):
    job = made(user, state=STARTED)

    assert visitor.get(f"/jobs/jobs/{job.pk}/{action}/").status_code == 405
    assert not Request.objects.exists()


def test_the_forms_token_is_needed(user):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    job = made(user, state=STARTED)

    assert do(strict, job, "stop", confirmed="1").status_code == 403
    assert not Request.objects.exists()
    assert "csrfmiddlewaretoken" in strict.get("/page/").text


# Columns and order


def test_columns_may_be_what_stands_in_extended_properties(visitor, user):
    made(user, "a", extended_properties={"model": {"version": 3}})
    made(user, "b", extended_properties={"model": 3})

    page = visitor.get("/page/").text

    assert "<td>3</td>" in page
    assert ">Version</a>" in page
    assert names(page) == ["a", "b"]


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("name", ["a", "b", "c"]),
        ("-name", ["c", "b", "a"]),
        ("extended_properties.model.version", ["b", "c", "a"]),  # 2, 10, none
        ("-extended_properties.model.version", ["c", "b", "a"]),
        ("status", ["b", "a", "c"]),  # Complete, Pending, Running
        ("nonsense", ["a", "b", "c"]),
    ],
)
def test_a_table_is_sorted_by_any_column(visitor, user, sort, order):
    made(user, "a")
    made(user, "b", SUCCESS, extended_properties={"model": {"version": 2}})
    made(user, "c", STARTED, extended_properties={"model": {"version": 10}})

    assert names(visitor.get("/page/", {"models-sort": sort}).text) == order


def test_a_sorted_column_says_so_and_links_the_other_way_round(visitor, user):
    page = visitor.get("/page/", {"models-sort": "name"}).text

    assert 'aria-sort="ascending"><a href="?models-sort=-name">Name</a>' in page


def test_a_table_has_pages(visitor, user):
    for name in "abcde":
        made(user, name)

    first = visitor.get("/page/").text
    second = visitor.get("/page/", {"models-page": "2"}).text

    assert (names(first), names(second)) == (["a", "b", "c"], ["d", "e"])
    assert 'href="?models-page=2"' in first


def test_a_table_takes_as_many_queries_for_many_jobs_as_for_one(
    visitor, user, django_assert_max_num_queries
):
    for number in range(3):
        made(user, str(number), SUCCESS)

    with django_assert_max_num_queries(6):  # session, user, two of permissions, jobs, ledger
        visitor.get("/page/")


@pytest.fixture
def objects():
    """How many jobs were read."""
    read = []
    post_init.connect(count := lambda **said: read.append(said), sender=DaskJob)
    yield read
    post_init.disconnect(count, sender=DaskJob)


@pytest.mark.parametrize(
    ("sort", "most"),
    [
        ("-id", 4),  # of the page, and one which tells that there is a next one
        ("name", 4),
        ("extended_properties.model.version", 4),
        ("status", MOST + 4),
    ],
)
def test_a_table_of_many_jobs_reads_those_that_it_shows(
    visitor, user, objects, django_assert_max_num_queries, sort, most
):
    DaskJob.objects.bulk_create(
        DaskJob(
            name=f"{number:04}",
            owner=str(user.pk),
            extended_properties={"model": {"version": number}},
        )
        for number in range(5_000)
    )
    objects.clear()

    with django_assert_max_num_queries(8):
        page = visitor.get("/page/", {"models-sort": sort, "models-page": "3"}).text

    assert len(names(page)) == 3
    assert len(objects) <= most


def test_past_the_last_page_the_last_one_is_shown(visitor, user):
    for name in "abcd":
        made(user, name)

    for sort in ("name", "status_message"):
        page = visitor.get("/page/", {"models-page": "7", "models-sort": sort}).text
        assert len(names(page)) == 1
        assert "Page 2" in page
        assert "After" not in page
        assert "Before" in page


@pytest.mark.parametrize("number", ["0", "-1", "x", "", "9" * 30, "²"])
def test_a_page_that_cannot_be_is_the_first(visitor, user, number):
    made(user, "a")

    assert names(visitor.get("/page/", {"models-page": number}).text) == ["a"]


def test_words_are_ordered_without_regard_to_case_and_what_is_not_there_comes_last(visitor, user):
    for name in ("b", "A", "C"):
        made(user, name)
    made(user, "d", SUCCESS)

    assert names(visitor.get("/page/", {"models-sort": "name"}).text) == ["A", "b", "C"]
    for sort in ("execute_time", "-execute_time", "-run_time"):
        assert names(visitor.get("/page/", {"models-sort": sort}).text)[0] == "d"


def test_a_table_is_not_sorted_by_a_property_that_it_does_not_show(visitor, user):
    made(user, "a", extended_properties={"secret": 2})
    made(user, "b", extended_properties={"secret": 1})

    for sort in ("extended_properties.secret", "extended_properties.\"'", "extended_properties."):
        assert names(visitor.get("/page/", {"models-sort": sort}).text) == ["a", "b"]


def test_what_stands_in_cells_is_escaped_and_secrets_are_masked(visitor, user):
    made(user, "<i>", extended_properties={"password": "hunter2"})

    code = '{% jobs_table columns="name,extended_properties" %}'
    page = visitor.get("/page/", {"code": code}).text

    assert "&lt;i&gt;" in page
    assert "hunter2" not in page


@pytest.mark.parametrize("column", ["nonsense", "work", "__class__", "delete"])
def test_a_column_that_jobs_do_not_have_is_refused(column):
    with pytest.raises(ValueError, match="no column"):
        JobsTable("bad", columns=(column,))


@pytest.mark.parametrize(
    "actions",
    [
        (Action("再実行", url="/"),),  # no address can be made of it
        (Action("A", url="/", name="a/b"),),
        ("stop", Action("Stop", url="/")),
        (Action("Logs", url="/"),),  # which is a page of ours
    ],
)
def test_own_actions_without_a_name_of_their_own_are_refused(actions):
    with pytest.raises(ValueError, match="name"):
        JobsTable("bad", actions=actions)


def test_an_action_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="none of the actions"):
        JobsTable("bad", actions=("explode",))
    with pytest.raises(LookupError, match="no table"):
        table_named("bad")


def test_a_table_whose_pages_have_no_addresses_says_what_to_do(visitor, user):
    made(user)

    with (
        override_settings(ROOT_URLCONF=tuple(jobs_pages.urlpatterns[:2])),
        pytest.raises(ImproperlyConfigured, match=r"dask_facade\.named\.urls"),
    ):
        visitor.get("/page/")


# Actions


ENABLED = {
    "Pending": {"pause", "stop", "delete"},
    "Submitted": {"pause", "logs", "stop", "delete"},
    "Running": {"logs", "stop", "delete"},
    "Various": {"logs", "stop", "delete"},
    "Paused": {"resume", "logs", "stop", "delete"},
    "Complete": {"resubmit", "logs", "results", "delete"},
    "Error": {"resubmit", "logs", "results", "delete"},
    "Aborted": {"resubmit", "logs", "results", "delete"},
    "Various-Complete": {"resubmit", "logs", "results", "delete"},
    "Results-Ready": {"resubmit", "logs", "results", "delete"},
    "Other": {"logs", "stop", "delete"},
    "Calibrating": {"logs", "stop", "delete"},
}


@pytest.mark.parametrize("status", [*STATUSES, "Calibrating"])
def test_an_action_is_enabled_in_the_statuses_that_it_fits(user, status):
    job = job_manager.create_job("job", user)

    enabled = {name for name, action in ACTIONS.items() if action.is_enabled(job, status)}

    assert enabled == ENABLED[status]


def test_a_job_with_a_graph_can_be_run(visitor, user):
    job = made(user)
    job.prepare(functions.delayed_job())

    page = visitor.get("/page/", {"code": "{% jobs_table %}"}).text
    assert f'formaction="/jobs/jobs/{job.pk}/run/">Run' in page
    do(visitor, job, "run")
    assert "no dispatcher is running" in visitor.get("/said/").text


def test_what_does_not_fit_is_shown_disabled_and_is_not_done(visitor, user):
    job = made(user, state=SUCCESS)

    page = visitor.get("/page/").text
    assert re.search(r'stop/" disabled>Stop</button>', page)
    do(visitor, job, "stop", table="models", confirmed="1")
    assert not Request.objects.exists()
    assert "nothing was done" in visitor.get("/said/").text


def test_pausing_and_resuming(visitor, user):
    job = made(user)

    assert do(visitor, job, "pause")["Location"] == "/said/"
    assert job_manager.get_job(job.pk).status == "Paused"
    do(visitor, job, "resume")
    assert job_manager.get_job(job.pk).status == "Pending"


def test_what_runs_cannot_be_paused(visitor, user):
    job = made(user, state=PENDING)

    do(visitor, job, "pause")

    assert "cannot be paused" in visitor.get("/said/").text


def test_an_action_asks_before_where_it_says_so(visitor, user):
    job = made(user, state=STARTED)

    page = do(visitor, job, "stop").text
    assert "Stop: job?" in page
    assert not Request.objects.exists()
    assert do(visitor, job, "stop", confirmed="1").status_code == 302
    assert [each.kind for each in Request.objects.all()] == ["revoke"]


def test_a_job_is_deleted(visitor, user):
    job = made(user, state=SUCCESS)

    do(visitor, job, "delete", confirmed="1")

    assert job_manager.get_job(job.pk) is None
    assert {each.kind for each in Request.objects.all()} == {"revoke", "forget"}


def test_logs_and_results_are_pages_that_show_previews(visitor, user):
    job = made(user, state=FAILURE)

    assert "line &lt;1&gt;" in visitor.get(f"/jobs/jobs/{job.pk}/logs/page/").text
    assert "&lt;b&gt;15&lt;/b&gt;" in visitor.get(f"/jobs/jobs/{job.pk}/results/page/").text
    assert visitor.get(f"/jobs/jobs/{job.pk}/stop/page/").status_code == 404
    assert do(visitor, job, "logs").status_code == 404


def test_a_page_about_a_job_links_back_to_where_the_table_is(visitor, user):
    job = made(user, state=FAILURE)
    shown = visitor.get("/page/", {"code": "{% jobs_table %}", "jobs-sort": "name"}).text

    link = re.search(rf'href="(/jobs/jobs/{job.pk}/logs/page/\?next=[^"]*)"', shown)[1]
    page = visitor.get(link.replace("&amp;", "&")).text
    elsewhere = visitor.get(f"/jobs/jobs/{job.pk}/logs/page/?next=https://elsewhere.example/").text

    back = re.search(r'href="(/page/[^"]*)">Back</a>', page)[1]
    assert names(visitor.get(back.replace("&amp;", "&")).text) == [str(job.pk)]
    assert "sort=name" in back
    assert '<a href="/">Back</a>' in elsewhere
    assert '<span class="dask-state dask-state-failure">Error</span>' in page


@pytest.mark.parametrize(
    ("dashboard", "is_linked"),
    [("http://127.0.0.1:8787/status", True), ("", False), ("javascript:alert(1)", False)],
)
def test_the_monitor_is_the_schedulers_dashboard(visitor, user, dashboard, is_linked):
    made(user, scheduler=schedulers.create_scheduler("a", dashboard=dashboard))

    page = visitor.get("/page/", {"code": "{% jobs_table %}"}).text

    assert (f'href="{dashboard}">Monitor' in page) is is_linked


@pytest.mark.parametrize("next", ["https://elsewhere.example/", "//elsewhere.example", ""])
def test_one_is_sent_back_to_this_site_alone(visitor, user, next):
    job = made(user)

    assert do(visitor, job, "pause", next=next)["Location"] == "/"


# Actions of the project's own


def test_an_own_action_is_called_once_it_is_confirmed(visitor, user):
    job = made(user, "old")
    jobs_pages.called.clear()

    assert "Into the cellar with it?" in do(visitor, job, "archive-it", table="models").text
    assert jobs_pages.called == []
    do(visitor, job, "archive-it", table="models", confirmed="1")

    assert jobs_pages.called == ["old"]
    assert "old is archived" in visitor.get("/said/").text


def test_an_own_action_is_called_only_where_it_is_enabled(visitor, user):
    job = made(user, "fresh")
    jobs_pages.called.clear()

    do(visitor, job, "archive-it", table="models", confirmed="1")

    assert jobs_pages.called == []


def test_an_own_action_is_told_where_jobs_stand_without_a_query_for_each(
    visitor, user, django_assert_max_num_queries
):
    for number in range(3):
        made(user, str(number), SUCCESS)

    with django_assert_max_num_queries(6):  # session, user, two of permissions, jobs, ledger
        page = visitor.get("/page/", {"code": '{% jobs_table "asking" %}'}).text

    assert page.count(">Publish</button>") == 3
    assert "disabled>Publish" not in page


def test_a_job_of_a_table_stands_elsewhere_once_something_is_done_about_it(user):
    made(user)
    (row,) = page_of(visible_to(user), "-id", 1, 3).rows

    assert row.job.status == "Pending"
    row.job.stop()
    assert row.job.status == "Aborted"


@pytest.mark.parametrize("name", ["broken", "lost"])
def test_an_own_action_that_cannot_be_asked_is_disabled_and_logged(visitor, user, caplog, name):
    job = made(user, "a")

    page = visitor.get("/page/", {"code": '{% jobs_table "asking" columns="name" %}'}).text
    do(visitor, job, name, table="asking", confirmed="1")

    assert names(page) == ["a"]
    assert '/broken/" disabled>' in page
    assert ">Lost</a>" not in page
    assert f"action {name!r} is disabled for job a {job.pk}" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_an_own_action_may_answer_by_itself_or_be_a_link(visitor, user):
    job = made(user)

    assert do(visitor, job, "answer", table="models").text == "about job"
    assert f'href="/models/{job.pk}/">Model' in visitor.get("/page/").text
    assert do(visitor, job, "answer").status_code == 404  # of another table


@pytest.mark.parametrize(
    ("said", "is_linked"),
    [
        ("maps/3/?at=12:30", True),
        ("https://maps.example/", True),
        ("javascript:alert(1)", False),
        (" java\nscript:alert(1)", False),
        ("data:text/html,3", False),
    ],
)
def test_an_own_action_links_only_to_pages(said, is_linked):
    action = Action("Map", url=lambda job: job.label)

    assert action.address(DaskJob(label=said)) == (said if is_linked else "")
    assert action.is_enabled(DaskJob(label=said), STATUSES[0]) is is_linked


# The admin


def test_the_admin_has_the_table(staff, user):
    job = made(user, "anns", SUCCESS)

    page = staff.get("/admin/dask_facade/daskjob/").text

    assert ">anns</td>" in page
    address = f"/admin/dask_facade/daskjob/jobs/{job.pk}"
    assert f'formaction="{address}/resubmit/act/"' in page
    logs = staff.get(f"{address}/logs/page/").text
    assert "line &lt;1&gt;" in logs
    assert '<a href="/admin/dask_facade/daskjob/">Named jobs</a> &rsaquo; anns' in logs
    assert "Log out" in logs
    assert logs.count("<h1>") == 1
    assert "Delete: anns?" in staff.post(f"{address}/delete/act/", {"next": "/admin/"}).text
    assert staff.post(f"{address}/delete/act/", {"confirmed": "1"}).status_code == 302
    assert job_manager.get_job(job.pk) is None


def test_the_admin_lets_only_staff_in(visitor):
    assert visitor.get("/admin/dask_facade/daskjob/").status_code == 302


def test_the_admin_has_the_schedulers(staff):
    admin = User.objects.create_superuser("root")
    staff.force_login(admin)
    schedulers.create_scheduler("dask_primary")

    assert "dask_primary" in staff.get("/admin/dask_facade/daskscheduler/").text
    assert "named jobs" in staff.get("/admin/").text.lower()


def test_users_and_groups_are_given_as_such(user):
    group = Group.objects.create(name="g")
    job = job_manager.create_job("job", user, groups=[group])

    assert (job.user, list(job.groups.all())) == (user, [group])
    assert list(job_manager.list_jobs(user=user)) == [job]
    assert list(job_manager.list_jobs(groups=group)) == [job]
    user.delete()
    assert DaskJob.objects.get(pk=job.pk).user is None
