"""Tables of named jobs for any page: their columns, their order, and what can be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q
from django.utils import timezone

from dask_facade.models import DaskJob
from dask_facade.named.actions import ACTIONS, PAGES, Action
from dask_facade.named.models import DaskJobs
from dask_facade.named.reading import alias, standings
from dask_facade.named.standing import Standing

__all__ = ["ACTIONS", "Action", "JobsTable", "register", "table_named"]

MOST = 1_000  # of the newest jobs that a table looks at
VIEW = "dask_facade.view_daskjob"
CHANGE = "dask_facade.change_daskjob"
OF_STANDING = ("status", "status_message", "start_time", "completion_time")
OF_ROW = ("id", "name", "description", "label", "owner", "creation_time", "execute_time", "key",
          "scheduler", "forget")  # fmt: skip
PROPERTIES = "extended_properties"
DEFAULT_COLUMNS = ("id", "name", "status", "status_message", "creation_time", "run_time")


@dataclass(frozen=True, slots=True)
class JobsTable:
    """What a table shows, by the name that a page gives it.

    *columns* are fields of jobs; "extended_properties.a.b" is what stands there. *actions* are
    names of those that there are, or own ones. *sort* is a column, with "-" before it for the
    other way round. With *refresh* it is read anew every so many seconds where scripts may run.
    """

    name: str
    columns: Sequence[str] = DEFAULT_COLUMNS
    actions: Sequence[str | Action] = tuple(ACTIONS)
    sort: str = "-creation_time"
    page_size: int = 25
    refresh: int = 10

    def __post_init__(self) -> None:
        for column in (*self.columns, self.sort.removeprefix("-")):
            if not is_column(column):
                raise ValueError(f"jobs have no column {column!r}")
        for each in self.actions:
            if isinstance(each, str) and each not in ACTIONS:
                raise ValueError(f"{each!r} is none of the actions {', '.join(ACTIONS)}")
        own = [each.key for each in self.actions if isinstance(each, Action)]
        taken = [*PAGES, *(each for each in self.actions if isinstance(each, str))]
        for key in own:
            if not key or "/" in key or [*taken, *own].count(key) > 1:
                raise ValueError(f"{key!r} cannot be the name of an action here: give it another")

    @property
    def all_actions(self) -> Mapping[str, Action]:
        """Its actions by name."""
        actions = [ACTIONS[each] if isinstance(each, str) else each for each in self.actions]
        return {each.key: each for each in actions}


_tables: dict[str, JobsTable] = {}


def register(table: JobsTable) -> JobsTable:
    """Let pages show *table* by its name; done at import, in each process that serves them."""
    _tables[table.name] = table
    return table


def table_named(name: str) -> JobsTable:
    """Return a table; raise LookupError where none has this name."""
    if name not in _tables:
        raise LookupError(f"no table of jobs is registered as {name!r}")
    return _tables[name]


def is_column(column: str) -> bool:
    """Tell whether jobs have such a column."""
    known = (*OF_STANDING, *OF_ROW, "run_time", PROPERTIES)
    return column in known or column.startswith(f"{PROPERTIES}.")


def visible_to(user: Any) -> DaskJobs:
    """Return the jobs that *user* may see: their own; staff, and with the permission, all."""
    graph = ExpressionWrapper(Q(work__isnull=False), output_field=BooleanField())
    jobs = DaskJob.objects.using(alias()).defer("work").annotate(has_graph=graph)
    if not user.is_authenticated:
        return jobs.none()
    if user.is_staff or user.has_perm(VIEW):
        return jobs
    return jobs.owned_by(user)


def may_steer(user: Any, job: DaskJob) -> bool:
    """Tell whether *user* may do something about a job: their own; staff, with permission, all."""
    return job.owner == str(user.pk) or user.is_staff or user.has_perm(CHANGE)


@dataclass(frozen=True, slots=True)
class Row:
    """A job in a table."""

    job: DaskJob
    standing: Standing

    def value(self, column: str, now: datetime) -> Any:
        """Return what stands in a column; None where nothing does."""
        if column == "run_time":
            return self.standing.run_time(now)
        if column == "status_message":
            return self.standing.message or None
        if column in OF_STANDING:
            return getattr(self.standing, column)
        if not column.startswith(f"{PROPERTIES}."):
            return getattr(self.job, column)
        value: Any = self.job.extended_properties
        for name in column.split(".")[1:]:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value


def rows_of(jobs: DaskJobs, sort: str) -> list[Row]:
    """Return the newest of *jobs*, ordered by a column."""
    newest = list(jobs.select_related("scheduler").order_by("-id")[:MOST])
    where, now = standings(newest), timezone.now()
    rows = [Row(job, where[job.pk]) for job in newest]
    column = sort.removeprefix("-")
    said = [row for row in rows if row.value(column, now) is not None]
    unsaid = [row for row in rows if row.value(column, now) is None]
    said.sort(key=lambda row: _place(row.value(column, now)), reverse=sort.startswith("-"))
    return said + unsaid


def _place(value: Any) -> tuple[int, Any]:
    """Return what orders values of any types: numbers first, then times, then words."""
    if isinstance(value, int | float):
        return 0, value
    if isinstance(value, timedelta):
        return 0, value.total_seconds()
    return (1, value) if isinstance(value, datetime) else (2, str(value).lower())


register(JobsTable("jobs"))
