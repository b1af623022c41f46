"""Moments on clocks that are set: what lies where in a time zone, and how far away it is."""

from __future__ import annotations

import os
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
LOCALTIME = Path("/etc/localtime")

_UNITS = (("day", 86_400.0), ("hour", 3_600.0), ("minute", 60.0), ("second", 1.0))


def zone_named(zone: str | tzinfo | None) -> tzinfo:
    """Return the time zone of a name, a zone as it is, and that of this machine for None."""
    if zone is None:
        return local_zone()
    return ZoneInfo(zone) if isinstance(zone, str) else zone


@cache
def local_zone() -> tzinfo:
    """Return the time zone of this machine: what TZ or /etc/localtime says, else UTC."""
    named = os.environ.get("TZ", "").removeprefix(":")
    linked = str(LOCALTIME.resolve()).partition("zoneinfo/")[2]
    for name in (named, linked):
        try:
            return ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            continue
    try:
        with LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (ValueError, OSError):
        return UTC


def is_naive(moment: datetime) -> bool:
    """Tell whether a moment says no time zone."""
    return moment.utcoffset() is None


def in_zone(moment: datetime, zone: tzinfo) -> datetime:
    """Read what a clock shows in *zone*: the first time that it does, and after a gap if never."""
    shown = moment.replace(tzinfo=zone, fold=0)
    return next(occurrences(shown), shown.astimezone(UTC)).astimezone(zone)


def aware(
    moment: datetime, zone: str | tzinfo | None = None, *, naive_as_utc: bool = True
) -> datetime:
    """Return a moment that says its time zone, as it is.

    One that says none is of UTC, and told in *zone* (None: UTC); or, without *naive_as_utc*, of
    *zone*.
    """
    if not is_naive(moment):
        return moment
    place = UTC if zone is None else zone_named(zone)
    if naive_as_utc:
        return moment.replace(tzinfo=UTC).astimezone(place)
    return in_zone(moment, place)


def elapsed(start: datetime, end: datetime) -> timedelta:
    """Return the time that passes from *start* to *end*, whatever clocks show; naive is UTC."""
    return aware(end).astimezone(UTC) - aware(start).astimezone(UTC)


def occurrences(shown: datetime) -> Iterator[datetime]:
    """Yield when, in UTC, the clock of its zone shows this: twice when that is set back.

    What it skips when it is set forward counts as the moment as far behind the gap.
    """
    yielded: datetime | None = None
    for fold in (0, 1):
        moment = shown.replace(fold=fold).astimezone(UTC)
        clock = moment.astimezone(shown.tzinfo).replace(tzinfo=None)
        if clock == shown.replace(tzinfo=None) and moment != yielded:
            yielded = moment
            yield moment
    if yielded is None:
        before = (shown - DAY).utcoffset()
        if before is not None:
            yield shown.replace(tzinfo=UTC) - before


def after(start: datetime, interval: timedelta) -> datetime:
    """Return when *interval* has passed since *start*, in the zone of that."""
    return (start.astimezone(UTC) + interval).astimezone(start.tzinfo)


def boundary_after(start: datetime, interval: timedelta) -> datetime:
    """Return, in UTC, the round moment at which a rounded *interval* from *start* is over.

    Days end at midnights of the calendar. Else it is the last full hour (of an interval of an hour
    or more), minute, or second that the clock shows up to when *interval* has passed; where it
    shows none since *start*, as it is being set, the next one.
    """
    if interval >= DAY:
        return _midnight_after(start, interval)
    begin, end = start.astimezone(UTC), start.astimezone(UTC) + interval
    if interval < MINUTE:
        return end.replace(microsecond=0)
    unit = HOUR if interval >= HOUR else MINUTE
    ending = end.astimezone(start.tzinfo)
    if start.utcoffset() == ending.utcoffset():
        return end - _past(ending, unit)
    passed = [each for each in _boundaries(start, ending, interval, unit) if each > begin]
    return max((each for each in passed if each <= end), default=min(passed, default=end))


def _midnight_after(start: datetime, interval: timedelta) -> datetime:
    shown = start + interval
    midnight = shown.replace(hour=0, minute=0, second=0, microsecond=0)
    begin = start.astimezone(UTC)
    return min(
        (each for each in occurrences(midnight) if each > begin), default=shown.astimezone(UTC)
    )


def _past(moment: datetime, unit: timedelta) -> timedelta:
    """Return how long ago the clock showed a full *unit*."""
    minutes = moment.minute if unit is HOUR else 0
    return timedelta(minutes=minutes, seconds=moment.second, microseconds=moment.microsecond)


def _boundaries(
    start: datetime, ending: datetime, interval: timedelta, unit: timedelta
) -> Iterator[datetime]:
    """Yield all full units that the clock may show while *interval* passes, and the one after."""
    first, last = sorted((start.replace(tzinfo=None), ending.replace(tzinfo=None)))
    shown = first - _past(first, unit)
    last = max(last, start.replace(tzinfo=None) + interval) + unit
    while shown <= last:
        yield from occurrences(shown.replace(tzinfo=start.tzinfo))
        shown += unit


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """Return a number of seconds for people to read, as in "2.00 hours"."""
    seconds = round(float(secs), 2)
    for unit, length in _UNITS:
        if seconds >= length:
            count = f"{seconds / length:.2f}"
            return f"{prefix}{sep}{count} {unit}{'' if count == '1.00' else 's'}"
    if microseconds and seconds > 0:
        return f"{prefix}{sep}{seconds:.2f} seconds"
    return now


@dataclass(frozen=True)
class ffwd:
    """A change of fields to be added to a date: ``moment + ffwd(hour=9, minute=0)``.

    Days beyond the month are its last one. *weekday* (Monday is 0) goes on to the next such day,
    *weeks* that many further.
    """

    year: int | None = None
    month: int | None = None
    weeks: int = 0
    weekday: int | None = None
    day: int | None = None
    hour: int | None = None
    minute: int | None = None
    second: int | None = None
    microsecond: int | None = None

    @property
    def days(self) -> int:
        """The weeks in days."""
        return 7 * self.weeks

    def __radd__(self, other: Any) -> Any:
        if not isinstance(other, date):
            return NotImplemented
        fields = self._fields()
        year, month = self.year or other.year, self.month or other.month
        fields["day"] = min(self.day or other.day, monthrange(year, month)[1])
        moved = other.replace(**{**fields, "year": year, "month": month})
        days = self.days
        if self.weekday is not None:
            days += (self.weekday - moved.weekday()) % 7
        return moved + timedelta(days=days)

    def _fields(self) -> dict[str, Any]:
        names = ("year", "month", "day", "hour", "minute", "second", "microsecond")
        said = {name: getattr(self, name) for name in names}
        return {name: value for name, value in said.items() if value is not None}
