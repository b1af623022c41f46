"""Which of the jobs are listed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.filters import BaseFilterBackend
from rest_framework.request import Request
from rest_framework.views import APIView

from dask_facade.states import ALL_STATES

FIELDS = {
    "task": "task",
    "queue": "queue",
    "group": "group_id",
    "root": "root_id",
    "parent": "parent_id",
    "owner": "owner",
}
"""Name in the address -> field."""


def states_in(request: Request) -> Collection[str]:
    """Return the states that are asked for, all if none is; raise ValidationError."""
    asked = set(request.query_params.getlist("state"))
    if unknown := sorted(asked - ALL_STATES):
        known = ", ".join(sorted(ALL_STATES))
        raise ValidationError({"state": [f"There is no state {unknown[0]!r}; there are {known}."]})
    return asked or ALL_STATES


class JobFilter(BaseFilterBackend):
    """Filters by exact values; of a name that is repeated, any value counts.

    The states are left to the pages, which read each of them by itself.
    """

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: APIView
    ) -> QuerySet[Any]:
        """Return the jobs that are asked for."""
        jobs = queryset
        for name, field in FIELDS.items():
            asked = request.query_params.getlist(name)
            if any("\x00" in value for value in asked):
                raise ValidationError({name: ["Null characters are not allowed."]})
            if asked:
                jobs = jobs.filter(**{f"{field}__in": asked})
        return jobs
