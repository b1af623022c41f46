"""Addresses of the tutorial."""

from __future__ import annotations

from django.contrib.auth.views import LoginView
from django.urls import path, register_converter

from tutorial import views


class JobType:
    """One of the three kinds of jobs, in an address."""

    regex = "|".join(views.BUTTONS)

    def to_python(self, value: str) -> str:
        """Return it as it is."""
        return value

    to_url = to_python


register_converter(JobType, "job_type")

app_name = "tutorial"

urlpatterns = [
    path("", views.home, name="home"),
    path("run/<job_type:job_type>/", views.run_job, name="run_job"),
    path("jobs/", views.jobs_table, name="jobs_table"),
    path("login/", LoginView.as_view(template_name="tutorial/login.html"), name="login"),
    path("error/", views.error_message, name="error_message"),
]
