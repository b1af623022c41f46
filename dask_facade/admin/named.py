"""Named jobs and schedulers in the admin."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from dask_facade.admin.readonly import ReadOnlyAdmin
from dask_facade.models import DaskJob, DaskScheduler
from dask_facade.named.rendering import ADMIN
from dask_facade.named.views import act, page


@admin.register(DaskScheduler)
class DaskSchedulerAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    """The schedulers that jobs name."""

    list_display = ("name", "host", "timeout", "heartbeat_interval", "dashboard")
    search_fields = ("name", "host")


@admin.register(DaskJob)
class DaskJobAdmin(ReadOnlyAdmin):
    """The table of named jobs."""

    def get_urls(self) -> list[URLPattern]:
        """Add the pages of the table."""
        at = {"routes": replace(ADMIN, context=self.admin_site.each_context)}
        view = self.admin_site.admin_view
        return [
            path("<str:table>/<int:pk>/<str:name>/act/", view(act), at,
                 name="dask_facade_daskjob_act"),
            path("<str:table>/<int:pk>/<str:name>/page/", view(page), at,
                 name="dask_facade_daskjob_page"),
            path("", view(self.changelist_view), name="dask_facade_daskjob_changelist"),
        ]  # fmt: skip

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the table."""
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Named jobs",
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/dask_facade/daskjob/change_list.html", context)
