"""Views: submit, list, look at and cancel jobs."""

from __future__ import annotations

import hashlib
import json
from http import HTTPStatus
from typing import Any

from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.cache import get_conditional_response, patch_cache_control
from rest_framework.generics import GenericAPIView
from rest_framework.permissions import IsAuthenticated
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer

from dask_facade import current
from dask_facade.api.filters import JobFilter
from dask_facade.api.pagination import JobPages
from dask_facade.api.parsers import BoundedJSONParser
from dask_facade.api.permissions import MaySteer, visible_to
from dask_facade.api.problems import (
    MEDIA_TYPE,
    Failed,
    Finished,
    TaskNotFound,
    WrongArguments,
    answer_problem,
)
from dask_facade.api.serializers import (
    CancelSerializer,
    JobSerializer,
    SubmissionSerializer,
    job_url,
    read_json,
)
from dask_facade.jobs import REVOKE
from dask_facade.models import Job
from dask_facade.registry import tasks
from dask_facade.result import AsyncResult
from dask_facade.states import PENDING, READY_STATES, REVOKED, SUCCESS

SOON = 1  # seconds until it is worth to look again
LATEST = 60
UNREAD = ("payload", "options", "errbacks", "result", "traceback")


class JobResponseMixin:
    """Lets a view answer with a job that it has submitted."""

    request: Any

    def job_response(self, result: AsyncResult) -> Response:
        """Return 202 with the job of *result*: where it is, and when to look again."""
        job = Job.objects.defer(*UNREAD).filter(pk=result.id).first()
        # On a database of its own, the row is written when the caller's transaction commits.
        return _accepted(job or Job(id=result.id, state=PENDING), self.request)


class JobView(GenericAPIView[Job]):
    """What our views have in common.

    Authentication and throttles are those of the site's settings, and so are permissions, besides
    which a user must be logged in.
    """

    filter_backends: tuple[Any, ...] = ()
    lookup_field = "id"
    parser_classes = (BoundedJSONParser,)
    serializer_class: type[BaseSerializer[Any]] | None = JobSerializer

    def get_queryset(self) -> Any:
        """Return the jobs that the user may see."""
        return visible_to(self.request.user).defer(*UNREAD)

    def get_permissions(self) -> list[Any]:
        """Return the site's permissions, behind ours."""
        return [IsAuthenticated(), *super().get_permissions()]

    def get_exception_handler(self) -> Any:
        """Return what makes problems of errors."""
        return answer_problem

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Name the type of a problem that goes out as JSON."""
        response = super().finalize_response(request, response, *args, **kwargs)
        problem = getattr(response, "exception", False)
        if problem and isinstance(response.accepted_renderer, JSONRenderer):
            response.content_type = MEDIA_TYPE
        patch_cache_control(response, private=True, no_cache=True)
        return response


class JobList(JobResponseMixin, JobView):
    """``jobs/``"""

    filter_backends = (JobFilter,)
    pagination_class = JobPages

    def get(self, request: Request) -> Response:
        """List jobs, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def post(self, request: Request) -> Response:
        """Submit a job of a task that is exposed."""
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        said = asked.validated_data
        task = _exposed(said["task"])
        try:
            task.check_arguments(said["args"], said["kwargs"])
        except TypeError as error:
            raise WrongArguments(str(error)) from error
        result = task.apply_async(
            said["args"], said["kwargs"], user=request.user, **said["options"]
        )
        return self.job_response(result)

    def get_serializer_class(self) -> type[BaseSerializer[Any]]:
        """Return what reads a body, or writes a page."""
        return SubmissionSerializer if self.request.method == "POST" else JobSerializer


class JobDetail(JobView):
    """``jobs/{id}/``"""

    def get(self, request: Request, id: str) -> HttpResponseBase:
        """Show one job; 304 to whom has it as it is."""
        job = get_object_or_404(self.get_queryset(), pk=id)
        response = Response(JobSerializer(job, context={"request": request}).data)
        seen = hashlib.sha256(json.dumps(response.data, default=str).encode()).hexdigest()[:32]
        response["ETag"] = f'W/"{seen}"'
        if job.state not in READY_STATES:
            response["Retry-After"] = _look_again(job)
        not_modified = get_conditional_response(request._request, response["ETag"], None, response)
        return not_modified or response


class JobResult(JobView):
    """``jobs/{id}/result/``"""

    def get_queryset(self) -> Any:
        """Return the jobs that the user may see, with their results."""
        return visible_to(self.request.user).only("id", "state", "eta", "result", "result_preview")

    def get(self, request: Request, id: str) -> Response:
        """Show what the task returned: the value where JSON says it, else a preview."""
        job = get_object_or_404(self.get_queryset(), pk=id)
        if job.state not in READY_STATES:
            response = Response({"id": job.id, "state": job.state}, HTTPStatus.ACCEPTED)
            response["Retry-After"] = _look_again(job)
            return response
        if job.state != SUCCESS:
            raise Failed(job.result_preview or "The job was revoked.", _code(job))
        value, told = (None, False) if job.result is None else read_json(bytes(job.result))
        return Response(
            {
                "id": job.id,
                "state": job.state,
                "result": value,
                "preview": None if told else job.result_preview,
            }
        )


class JobCancel(JobView):
    """``jobs/{id}/cancel/``"""

    serializer_class = CancelSerializer

    def get_permissions(self) -> list[Any]:
        """Return the permissions of all views, and who may steer."""
        return [*super().get_permissions(), MaySteer()]

    def post(self, request: Request, id: str) -> Response:
        """Ask the dispatcher to revoke a job that has not ended."""
        asked = self.get_serializer(data=request.data)
        asked.is_valid(raise_exception=True)
        job = get_object_or_404(self.get_queryset(), pk=id)
        self.check_object_permissions(request, job)
        if job.state in READY_STATES - {REVOKED}:
            raise Finished
        if job.state != REVOKED:
            site = current.site()
            site.store.request(REVOKE, [job.id], asked.validated_data)
            site.store.on_commit(site.client.nudge)
        return _accepted(job, request)


def _exposed(name: str) -> Any:
    """Return a task that may be called over HTTP; raise TaskNotFound.

    Nothing is imported because of its name.
    """
    task = tasks.known(name) if name in tasks else None
    if getattr(task, "expose", False) is not True:
        raise TaskNotFound(name)
    return task


def _accepted(job: Job, request: Request) -> Response:
    response = Response(JobSerializer(job, context={"request": request}).data, HTTPStatus.ACCEPTED)
    response["Location"] = job_url(job.id, request)
    response["Retry-After"] = _look_again(job)
    return response


def _look_again(job: Job) -> str:
    """Return in how many seconds there may be something new."""
    wait = 0.0 if job.eta is None else (job.eta - timezone.now()).total_seconds()
    return str(int(min(max(wait, SOON), LATEST)))


def _code(job: Job) -> str:
    return "job_revoked" if job.state == REVOKED else "job_failed"
