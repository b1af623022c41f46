"""The tutorial's pages, while no dispatcher is running."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client, override_settings

from dask_facade.job_manager import list_jobs

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.demo.tutorial_urls")]


@pytest.fixture(scope="module", autouse=True)
def tutorial_app() -> Iterator[None]:
    installed = [*settings.INSTALLED_APPS, "django.contrib.humanize", "codebase", "tutorial"]
    with override_settings(INSTALLED_APPS=installed):
        yield


@pytest.fixture
def visitor(client: Client) -> Client:
    client.force_login(User.objects.create_user("visitor"))
    return client


def test_there_is_a_button_for_each_kind_of_job_and_a_link_to_all(visitor: Client) -> None:
    page = visitor.get("/tutorial/").text

    for label in ("Delayed Job", "Distributed Job", "Multiple Leaf Jobs"):
        assert f">Dask {label}</button>" in page
    assert '<a href="/tutorial/jobs/">Show All Jobs</a>' in page


def test_every_page_links_the_tutorial(visitor: Client) -> None:
    assert '<a href="/tutorial/">Named jobs</a>' in visitor.get("/tutorial/error/").text


@pytest.mark.parametrize("job_type", ["delayed", "distributed", "multiple-leaf"])
def test_where_the_scheduler_is_away_an_error_page_says_so(visitor: Client, job_type: str) -> None:
    response = visitor.post(f"/tutorial/run/{job_type}/", follow=True)

    assert response.redirect_chain == [("/tutorial/error/", 302)]
    assert "does not answer" in response.text
    assert not list_jobs()


def test_nothing_starts_on_get_or_without_the_forms_token(visitor: Client) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(User.objects.get())

    assert visitor.get("/tutorial/run/delayed/").status_code == 405
    assert strict.post("/tutorial/run/delayed/").status_code == 403
    assert visitor.post("/tutorial/run/other/").status_code == 404


@pytest.mark.parametrize("path", ["", "jobs/", "error/"])
def test_who_has_not_logged_in_is_asked_to(client: Client, path: str) -> None:
    response = client.get(f"/tutorial/{path}")

    assert response["Location"] == f"/tutorial/login/?next=/tutorial/{path}"


def test_who_is_no_staff_logs_in_too(client: Client) -> None:
    User.objects.create_user("bob", password="secret")

    page = client.get("/tutorial/login/?next=/tutorial/jobs/")
    response = client.post(
        "/tutorial/login/", {"username": "bob", "password": "secret", "next": "/tutorial/jobs/"}
    )

    assert "Log in</button>" in page.text
    assert response["Location"] == "/tutorial/jobs/"


def test_the_table_of_all_jobs_is_there(visitor: Client) -> None:
    page = visitor.get("/tutorial/jobs/").text

    assert "There are no jobs." in page
    assert 'id="dask-jobs"' in page
