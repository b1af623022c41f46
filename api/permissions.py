"""Who may see and steer which jobs."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from dask_facade.models import Job

VIEW = "dask_facade.view_job"
CHANGE = "dask_facade.change_job"


def owner_of(user: Any) -> str:
    """Return what the jobs of *user* have as their owner."""
    return str(user.pk)


def visible_to(user: Any) -> QuerySet[Job]:
    """Return the jobs that *user* may see: their own, or with the permission all."""
    jobs = Job.objects.all()
    return jobs if user.has_perm(VIEW) else jobs.filter(owner=owner_of(user))


class MaySteer(BasePermission):
    """Own jobs may be steered, others with the permission."""

    def has_object_permission(self, request: Request, view: APIView, obj: Any) -> bool:
        """Tell whether the job *obj* may be steered."""
        return obj.owner == owner_of(request.user) or request.user.has_perm(CHANGE)
