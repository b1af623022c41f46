"""Addresses: the pages of the demo, the dashboard in the admin, the REST API."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("codebase.urls")),
    path("admin/", admin.site.urls),
]
