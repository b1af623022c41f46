"""The runs for programs: a view of our own that answers with a job."""

from __future__ import annotations

from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from codebase.files import library_directories, python_files
from codebase.runs import start_run
from dask_facade.api.views import JobResponseMixin


class StartRun(JobResponseMixin, APIView):
    """``POST /api/runs/``: start the main job, and say where to ask for it."""

    permission_classes = (IsAuthenticated,)

    def post(self, request: Request) -> Response:
        """Answer 202 with the address of the main job, which is the user's."""
        result = start_run(python_files(library_directories()), owner=request.user)
        return self.job_response(result)
