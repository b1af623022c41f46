"""The pages: three buttons that start jobs, the table of jobs, and what is shown on an error."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST

from dask_facade import job_manager
from dask_facade.schedulers import DaskJobException, get_or_create_scheduler
from tutorial import job_functions

SCHEDULER = "dask_primary"
BUTTONS = {
    "delayed": "Dask Delayed Job",
    "distributed": "Dask Distributed Job",
    "multiple-leaf": "Dask Multiple Leaf Jobs",
}

logged_in = login_required(login_url="tutorial:login")


@logged_in
@require_GET
def home(request: HttpRequest) -> HttpResponse:
    """Show the buttons."""
    return render(request, "tutorial/home.html", {"buttons": BUTTONS.items()})


@logged_in
@require_POST
def run_job(request: HttpRequest, job_type: str) -> HttpResponse:
    """Start a job, and show the table; where the cluster is away, say so."""
    try:
        start(job_type, request.user)
    except DaskJobException:
        return redirect("tutorial:error_message")
    return redirect("tutorial:jobs_table")


def start(job_type: str, user: object) -> None:
    """Start one of the three kinds of jobs; raise DaskJobException where the cluster is away."""
    primary = get_or_create_scheduler(SCHEDULER)  # without a host: the dispatcher's
    client = primary.client
    if job_type == "delayed":
        job = job_manager.create_job("dask_delayed", user, "DASK", scheduler=primary)
        job.execute(job_functions.delayed_job())
    elif job_type == "distributed":
        job = job_manager.create_job("dask_distributed", user, "DASK", scheduler=primary)
        job.process_results_function = job_functions.convert_to_dollar_sign
        job.execute(job_functions.distributed_job(client))
    else:
        job = job_manager.create_job("dask_leaf", user, "DASK", scheduler=primary)
        job.execute(job_functions.multiple_leaf_job(client))


@never_cache
@logged_in
@require_GET
def jobs_table(request: HttpRequest) -> HttpResponse:
    """Show the jobs of who looks."""
    return render(request, "tutorial/jobs.html")


@logged_in
@require_GET
def error_message(request: HttpRequest) -> HttpResponse:
    """Say that the cluster is away."""
    return render(request, "tutorial/error_message.html")
