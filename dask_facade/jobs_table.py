"""Tables of named jobs for any page: their columns, their order, and what can be done."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import F
from django.db.models.fields.json import KeyTransform
from django.db.models.functions import Lower
from django.utils import timezone

from dask_facade.models import DaskJob
from dask_facade.named.actions import ACTIONS, PAGES, Action
from dask_facade.named.models import DaskJobs
from dask_facade.named.reading import OWN, alias, standings
from dask_facade.named.standing import Standing

__all__ = ["ACTIONS", "Action", "JobsTable", "register", "table_named"]

MOST = 1_000  # of the newest jobs that are put in an order which the ledger tells
VIEW = "dask_facade.view_daskjob"
CHANGE = "dask_facade.change_daskjob"
OF_STANDING = ("status", "status_message", "start_time", "completion_time", "run_time")
OF_WORDS = ("name", "description", "label", "owner", "key")
OF_ROW = ("id", *OF_WORDS, "creation_time", "execute_time", "scheduler", "forget")
NULLABLE = ("execute_time", "scheduler")
PROPERTIES = "extended_properties"
DEFAULT_COLUMNS = ("id", "name", "status", "status_message", "creation_time", "run_time")


@dataclass(frozen=True, slots=True)
class JobsTable:
    """What a table shows, by the name that a page gives it.

    *columns* are fields of jobs; "extended_properties.a.b" is what stands there. *actions* are
    names of those that there are, or own ones. *sort* is a column, with "-" before it for the
    other way round; in the order of "status" and others that the ledger tells, the newest 1,000
    jobs are shown. With *refresh* it is read anew every so many seconds where scripts may run.
    """

    name: str
    columns: Sequence[str] = DEFAULT_COLUMNS
    actions: Sequence[str | Action] = tuple(ACTIONS)
    sort: str = "-id"
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

    def is_sorted_by(self, column: str, shown: Sequence[str]) -> bool:
        """Tell whether who sees the columns *shown* may put it in the order of a column.

        A property that is not shown orders nothing.
        """
        if column.startswith(f"{PROPERTIES}."):
            return column in shown or column == self.sort.removeprefix("-")
        return is_column(column)


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
    known = (*OF_STANDING, *OF_ROW, PROPERTIES)
    return column in known or column.startswith(f"{PROPERTIES}.")


def visible_to(user: Any) -> DaskJobs:
    """Return the jobs that *user* may see: their own; staff, and with the permission, all."""
    jobs = DaskJob.objects.using(alias()).slim()
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
    """A job in a table, whose standing is noted."""

    job: DaskJob

    @property
    def standing(self) -> Standing:
        """Where the job stood when the table was read."""
        return self.job.standing

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


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a table."""

    rows: Sequence[Row]
    number: int
    is_last: bool


def page_of(jobs: DaskJobs, sort: str, number: int, size: int) -> Page:
    """Return a page of jobs in the order of a column, or the last page where there are fewer.

    Pages have *size* rows and are counted from 1.
    """
    is_told = sort.removeprefix("-") in OF_STANDING
    rows_of = _rows_by_standing if is_told else _rows_by_row
    rows = rows_of(jobs, sort, size * (number - 1), size * number + 1)  # one more tells of the next
    if number > 1 and not rows:
        count = min(jobs.count(), MOST) if is_told else jobs.count()
        return page_of(jobs, sort, max(1, math.ceil(count / size)), size)
    return Page(rows[:size], number, len(rows) <= size)


def _rows_by_row(jobs: DaskJobs, sort: str, start: int, stop: int) -> list[Row]:
    """Return some of the rows of a table in the order of what jobs' own rows say."""
    column = sort.removeprefix("-")
    value = _in_database(column)
    nulls_last = True if column in NULLABLE or column.startswith(PROPERTIES) else None
    order = (value.desc if sort.startswith("-") else value.asc)(nulls_last=nulls_last)
    found = list(jobs.select_related("scheduler").order_by(order, "-pk")[start:stop])
    return _noted(found, standings(found))


def _in_database(column: str) -> Any:
    """Return what the database orders by: words without regard to case."""
    if column in OF_WORDS:
        return Lower(column)
    if column == "scheduler":
        return Lower("scheduler__name")
    names = column.split(".")
    value: Any = F(names[0])
    for name in names[1:]:
        value = KeyTransform(name, value)
    return value


def _rows_by_standing(jobs: DaskJobs, sort: str, start: int, stop: int) -> list[Row]:
    """Return some of the rows of a table in the order of what the ledger tells of the newest."""
    newest = list(jobs.only(*OWN).order_by("-pk")[:MOST])
    where, now = standings(newest), timezone.now()
    values = {row.job.pk: row.value(sort.removeprefix("-"), now) for row in _noted(newest, where)}
    said = [pk for pk, value in values.items() if value is not None]
    said.sort(key=lambda pk: _place(values[pk]), reverse=sort.startswith("-"))
    chosen = (said + [pk for pk, value in values.items() if value is None])[start:stop]
    found = jobs.select_related("scheduler").in_bulk(chosen)
    return _noted([found[pk] for pk in chosen if pk in found], where)


def _noted(jobs: Sequence[DaskJob], where: Mapping[Any, Standing]) -> list[Row]:
    """Return rows of jobs that know where they stand."""
    for job in jobs:
        job.noted = where[job.pk]
    return [Row(job) for job in jobs]


def _place(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


register(JobsTable("jobs"))
