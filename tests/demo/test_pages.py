from __future__ import annotations

from datetime import timedelta

import pytest
from codebase.analysis import Function, Measure, Unparsable
from codebase.ranking import rank_files
from codebase.records import ranking_record
from django.apps import apps
from django.core.cache import cache
from django.test import Client

from dask_facade.models import Job
from dask_facade.states import FAILURE, SUCCESS

pytestmark = [
    pytest.mark.usefixtures("codebase_app"),
    pytest.mark.django_db,
    pytest.mark.urls("codebase.urls"),
]

PATHS = ["/a/b.py", "/a/c.py", "/a/d.py"]
RANKING = rank_files(
    [
        Measure("/a/b.py", 4096, 1234, 1000, 2, 1, 30, Function("hard", 1, 29), ("os",)),
        Measure("/a/c.py", 100, 5000, 9, 3, 0, 3, Function("f<script>", 1, 1), ()),
        Unparsable("/a/d.py", "SyntaxError: <oops>"),
    ],
    "/lib",
)


@pytest.fixture(autouse=True)
def few_files(codebase_app, monkeypatch):
    monkeypatch.setattr("codebase.views.python_files", lambda directories: PATHS)
    cache.clear()


@pytest.fixture
def started(client):
    """A run that was started from the page; no dispatcher is running."""
    client.post("/runs/")
    return apps.get_model("codebase", "Run").objects.get()


def header(run):
    return Job.objects.filter(group_id=run.group_id)


def body(run):
    return Job.objects.filter(id=run.job_id)


def test_before_the_first_run_the_page_offers_to_start_one(client):
    response = client.get("/")

    assert "Nothing has run yet" in response.text
    assert '<form method="post" action="/runs/">' in response.text


def test_pages_load_nothing_but_the_sites_own_files(client, started):
    for address in ("/", f"/runs/{started.job_id}/"):
        response = client.get(address)

        assert response["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "unsafe" not in response["Content-Security-Policy"]
        assert " style=" not in response.text
        assert "https://" not in response.text


def test_starting_needs_the_forms_token(db):
    assert Client(enforce_csrf_checks=True).post("/runs/").status_code == 403
    assert not Job.objects.exists()


def test_starting_writes_a_row_for_each_file_and_one_for_the_ranking(client):
    response = client.post("/runs/")

    run = apps.get_model("codebase", "Run").objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/runs/{run.job_id}/")
    assert header(run).count() == len(PATHS) == run.files
    assert Job.objects.filter(root_id=body(run).get().root_id).count() == len(PATHS) + 1


def test_looking_at_pages_starts_nothing(client):
    assert client.get("/runs/").status_code == 405
    assert client.get("/runs/nothing/").status_code == 404
    assert not Job.objects.exists()


def test_a_second_click_leads_to_the_run_that_is_at_work(client, started):
    response = client.post("/runs/")

    assert response["Location"] == f"/runs/{started.job_id}/"
    assert Job.objects.count() == len(PATHS) + 1


def test_progress_is_read_from_the_rows(client, started):
    header(started).filter(id=header(started)[0].id).update(state=SUCCESS)

    progress = client.get(f"/runs/{started.job_id}/progress/").json()

    assert progress == {
        "state": "PENDING",
        "completed": 1,
        "total": 3,
        "stalled": False,
        "ended": False,
    }
    page = client.get(f"/runs/{started.job_id}/").text
    assert "Measuring 3 files" in page
    assert 'max="3" value="1"' in page


def test_a_run_that_does_not_move_says_how_to_start_a_dispatcher(client, started):
    assert (
        'id="stalled" class="notice" role="status" hidden'
        in client.get(f"/runs/{started.job_id}/").text
    )

    started.created -= timedelta(seconds=6)
    started.save()

    page = client.get(f"/runs/{started.job_id}/").text
    assert 'id="stalled" class="notice" role="status">' in page
    assert "dask_dispatcher" in page


def test_a_finished_run_shows_figures_charts_and_tables(client, started, monkeypatch):
    Job.objects.update(state=SUCCESS)
    monkeypatch.setattr("codebase.views.ranking_of", lambda run: ranking_record(RANKING))
    monkeypatch.setattr("codebase.views.seconds_of", lambda run: 12.34)

    page = client.get(f"/runs/{started.job_id}/").text

    assert "<h1>3 files, 6,234 lines</h1>" in page
    assert "Measured and ranked in 12.3 seconds" in page
    assert '<svg class="bars"' in page
    assert "2 horizontal bars, from b.py with 30 to c.py with 3." in page
    assert page.index(">b.py</th>") < page.index(">c.py</th>")
    assert "SyntaxError: &lt;oops&gt;" in page
    assert "<script>" not in page


def test_a_query_orders_the_table_of_files(client, started, monkeypatch):
    Job.objects.update(state=SUCCESS)
    monkeypatch.setattr("codebase.views.ranking_of", lambda run: ranking_record(RANKING))
    monkeypatch.setattr("codebase.views.seconds_of", lambda run: None)

    page = client.get(f"/runs/{started.job_id}/?files=lines").text

    assert page.index(">c.py</th>") < page.index(">b.py</th>")
    assert "Measured and ranked" not in page


def test_a_failed_run_shows_its_traceback(client, started):
    body(started).update(state=FAILURE, traceback="Traceback ...\nValueError: it <broke>")

    page = client.get(f"/runs/{started.job_id}/").text

    assert "This run failed" in page
    assert "ValueError: it &lt;broke&gt;" in page


def test_a_run_whose_rows_were_pruned_says_so(client, started):
    Job.objects.all().delete()

    assert "too old to show" in client.get(f"/runs/{started.job_id}/").text
    assert client.get(f"/runs/{started.job_id}/progress/").json()["ended"]
    assert "forgotten" in client.get("/").text
