"""A site with pages that have tables of jobs."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template import RequestContext, Template
from django.urls import include, path

from dask_facade.jobs_table import Action, JobsTable, register
from dask_facade.models import DaskJob

called: list[str] = []


def _archive(request: HttpRequest, job: DaskJob) -> str:
    called.append(job.name)
    return f"{job.name} is archived"


def _answer(request: HttpRequest, job: DaskJob) -> HttpResponse:
    return HttpResponse(f"about {job.name}")


register(
    JobsTable(
        "models",
        columns=("name", "extended_properties.model.version", "owner"),
        actions=(
            "stop",
            Action(
                "Archive it",
                _archive,
                enabled_callback=lambda job: not job.name.startswith("fresh"),
                confirmation="Into the cellar with it?",
            ),
            Action("Answer", _answer),
            Action("Model", url=lambda job: f"/models/{job.pk}/"),
        ),
        sort="name",
        page_size=3,
        refresh=0,
    )
)


register(
    JobsTable(
        "asking",
        actions=(
            Action("Publish", _archive, enabled_callback=lambda job: job.status == "Complete"),
            Action("Broken", _archive, enabled_callback=lambda job: 1 / 0),
            Action("Lost", url=lambda job: 1 / 0),
        ),
    )
)


def page(request: HttpRequest, **said: Any) -> HttpResponse:
    code = request.GET.get("code", '{% jobs_table "models" %}')
    shown = Template("{% load dask_jobs %}{% for each in messages %}{{ each }}{% endfor %}" + code)
    return HttpResponse(shown.render(RequestContext(request, {})))


def with_messages(request: HttpRequest) -> HttpResponse:
    from django.contrib.messages import get_messages

    return HttpResponse(" ".join(str(each) for each in get_messages(request)))


urlpatterns = [
    path("page/", page),
    path("said/", with_messages),
    path("jobs/", include("dask_facade.named.urls")),
    path("admin/", admin.site.urls),
]
