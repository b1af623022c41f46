"""Addresses of the pages of tables of named jobs."""

from __future__ import annotations

from django.urls import path

from dask_facade.named.rendering import SITE
from dask_facade.named.views import act, page

app_name = "dask_facade_jobs"

urlpatterns = [
    path("<str:table>/<int:pk>/<str:name>/", act, {"routes": SITE}, name="act"),
    path("<str:table>/<int:pk>/<str:name>/page/", page, {"routes": SITE}, name="page"),
]
