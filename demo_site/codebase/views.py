"""The pages: all runs, one run, and its progress as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from codebase.charts import bar_chart
from codebase.files import library_directories, python_files
from codebase.models import Run
from codebase.ranking import Ranking
from codebase.records import read_ranking
from codebase.runs import FORGOTTEN, progress_of, ranking_of, seconds_of, start_run, states_of
from codebase.tables import tables_of
from dask_facade import AsyncResult
from dask_facade.states import READY_STATES, SUCCESS

SHOWN_RUNS = 20
BARS = 20
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@never_cache
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Show the runs, the latest first, and the button that starts one."""
    runs = list(Run.objects.all()[:SHOWN_RUNS])
    states = states_of(runs)
    return page(request, "home.html", {"runs": [(run, states[run.job_id]) for run in runs]})


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Start the main job, unless the latest one is still at work; go to its page."""
    latest = Run.objects.first()
    if latest and states_of([latest])[latest.job_id] not in READY_STATES | {FORGOTTEN}:
        return redirect(latest)
    result = start_run(python_files(library_directories()))
    return redirect("run", result.id)


@never_cache
@require_GET
def run(request: HttpRequest, job_id: str) -> HttpResponse:
    """Show one run: its progress, its ranking, or why there is none."""
    found = get_object_or_404(Run, job_id=job_id)
    progress = progress_of(found, now=timezone.now())
    context = {"run": found, "progress": progress}
    if not progress.ended:
        return page(request, "running.html", context)
    if progress.state == FORGOTTEN:
        return page(request, "forgotten.html", context)
    if progress.state != SUCCESS:
        return page(request, "failed.html", {**context, "result": AsyncResult(job_id)})
    record = ranking_of(found)
    if record is None:
        return page(request, "forgotten.html", context)
    ranking = read_ranking(record)
    context |= {"seconds": seconds_of(found), **shown(ranking, request.GET)}
    return page(request, "done.html", context)


@never_cache
@require_GET
def progress(request: HttpRequest, job_id: str) -> JsonResponse:
    """Answer how far the run has come."""
    found = get_object_or_404(Run, job_id=job_id)
    current = progress_of(found, now=timezone.now())
    return JsonResponse({**asdict(current), "ended": current.ended})


def shown(ranking: Ranking, query: Mapping[str, str]) -> dict[str, Any]:
    """Return what the page of a finished run shows."""
    return {
        "ranking": ranking,
        "tables": tables_of(ranking, query),
        "hardest": max(ranking.files, key=lambda row: row.worst, default=None),
        "charts": [
            bar_chart(
                "files",
                f"The {len(ranking.files[:BARS])} most complex files",
                [(row.name, row.complexity) for row in ranking.files[:BARS]],
            ),
            bar_chart(
                "packages",
                f"The {len(ranking.packages[:BARS])} most complex packages",
                [(row.name, row.complexity) for row in ranking.packages[:BARS]],
            ),
        ],
    }


def page(request: HttpRequest, template: str, context: Mapping[str, Any]) -> HttpResponse:
    """Render a page that may load nothing but this site's own files."""
    response = render(request, f"codebase/{template}", dict(context))
    response["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    return response
