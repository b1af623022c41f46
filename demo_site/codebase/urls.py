"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path

from codebase import views

urlpatterns = [
    path("", views.home, name="home"),
    path("runs/", views.start, name="start"),
    path("runs/<str:job_id>/", views.run, name="run"),
    path("runs/<str:job_id>/progress/", views.progress, name="progress"),
]
