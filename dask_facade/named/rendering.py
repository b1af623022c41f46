"""Tables of named jobs as templates show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.http import urlencode

from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.jobs_table import JobsTable, Row, may_steer, page_of, visible_to
from dask_facade.named.actions import PAGES
from dask_facade.named.statuses import state_of
from dask_facade.serialization import preview


@dataclass(frozen=True, slots=True)
class Routes:
    """Where the pages of a table are, and what they extend with which context."""

    act: str
    page: str
    base: str
    context: Callable[[HttpRequest], Mapping[str, Any]] = lambda request: {}


SITE = Routes("dask_facade_jobs:act", "dask_facade_jobs:page", "dask_facade/jobs/base.html")
ADMIN = Routes(
    "admin:dask_facade_daskjob_act",
    "admin:dask_facade_daskjob_page",
    "admin/dask_facade/daskjob/base.html",
)


def context_of(
    table: JobsTable, request: HttpRequest, routes: Routes, columns: Sequence[str]
) -> dict[str, Any]:
    """Return what the template of a table needs, for who asks.

    Raises ImproperlyConfigured where its pages have no addresses.
    """
    sort = request.GET.get(f"{table.name}-sort", table.sort)
    if not table.is_sorted_by(sort.removeprefix("-"), columns):
        sort = table.sort
    number = _number(request.GET.get(f"{table.name}-page", ""))
    page = page_of(visible_to(request.user), sort, number, table.page_size)
    now = timezone.now()
    return {
        "table": table,
        "headers": [_header(table, column, sort, request) for column in columns],
        "rows": [
            {
                "id": row.job.pk,
                "cells": [_cell(column, row.value(column, now)) for column in columns],
                "steps": list(_steps(table, row, request, routes)),
            }
            for row in page.rows
        ],
        "here": request.get_full_path(),
        "number": page.number,
        "older": "" if page.is_last else _page_link(table, request, page.number + 1),
        "newer": "" if page.number == 1 else _page_link(table, request, page.number - 1),
    }


def _number(asked: str) -> int:
    """Return the number of the page that was asked for, 1 where none was."""
    return max(1, int(asked)) if asked.isdecimal() and len(asked) < 9 else 1


def _page_link(table: JobsTable, request: HttpRequest, number: int) -> str:
    return _link(request, {f"{table.name}-page": str(number)})


def _header(table: JobsTable, column: str, sort: str, request: HttpRequest) -> dict[str, str]:
    is_sorted = sort.removeprefix("-") == column
    falls = sort.startswith("-")
    turned = f"-{column}" if is_sorted and not falls else column
    return {
        "label": column.rpartition(".")[2].replace("_", " ").capitalize(),
        "link": _link(request, {f"{table.name}-sort": turned}),
        "order": "" if not is_sorted else "descending" if falls else "ascending",
    }


def _link(request: HttpRequest, changes: dict[str, str]) -> str:
    return f"?{urlencode({**request.GET.dict(), **changes})}"


def _steps(
    table: JobsTable, row: Row, request: HttpRequest, routes: Routes
) -> Iterator[dict[str, Any]]:
    steers = may_steer(request.user, row.job)
    for name, action in table.all_actions.items():
        changes = action.callback is not None
        if changes and not steers:
            continue
        enabled = action.is_enabled(row.job, row.standing.kind)
        link = ""
        if enabled and not changes:
            link = action.address(row.job)
            if name in PAGES:
                here = urlencode({"next": request.get_full_path()})
                link = f"{address_of(routes.page, table.name, row.job.pk, name)}?{here}"
        yield {
            "label": action.label,
            "enabled": enabled,
            "link": link,
            "address": address_of(routes.act, table.name, row.job.pk, name) if changes else "",
        }


def address_of(route: str, table: str, pk: int, name: str) -> str:
    """Return the address of a page about a job; raise ImproperlyConfigured where it has none."""
    try:
        return reverse(route, args=[table, pk, name])
    except NoReverseMatch as error:
        raise ImproperlyConfigured(
            "a table of jobs needs its addresses: add "
            'path("jobs/", include("dask_facade.named.urls")) to the URLconf'
        ) from error


def _cell(column: str, value: Any) -> dict[str, Any]:
    badge = badge_of(value) if column == "status" else ""
    return {
        "text": _text(value),
        "badge": badge,
        "is_time": isinstance(value, datetime | timedelta),
    }


def badge_of(status: str) -> str:
    """Return what a status is painted as: Celery's state of it."""
    return state_of(status).lower()


def _text(value: Any) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return date_format(timezone.localtime(value), "Y-m-d H:i:s")
        case timedelta():
            return _duration(value.total_seconds())
        case dict() | list():
            return preview(value)  # which masks secrets
    return str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
