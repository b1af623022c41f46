"""Addresses: the pages of the demo, the dashboard in the admin, the REST API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from codebase.endpoints import StartRun

urlpatterns = [
    path("", include("codebase.urls")),
    path("tutorial/", include("tutorial.urls")),
    path("jobs/", include("dask_facade.named.urls")),
    path("admin/", admin.site.urls),
    path("api/runs/", StartRun.as_view(), name="start-run"),
    path("api/", include("dask_facade.api.urls")),
]
