"""Schedules as cron has them, on the clock of a time zone."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from dask_facade.schedules.cronspec import Cronspec, expanded
from dask_facade.schedules.interval import BaseSchedule, schedstate
from dask_facade.times import DAY, MINUTE, elapsed, ffwd, zone_named

_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # days of the months
_YEARS = 400  # after which the calendar is the same again


class crontab(BaseSchedule):
    """Due at the minutes whose five fields all match; see `crontab_parser` for what they may be.

    Sunday is day 0 of the week. Times that the clock skips when it is set forward are due as much
    later; when it is set back, hours are not gone through twice, unless all of them match.
    Raises ValueError for a day that no month has.
    """

    def __init__(
        self,
        minute: Cronspec | None = "*",
        hour: Cronspec | None = "*",
        day_of_week: Cronspec | None = "*",
        day_of_month: Cronspec | None = "*",
        month_of_year: Cronspec | None = "*",
        **kwargs: Any,
    ) -> None:
        self._orig_minute = _said(minute)
        self._orig_hour = _said(hour)
        self._orig_day_of_week = _said(day_of_week)
        self._orig_day_of_month = _said(day_of_month)
        self._orig_month_of_year = _said(month_of_year)
        self._orig_kwargs = kwargs
        self.minute = self._expand_cronspec(self._orig_minute, 60)
        self.hour = self._expand_cronspec(self._orig_hour, 24)
        self.day_of_week = self._expand_cronspec(self._orig_day_of_week, 7)
        self.day_of_month = self._expand_cronspec(self._orig_day_of_month, 31, 1)
        self.month_of_year = self._expand_cronspec(self._orig_month_of_year, 12, 1)
        longest = max((_LONGEST[month - 1] for month in self.month_of_year), default=0)
        if min(self.day_of_month, default=32) > longest:
            raise ValueError(
                f"a crontab on day {day_of_month!r} of month {month_of_year!r} never occurs"
            )
        super().__init__(**kwargs)

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """Return that of a line as cron has it: minute, hour, day, month, day of the week."""
        fields = crontab.split()
        if len(fields) != 5:
            raise ValueError(f"a crontab has five fields, {crontab!r} has {len(fields)}")
        minute, hour, day, month, weekday = fields
        return cls(minute, hour, weekday, day, month)

    @staticmethod
    def _expand_cronspec(cronspec: Cronspec, max_: int, min_: int = 0) -> set[int]:
        return expanded(cronspec, max_, min_)

    def remaining_delta(
        self, last_run_at: datetime, tz: str | tzinfo | None = None, ffwd: Any = ffwd
    ) -> tuple[datetime, Any, datetime]:
        """Return the last run, what to add to it for the next one, and now, in the schedule's zone.

        Raises RuntimeError where there is no next one.
        """
        zone = zone_named(tz or self.tz)
        last = self.maybe_make_aware(last_run_at).astimezone(zone)
        now = self.maybe_make_aware(self.now()).astimezone(zone)
        fields: dict[str, int] = {"second": 0, "microsecond": 0}
        today = self._matches(last.date())
        minute = min((each for each in self.minute if each > last.minute), default=None)
        hour = min((each for each in self.hour if each > last.hour), default=None)
        if today and last.hour in self.hour and minute is not None:
            return last, ffwd(minute=minute, **fields), now
        fields["minute"] = min(self.minute)
        if today and hour is not None:
            return last, ffwd(hour=hour, **fields), now
        day = next(self._days_after(last.date()), None)
        if day is None:
            raise RuntimeError(f"{self!r} is never due again: no day matches it")
        fields["hour"] = min(self.hour)
        return last, ffwd(year=day.year, month=day.month, day=day.day, **fields), now

    def remaining_estimate(self, last_run_at: datetime, ffwd: Any = ffwd) -> timedelta:
        """Return the time until it is due; negative where that is over."""
        last, delta, now = self.remaining_delta(last_run_at, ffwd=ffwd)
        return elapsed(now, self._due(last, last + delta))

    def due_after(self, last_run_at: datetime) -> datetime:
        """Return when it is due after a run."""
        last, delta, _ = self.remaining_delta(last_run_at)
        return self._due(last, last + delta)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Tell whether it is due now, and when to ask again.

        With ``beat_cron_starting_deadline`` it is not where the latest run that it missed is longer
        ago than so many seconds.
        """
        left = self.remaining_estimate(last_run_at).total_seconds()
        if left > 0:
            return schedstate(False, left)
        deadline = self.app.conf.beat_cron_starting_deadline
        due = left == 0 or deadline is None or self._has_run_since(deadline)
        return schedstate(due, max(self.remaining_estimate(self.now()).total_seconds(), 0.0))

    def _has_run_since(self, seconds: float) -> bool:
        """Tell whether it was due in the last *seconds*, or that long ago."""
        now = self.maybe_make_aware(self.now())
        just_before = now.astimezone(UTC) - timedelta(seconds=seconds, microseconds=1)
        return self.remaining_estimate(just_before.astimezone(now.tzinfo)) <= timedelta(0)

    def _matches(self, day: date) -> bool:
        return (
            day.month in self.month_of_year
            and day.day in self.day_of_month
            and day.isoweekday() % 7 in self.day_of_week
        )

    def _days_after(self, last: date) -> Iterator[date]:
        """Yield the matching days after *last*, as long as the calendar is new."""
        months, numbers = sorted(self.month_of_year), sorted(self.day_of_month)
        for year in range(last.year, min(last.year + _YEARS, date.max.year) + 1):
            for month in months:
                if (year, month) < (last.year, last.month):
                    continue
                length = monthrange(year, month)[1]
                for number in numbers:
                    if number > length:
                        break
                    day = date(year, month, number)
                    if day > last and day.isoweekday() % 7 in self.day_of_week:
                        yield day

    def _due(self, last: datetime, shown: datetime) -> datetime:
        """Return when the clock shows what is due next after *last*.

        Where it was set back in between, minutes of an hour that comes twice are due twice, but not
        where hours are picked: a daily job runs once.
        """
        end = shown.astimezone(UTC)
        if shown.utcoffset() == last.utcoffset() or len(self.hour) < 24:
            return end
        moment = last.astimezone(UTC).replace(second=0, microsecond=0) + MINUTE
        while moment < end and end - moment < DAY:
            local = moment.astimezone(last.tzinfo)
            if local.minute in self.minute and self._matches(local.date()):
                return moment
            moment += MINUTE
        return end

    def __repr__(self) -> str:
        fields = (
            f"{self._orig_minute} {self._orig_hour} {self._orig_day_of_month}"
            f" {self._orig_month_of_year} {self._orig_day_of_week}"
        )
        return f"<crontab: {fields} (m/h/dM/MY/d)>"

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (
            self._orig_minute,
            self._orig_hour,
            self._orig_day_of_week,
            self._orig_day_of_month,
            self._orig_month_of_year,
        )
        kwargs = {name: value for name, value in self._orig_kwargs.items() if name != "app"}
        return type(self), fields, kwargs

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._orig_kwargs = dict(state)
        super().__init__(**state)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, crontab):
            return NotImplemented
        return self._fields() == other._fields() and super().__eq__(other)

    def _fields(self) -> tuple[set[int], ...]:
        return self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year


def _said(field: Cronspec | None) -> Cronspec:
    return "*" if field is None else field
