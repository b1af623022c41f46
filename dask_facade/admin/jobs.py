"""Jobs: looked at, revoked and tried again; never edited."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString, mark_safe

from dask_facade import current
from dask_facade.admin.listing import FILTERS, JobList, begins_with
from dask_facade.admin.readonly import ReadOnlyAdmin
from dask_facade.jobs import REOPEN, REVOKE
from dask_facade.models import Edge, Job
from dask_facade.states import FAILURE, REVOKED, UNREADY_STATES

UNREAD = ("payload", "options", "errbacks", "result", "meta")
SHOWN = 20  # of a job's relations
REOPENABLE = frozenset({FAILURE, REVOKED})


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """The list of jobs, and a page for each."""

    actions = ("revoke", "terminate", "retry")
    list_display = (
        "short_id",
        "task",
        "coloured_state",
        "queue",
        "owner",
        "worker",
        "created",
        "run_time",
    )
    list_display_links = ("short_id",)
    list_filter = FILTERS
    list_per_page = 50
    search_fields = ("id", "task")
    search_help_text = "The beginning of an id, or of a task's name."
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False
    sortable_by = ()

    fieldsets = (
        (None, {"fields": ("id", "task", "coloured_state", "arguments", "outcome", "traceback")}),
        (
            "Times",
            {"fields": ("created", "eta", "expires", "claimed", "started", "finished", "run_time")},
        ),
        (
            "Relations",
            {"fields": ("parent", "root", "group", "children", "waits_for", "waited_for_by")},
        ),
        (
            "Details",
            {
                "fields": (
                    ("queue", "priority"),
                    ("owner", "worker"),
                    ("attempt", "hand", "lost"),
                    ("acks_late", "ignore_result", "graph"),
                    ("key", "size"),
                )
            },
        ),
    )
    readonly_fields = (
        "coloured_state",
        "outcome",
        "run_time",
        "parent",
        "root",
        "group",
        "children",
        "waits_for",
        "waited_for_by",
    )

    class Media:
        css = {"all": ("dask_facade/admin.css",)}

    # Who may what

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Jobs are seen with the permission to view or to change them."""
        return super().has_view_permission(request, obj) or self.has_steer_permission(request)

    def has_steer_permission(self, request: HttpRequest) -> bool:
        """Jobs are revoked and tried again with the permission to change them."""
        return request.user.has_perm("dask_facade.change_job")

    # The list

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        """Return the jobs without what is stored for workers."""
        return super().get_queryset(request).defer(*UNREAD)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[JobList]:
        """Return the list that pages by position."""
        return JobList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the jobs that begin with the term, each once."""
        term = search_term.strip()
        return (begins_with(queryset, term) if term else queryset), False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and whether anybody sees to it."""
        context = {"nobody_leads": _nobody_leads(), **(extra_context or {})}
        return super().changelist_view(request, context)

    @admin.display(description="id", ordering="created")
    def short_id(self, job: Job) -> SafeString:
        """Show the end of an id: time-ordered ones begin alike."""
        short = job.id if len(job.id) <= 12 else f"…{job.id[-8:]}"
        return format_html('<code title="{}">{}</code>', job.id, short)

    @admin.display(description="state")
    def coloured_state(self, job: Job) -> SafeString:
        """Show the state, with the one that the task says itself."""
        own = "" if not job.said or job.state not in UNREADY_STATES else f" · {job.said}"
        return format_html("{}{}", _badge(job.state), own)

    @admin.display(description="run time")
    def run_time(self, job: Job) -> str | None:
        """Show how long it ran."""
        return None if job.runtime is None else _duration(job.runtime)

    # A job

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show a job, with what can be done about it."""
        job = self.get_object(request, unquote(object_id))
        steps = [] if job is None or not self.has_steer_permission(request) else _steps(job)
        context = {"steps": steps, "title": "Job", **(extra_context or {})}
        return super().change_view(request, object_id, form_url, context)

    @admin.display(description="result")
    def outcome(self, job: Job) -> str:
        """Show a preview of what the task returned or raised."""
        return job.result_preview or ""

    @admin.display(description="submitted by")
    def parent(self, job: Job) -> SafeString | None:
        """Link the job that submitted it."""
        return _link(job.parent_id) if job.parent_id else None

    @admin.display(description="first of all")
    def root(self, job: Job) -> SafeString | None:
        """Link the job at the root of its tree."""
        return _link(job.root_id) if job.root_id != job.id else None

    @admin.display(description="group")
    def group(self, job: Job) -> SafeString | None:
        """Link the list of its group."""
        return _listed({"group_id__exact": job.group_id}, job.group_id) if job.group_id else None

    @admin.display(description="submitted")
    def children(self, job: Job) -> SafeString | None:
        """Link the jobs that it submitted."""
        found = list(_brief().filter(parent_id=job.id).order_by("created", "id")[: SHOWN + 1])
        return _links(found, {"parent_id__exact": job.id})

    @admin.display(description="waits for")
    def waits_for(self, job: Job) -> SafeString | None:
        """Link the jobs whose ends it needs."""
        edges = Edge.objects.filter(child_id=job.id).order_by("position")
        return _links(_jobs_of(edges.values_list("parent_id", flat=True)[: SHOWN + 1]))

    @admin.display(description="needed by")
    def waited_for_by(self, job: Job) -> SafeString | None:
        """Link the jobs that need its end."""
        edges = Edge.objects.filter(parent_id=job.id).order_by("id")
        return _links(_jobs_of(edges.values_list("child_id", flat=True)[: SHOWN + 1]))

    # Actions

    @admin.action(description="Revoke the selected jobs that wait", permissions=["steer"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Ask the dispatcher to revoke jobs."""
        return self._ask(request, queryset, UNREADY_STATES, REVOKE, {"terminate": False})

    @admin.action(
        description="Revoke the selected jobs, also while they run", permissions=["steer"]
    )
    def terminate(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Ask the dispatcher to revoke jobs, and to end those that run."""
        return self._ask(request, queryset, UNREADY_STATES, REVOKE, {"terminate": True})

    @admin.action(description="Try the selected jobs again", permissions=["steer"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse | None:
        """Ask the dispatcher to run jobs again that failed or were revoked."""
        return self._ask(request, queryset, REOPENABLE, REOPEN, {})

    def _ask(
        self,
        request: HttpRequest,
        queryset: QuerySet[Job],
        states: Collection[str],
        kind: str,
        arguments: Mapping[str, object],
    ) -> HttpResponse | None:
        site = current.site()
        chosen = list(queryset)
        jobs = [job for job in chosen if job.state in states]
        with transaction.atomic(using=queryset.db):
            site.store.request(kind, [job.id for job in jobs], arguments)
            site.store.on_commit(site.client.nudge)
        if jobs:
            words = f"Asked to {kind}{' at once' if arguments.get('terminate') else ''}."
            LogEntry.objects.log_actions(str(request.user.pk), jobs, CHANGE, words)
            messages.success(request, f"The dispatcher is asked to {kind} {_count(jobs)}.")
        if left := len(chosen) - len(jobs):
            messages.warning(request, f"{left} of those selected are in another state by now.")
        if _nobody_leads():
            messages.warning(request, "It will do so when it runs: none does at present.")
        if "_from_job" in request.POST and len(chosen) == 1:
            return HttpResponseRedirect(_address(chosen[0].id))
        return None


def _nobody_leads() -> bool:
    lease = current.site().store.lease()
    return lease is None or not lease.holder


def _steps(job: Job) -> list[tuple[str, str]]:
    """Return the actions that mean something in the job's state, with their labels."""
    if job.state in UNREADY_STATES:
        return [("revoke", "Revoke"), ("terminate", "Terminate")]
    return [("retry", "Retry")] if job.state in REOPENABLE else []


def _badge(state: str) -> SafeString:
    return format_html('<span class="dask-state dask-state-{}">{}</span>', state.lower(), state)


def _address(id: str) -> str:
    return reverse("admin:dask_facade_job_change", args=[quote(id)])


def _link(id: str) -> SafeString:
    return format_html('<a href="{}">{}</a>', _address(id), id)


def _listed(filters: Mapping[str, str], label: str) -> SafeString:
    address = f"{reverse('admin:dask_facade_job_changelist')}?{urlencode(filters)}"
    return format_html('<a href="{}">{}</a>', address, label)


def _brief() -> QuerySet[Job]:
    return Job.objects.only("id", "task", "state", "created")


def _jobs_of(ids: Iterable[str]) -> list[Job]:
    """Return the jobs that have these ids, in their order."""
    wanted = list(ids)
    found = _brief().in_bulk(wanted)
    return [found[id] for id in wanted if id in found]


def _links(jobs: list[Job], filters: Mapping[str, str] | None = None) -> SafeString | None:
    """Return links to the first of *jobs*, and one to the list of all where *filters* make it."""
    if not jobs:
        return None
    rows = format_html_join(
        mark_safe("\n"),
        '<li>{} <a href="{}">{}</a> {}</li>',
        ((_badge(job.state), _address(job.id), job.id, job.task) for job in jobs[:SHOWN]),
    )
    more: str = "" if len(jobs) <= SHOWN else "and more"
    if more and filters:
        more = _listed(filters, "all of them")
    return format_html(
        '<ul class="dask-jobs">{}{}</ul>', rows, more and format_html("<li>{}</li>", more)
    )


def _count(jobs: list[Job]) -> str:
    return "1 job" if len(jobs) == 1 else f"{len(jobs)} jobs"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
