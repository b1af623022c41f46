"""JobResponseMixin, in a view of a site."""

from __future__ import annotations

import pytest
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from dask_facade import AsyncResult
from dask_facade.api.views import JobResponseMixin
from dask_facade.states import PENDING, SUCCESS

pytestmark = pytest.mark.django_db


def answer(id):
    class View(JobResponseMixin, APIView):
        authentication_classes = ()
        permission_classes = ()

        def post(self, request):
            return self.job_response(AsyncResult(id))

    return View.as_view()(APIRequestFactory().post("/orders/"))


def test_a_view_answers_with_its_job(job):
    job("a/b", SUCCESS, queue="slow")

    response = answer("a/b")

    assert response.status_code == 202
    assert response["Location"] == "http://testserver/api/jobs/a%252Fb/"
    assert (response.data["id"], response.data["queue"]) == ("a/b", "slow")


def test_a_row_that_is_written_at_the_commit_is_not_waited_for():
    response = answer("later")

    assert response.status_code == 202
    assert response["Location"] == "http://testserver/api/jobs/later/"
    assert (response.data["id"], response.data["state"]) == ("later", PENDING)
