"""Celery's functions about times and time zones."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from dask_facade.schedules.cronspec import DAYS, MONTHS
from dask_facade.times import (
    DAY,
    HOUR,
    MINUTE,
    after,
    aware,
    boundary_after,
    elapsed,
    ffwd,
    humanize_seconds,
    in_zone,
    is_naive,
    local_zone,
    zone_named,
)

__all__ = [
    "add_seconds_to_datetime",
    "delta_resolution",
    "ffwd",
    "get_exponential_backoff_interval",
    "humanize_seconds",
    "is_naive",
    "localize",
    "make_aware",
    "maybe_iso8601",
    "maybe_make_aware",
    "maybe_timedelta",
    "rate",
    "remaining",
    "subtract_datetimes",
    "timezone",
    "to_utc",
    "weekday",
    "yearmonth",
]

_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}

make_aware = in_zone


class _Zones:
    """Time zones by name: ``timezone.utc``, ``timezone.get_timezone("Europe/Paris")``."""

    @property
    def utc(self) -> tzinfo:
        """UTC."""
        return ZoneInfo("UTC")

    @property
    def local(self) -> tzinfo:
        """The time zone of this machine."""
        return local_zone()

    def get_timezone(self, zone: str | tzinfo) -> tzinfo:
        """Return the zone of a name, and a zone as it is."""
        return zone_named(zone)

    def tz_or_local(self, tzinfo: str | tzinfo | None = None) -> tzinfo:
        """Return a zone, that of this machine for None."""
        return zone_named(tzinfo)

    def to_local(
        self, dt: datetime, local: str | tzinfo | None = None, orig: tzinfo | None = None
    ) -> datetime:
        """Return *dt* in the zone *local*; without a zone it is of *orig*, or UTC."""
        known = in_zone(dt, orig or UTC) if is_naive(dt) else dt
        return known.astimezone(zone_named(local))

    def to_system(self, dt: datetime) -> datetime:
        """Return *dt* in the zone of this machine."""
        return dt.astimezone()

    def to_local_fallback(self, dt: datetime) -> datetime:
        """Return *dt* in the zone of this machine, of which it is where it says none."""
        return in_zone(dt, self.local) if is_naive(dt) else dt.astimezone(self.local)


timezone = _Zones()


def maybe_timedelta(delta: Any) -> Any:
    """Return a number as that many seconds; all else as it is."""
    return timedelta(seconds=delta) if isinstance(delta, int | float) else delta


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """Return *dt* rounded down to days, hours or minutes, whichever *delta* is at least one of."""
    if delta < MINUTE:
        return dt
    rounded = dt.replace(second=0, microsecond=0)
    if delta >= HOUR:
        rounded = rounded.replace(minute=0)
    return rounded.replace(hour=0) if delta >= DAY else rounded


def remaining(
    start: datetime, ends_in: Any, now: datetime | None = None, relative: bool = False
) -> timedelta:
    """Return the time from *now* to the end of *ends_in*, a timedelta or ffwd, after *start*.

    See `schedules.schedule` for *relative*.
    """
    begin = aware(start)
    if not isinstance(ends_in, timedelta):
        end = begin + ends_in
    else:
        end = boundary_after(begin, ends_in) if relative else after(begin, ends_in)
    return elapsed(now or datetime.now(UTC), end)


def rate(r: Any) -> float:
    """Return how often a second "100/m" is; a number as it is, 0 for None."""
    if not isinstance(r, str):
        return r or 0
    count, _, unit = r.partition("/")
    return float(count) / _PER[unit or "s"] if r else 0


def weekday(name: str) -> int:
    """Return the number of a day of the week, Sunday's is 0; raise KeyError for none."""
    return _number(name, DAYS)


def yearmonth(name: str) -> int:
    """Return the number of a month; raise KeyError for none."""
    return _number(name, MONTHS) + 1


def _number(name: str, names: tuple[str, ...]) -> int:
    short = name[:3].lower()
    if short not in names:
        raise KeyError(name)
    return names.index(short)


def maybe_iso8601(dt: Any) -> datetime | None:
    """Return the time that ISO text says; a time as it is."""
    return datetime.fromisoformat(dt) if isinstance(dt, str) and dt else dt or None


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """Return the time when *seconds* have passed."""
    delta = timedelta(seconds=seconds)
    return dt + delta if is_naive(dt) else after(dt, delta)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """Return the time that passes from *start* to *end*."""
    return elapsed(start, end)


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """Return *dt* in a zone, of which it is where it says none."""
    return in_zone(dt, tz) if is_naive(dt) else dt.astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """Return *dt*, which is UTC, with its zone."""
    return dt.replace(tzinfo=UTC)


def maybe_make_aware(
    dt: datetime, tz: str | tzinfo | None = None, naive_as_utc: bool = True
) -> datetime:
    """Return *dt* with a time zone: see `times.aware`."""
    return aware(dt, tz, naive_as_utc=naive_as_utc)


def get_exponential_backoff_interval(
    factor: float, retries: int, maximum: float, full_jitter: bool = False
) -> float:
    """Return the seconds to wait before a retry; with *full_jitter* anything up to that."""
    longest = min(maximum, factor * 2**retries)
    return max(0, random.randrange(int(longest) + 1) if full_jitter else longest)
