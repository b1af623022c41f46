"""The demo's addresses, without its app, which would take the place of the tests' own."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("codebase.urls")),
    path("tutorial/", include("tutorial.urls")),
    path("jobs/", include("dask_facade.named.urls")),
    path("admin/", admin.site.urls),
]
