"""Addresses: ``path("api/", include("dask_facade.api.urls"))``."""

from __future__ import annotations

import re
from urllib.parse import unquote

from django.urls import path, register_converter

from dask_facade.api import views

app_name = "dask_facade_api"


class JobIdConverter:
    """An id in an address: any string.

    Servers undo one encoding of an address before it gets here, and then a slash of the id looks
    like one between its parts. So addresses made here are encoded twice in that place; ones that
    were encoded once are understood, too.
    """

    regex = "(?s:.+?)"

    def to_python(self, value: str) -> str:
        """Return the id."""
        return unquote(value)

    def to_url(self, value: str) -> str:
        """Return *value* without a slash; what is a way through folders is none any more."""
        escaped = value.replace("%", "%25").replace("/", "%2F")
        return re.sub(r"\.", "%2E", escaped) if set(value) == {"."} else escaped


register_converter(JobIdConverter, "job_id")

urlpatterns = [
    path("jobs/", views.JobList.as_view(), name="jobs"),
    path("jobs/<job_id:id>/result/", views.JobResult.as_view(), name="result"),
    path("jobs/<job_id:id>/cancel/", views.JobCancel.as_view(), name="cancel"),
    path("jobs/<job_id:id>/", views.JobDetail.as_view(), name="job"),
]
