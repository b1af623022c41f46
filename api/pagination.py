"""Pages of jobs by position: nothing is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param
from rest_framework.views import APIView

from dask_facade.api.filters import states_in
from dask_facade.models import Job
from dask_facade.pages import Position, newer, older, position_of

USUAL = 50
MOST = 200
OLDER = "before"
NEWER = "after"


class JobPages(BasePagination):
    """``?limit=``, ``?before=`` and ``?after=``: pages of jobs, newest first."""

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        """Return the page of *queryset* that is asked for."""
        limit = _limit(request)
        before, after = _position(request, OLDER), _position(request, NEWER)
        states = states_in(request)
        if after is not None:
            found = newer(queryset, states, limit + 1, after)
            page = found[-limit:]
            newest, oldest = len(found) <= limit, False
        else:
            found = older(queryset, states, limit + 1, before)
            page = found[:limit]
            newest, oldest = before is None, len(found) <= limit
        self._previous = _link(request, page, NEWER, 0) if page and not newest else None
        self._next = _link(request, page, OLDER, -1) if page and not oldest else None
        return page

    def get_paginated_response(self, data: Any) -> Response:
        """Return a page with the addresses of those beside it."""
        return Response({"next": self._next, "previous": self._previous, "results": data})


def _limit(request: Request) -> int:
    text = request.query_params.get("limit", str(USUAL))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:6]) <= MOST):
        raise ValidationError({"limit": [f"Say a number from 1 to {MOST}."]})
    return int(text)


def _position(request: Request, name: str) -> Position | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        return Position.read(text)
    except ValueError as error:
        raise ValidationError({name: [str(error)]}) from error


def _link(request: Request, page: Sequence[Job], name: str, index: int) -> str:
    url = request.build_absolute_uri()
    for each in (OLDER, NEWER):
        url = remove_query_param(url, each)
    return replace_query_param(url, name, str(position_of(page[index])))
