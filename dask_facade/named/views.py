"""The pages of tables of named jobs. What changes something is a POST with Django's token."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_POST, require_safe

from dask_facade.exceptions import DaskFacadeError
from dask_facade.jobs_table import JobsTable, may_steer, table_named, visible_to
from dask_facade.models import DaskJob
from dask_facade.named.actions import LOGS, PAGES, Action
from dask_facade.named.reading import logs_of, preview_of
from dask_facade.named.rendering import Routes, address_of, badge_of

View = Callable[..., HttpResponse]


def _about_a_job(view: View) -> View:
    """Let only those in who may see the job; for all others there is none."""

    @functools.wraps(view)
    def checked(
        request: HttpRequest, table: str, pk: int, name: str, routes: Routes
    ) -> HttpResponse:
        if not request.user.is_authenticated:
            raise PermissionDenied("log in to see jobs")
        try:
            found = table_named(table)
        except LookupError as error:
            raise Http404(str(error)) from error
        job = visible_to(request.user).select_related("scheduler").filter(pk=pk).first()
        if job is None or name not in found.all_actions:
            raise Http404("there is no such job, or nothing like that can be done about it")
        return view(request, found, job, name, routes)

    return checked


@require_POST
@csrf_protect
@_about_a_job
def act(
    request: HttpRequest, table: JobsTable, job: DaskJob, name: str, routes: Routes
) -> HttpResponse:
    """Do something about a job, and go back; ask before where the action says so."""
    action = table.all_actions[name]
    if action.callback is None:
        raise Http404(f"{action.label} is a page")
    if not may_steer(request.user, job):
        raise PermissionDenied("it is another one's job")
    standing = job.standing
    back = _back(request)
    if not action.is_enabled(job, standing.kind):
        words = f"{job.name} is {standing.status}: nothing was done."
        return _told(request, back, messages.WARNING, words)
    if action.confirmation and "confirmed" not in request.POST:
        address = address_of(routes.act, table.name, job.pk, name)
        context = _about(request, job, action=action, routes=routes)
        context |= {"action": action, "address": address}
        return render(request, "dask_facade/jobs/confirm.html", context)
    try:
        said = action.callback(request, job)
    except DaskFacadeError as error:
        return _told(request, back, messages.ERROR, str(error))
    if isinstance(said, HttpResponse):
        return said
    return _told(request, back, messages.SUCCESS, str(said or f"{action.label}: {job.name}"))


@never_cache
@require_safe
@_about_a_job
def page(
    request: HttpRequest, table: JobsTable, job: DaskJob, name: str, routes: Routes
) -> HttpResponse:
    """Show the logs of a job, or a preview of its result."""
    if name not in PAGES:
        raise Http404(f"{name} is no page")
    texts = logs_of(job) if name == LOGS else {"Result": preview_of(job)}
    standing = job.standing
    context = _about(request, job, action=table.all_actions[name], routes=routes)
    context |= {
        "badge": badge_of(standing.status),
        "standing": standing,
        "texts": texts.items(),
    }
    return render(request, "dask_facade/jobs/page.html", context)


def _about(request: HttpRequest, job: DaskJob, *, action: Action, routes: Routes) -> dict[str, Any]:
    """Return what every page about a job needs."""
    given = {"back": _back(request), "base": routes.base, "job": job, "title": action.label}
    return {**routes.context(request), **given}


def _told(request: HttpRequest, back: str, level: int, words: str) -> HttpResponse:
    messages.add_message(request, level, words, fail_silently=True)
    return HttpResponseRedirect(back)


def _back(request: HttpRequest) -> str:
    """Return the page with the table, if it is one of this site's."""
    asked = request.POST.get("next") or request.GET.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(
        asked, {request.get_host()}, require_https=request.is_secure()
    )
    return asked if is_ours else "/"
