"""The list of jobs: a page at a time, whatever the size of the table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib.admin import ListFilter, SimpleListFilter
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from dask_facade.models import Job
from dask_facade.pages import Position, newer, older, position_of
from dask_facade.states import ALL_STATES

OLDER = "before"
NEWER = "after"
STATE = "state__exact"


class JobList(ChangeList):
    """Pages by position: nothing is counted or skipped."""

    older_link: str | None = None
    newer_link: str | None = None
    newest_link: str | None = None

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """Return all jobs that the filters and the search let through."""
        for name in (OLDER, NEWER):  # no filters; and a filter's link leads to the newest
            self.params.pop(name, None)
            self.filter_params.pop(name, None)
        return super().get_queryset(request, exclude_parameters)

    def get_results(self, request: HttpRequest) -> None:
        """Read the page that is asked for."""
        states = self.filter_params.get(STATE, ALL_STATES)
        before, after = _position(request, OLDER), _position(request, NEWER)
        size = self.list_per_page
        if after is not None:
            found = newer(self.queryset, states, size + 1, after)
            page = found[-size:]
            first, last = len(found) <= size, False
        else:
            found = older(self.queryset, states, size + 1, before)
            page = found[:size]
            first, last = before is None, len(found) <= size
        if not first:
            self.newest_link = self.get_query_string()
            self.newer_link = self._link(NEWER, page[0]) if page else None
        if not last and page:
            self.older_link = self._link(OLDER, page[-1])
        self.result_list = page
        self.result_count = len(page)
        self.full_result_count = None
        self.show_full_result_count = False
        self.show_admin_actions = bool(page)
        self.can_show_all = self.multi_page = False
        self.paginator = Paginator(page, size)

    def _link(self, name: str, job: Job) -> str:
        return self.get_query_string({name: str(position_of(job))})


def _position(request: HttpRequest, name: str) -> Position | None:
    text = request.GET.get(name)
    if text is None:
        return None
    try:
        return Position.read(text)
    except ValueError as error:
        raise IncorrectLookupParameters(str(error)) from error


class QueueFilter(SimpleListFilter):
    """A field to write a queue's name in: to list the names there are would read all rows."""

    title = "queue"
    parameter_name = "queue"
    template = "admin/dask_facade/job/queue_filter.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        """Return no choices."""
        return []

    def has_output(self) -> bool:
        """Show the field."""
        return True

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """Yield what the form needs: the other parameters of the address."""
        others = changelist.get_filters_params()
        others.pop(self.parameter_name, None)
        yield {
            "clear": changelist.get_query_string(remove=[self.parameter_name]),
            "others": [(name, value) for name, values in others.items() for value in values],
            "value": self.value() or "",
        }

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the jobs of the queue."""
        return queryset.filter(queue=self.value()) if self.value() else queryset


FILTERS: tuple[str | type[ListFilter], ...] = ("state", QueueFilter)


def begins_with(queryset: QuerySet[Any], words: str) -> QuerySet[Any]:
    """Return the jobs whose id begins with *words*; if there are none, whose task's name does.

    As ranges, which the primary key serves in every database.
    """
    end = words + "\U0010ffff"
    by_id = queryset.filter(id__gte=words, id__lt=end)
    return by_id if by_id.exists() else queryset.filter(task__startswith=words)
