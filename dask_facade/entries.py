"""Entries of a schedule: a task, its arguments, and when it is due."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from dask_facade.schedules import maybe_schedule
from dask_facade.schedules.interval import schedstate

ONCE, SKIP = "once", "skip"
_EDITABLE = ("task", "schedule", "args", "kwargs", "options")


class BeatLazyFunc:
    """An argument that is made anew for each run: what *func* returns when the entry is due."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        """Return the argument."""
        return self._func(*self._args, **self._kwargs)

    delay = __call__


class ScheduleEntry:
    """One of the entries that a scheduler has; its next run is another one.

    *last_run_at* is now unless it is said. Two are equal that call the same at the same times.
    """

    name: Any = None
    task: Any = None
    schedule: Any = None
    args: Any = None
    kwargs: Any = None
    options: Any = None
    last_run_at: Any = None
    total_run_count: int = 0

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Iterable[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        app: Any = None,
    ) -> None:
        self.app = app
        self.name = name
        self.task = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0

    def default_now(self) -> Any:
        """Return the time, as the schedule tells it."""
        return self.schedule.now() if self.schedule is not None else self.app.now()

    _default_now = default_now

    def _next_instance(self, last_run_at: datetime | None = None) -> Any:
        """Return the entry as it is after a run."""
        fields = dict(self)
        fields["last_run_at"] = last_run_at or self.default_now()
        fields["total_run_count"] = self.total_run_count + 1
        return type(self)(**fields)

    __next__ = next = _next_instance

    def update(self, other: Any) -> None:
        """Take task, schedule, arguments and options from another entry."""
        for field in _EDITABLE:
            setattr(self, field, getattr(other, field))

    def is_due(self) -> schedstate:
        """Tell whether it is due now, and in how many seconds to ask again."""
        state: schedstate = self.schedule.is_due(self.last_run_at)
        return state

    def editable_fields_equal(self, other: Any) -> bool:
        """Tell whether another entry calls the same at the same times."""
        return all(getattr(self, field) == getattr(other, field) for field in _EDITABLE)

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleEntry) and self.editable_fields_equal(other)

    def __lt__(self, other: object) -> bool:
        """Order by anything: a heap asks it of entries that are due at the same time."""
        return id(self) < id(other) if isinstance(other, ScheduleEntry) else NotImplemented

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (
            self.name,
            self.task,
            self.last_run_at,
            self.total_run_count,
            self.schedule,
            self.args,
            self.kwargs,
            self.options,
        )

    def __repr__(self) -> str:
        given = [repr(each) for each in self.args or ()]
        given += [f"{name}={value!r}" for name, value in (self.kwargs or {}).items()]
        call = f"{self.task}({', '.join(given)})"
        return f"<{type(self).__name__}: {self.name} {call} {self.schedule!r}>"


class LedgerEntry(ScheduleEntry):
    """An entry whose last run is kept in the ledger.

    *missed* says what becomes of the times at which no scheduler ran: they are made up for "once"
    (all of them by one run), or the next time is awaited ("skip").
    """

    def __init__(self, *args: Any, missed: str = ONCE, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if missed not in (ONCE, SKIP):
            raise ValueError(f"missed is {ONCE!r} or {SKIP!r}, not {missed!r}")
        self.missed = missed


def arguments(entry: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a run of *entry*."""
    args = [_evaluated(each) for each in entry.args or ()]
    return args, {name: _evaluated(each) for name, each in (entry.kwargs or {}).items()}


def options(entry: Any) -> dict[str, Any]:
    """Return the options of a run of *entry*; a header tells that it is one."""
    said = dict(entry.options or {})
    said["headers"] = {**(said.get("headers") or {}), "celery_beat_task": True}
    return said


def _evaluated(argument: Any) -> Any:
    return argument() if isinstance(argument, BeatLazyFunc) else argument
