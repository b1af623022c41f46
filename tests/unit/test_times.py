"""Moments on clocks that are set."""

# ruff: noqa: DTZ001  # what clocks show says no zone

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dask_facade.times import (
    aware,
    boundary_after,
    elapsed,
    ffwd,
    humanize_seconds,
    in_zone,
    local_zone,
    occurrences,
)

NEW_YORK = ZoneInfo("America/New_York")
HOWE = ZoneInfo("Australia/Lord_Howe")  # it changes by half an hour
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def utc(*fields: int) -> datetime:
    return datetime(*fields, tzinfo=UTC)


@pytest.mark.parametrize(
    ("shown", "moments"),
    [
        (datetime(2026, 7, 1, 12), [utc(2026, 7, 1, 16)]),
        (datetime(2026, 11, 1, 1, 30), [utc(2026, 11, 1, 5, 30), utc(2026, 11, 1, 6, 30)]),
        (datetime(2026, 3, 8, 2, 30), [utc(2026, 3, 8, 7, 30)]),  # it shows 3:30 then
    ],
)
def test_a_clock_shows_a_time_once_twice_or_an_hour_later(shown, moments):
    assert list(occurrences(shown.replace(tzinfo=NEW_YORK))) == moments


@pytest.mark.parametrize(
    ("zone", "start", "interval", "end"),
    [
        (NEW_YORK, datetime(2026, 7, 1, 12, 10, 5), HOUR, datetime(2026, 7, 1, 13)),
        (NEW_YORK, datetime(2026, 7, 1, 12, 10, 5), 2 * HOUR, datetime(2026, 7, 1, 14)),
        (NEW_YORK, datetime(2026, 7, 1, 12, 10, 5), HOUR / 4, datetime(2026, 7, 1, 12, 25)),
        (NEW_YORK, datetime(2026, 7, 1, 12, 10), DAY, datetime(2026, 7, 2)),
        (NEW_YORK, datetime(2026, 3, 8, 1, 30), HOUR, datetime(2026, 3, 8, 3)),
        (NEW_YORK, datetime(2026, 11, 1, 1, 30), HOUR, datetime(2026, 11, 1, 1, fold=1)),
        (NEW_YORK, datetime(2026, 3, 7, 23, 30), DAY, datetime(2026, 3, 8)),
        (HOWE, datetime(2026, 10, 4, 1, 15), HOUR, datetime(2026, 10, 4, 2, 30)),
        # An hour after one it is half past one again: the next full hour is two.
        (HOWE, datetime(2026, 4, 5, 1), HOUR, datetime(2026, 4, 5, 2)),
    ],
)
def test_a_rounded_interval_ends_at_a_round_time_of_the_clock(zone, start, interval, end):
    found = boundary_after(start.replace(tzinfo=zone), interval)

    assert found == end.replace(tzinfo=zone).astimezone(UTC)


def test_time_passes_by_clocks_that_are_set():
    start = datetime(2026, 3, 8, 1, 59, tzinfo=NEW_YORK)
    end = datetime(2026, 3, 8, 3, 1, tzinfo=NEW_YORK)

    assert elapsed(start, end) == timedelta(minutes=2)


def test_a_time_without_a_zone_is_utc_unless_it_is_told_to_be_of_one():
    noon = datetime(2026, 7, 1, 12)

    assert aware(noon) == utc(2026, 7, 1, 12)
    assert aware(noon, "America/New_York") == utc(2026, 7, 1, 12)
    assert aware(noon, NEW_YORK, naive_as_utc=False) == utc(2026, 7, 1, 16)


def test_what_a_clock_skips_is_read_behind_the_gap():
    assert in_zone(datetime(2026, 3, 8, 2, 30), NEW_YORK).hour == 3


def test_the_zone_of_the_machine_is_what_tz_says(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    local_zone.cache_clear()
    try:
        assert str(local_zone()) == "Asia/Tokyo"
    finally:
        local_zone.cache_clear()


@pytest.mark.parametrize(
    ("change", "moment"),
    [
        (ffwd(hour=9, minute=0), datetime(2026, 1, 31, 9)),
        (ffwd(month=2), datetime(2026, 2, 28, 12, 30)),
        (ffwd(weekday=0), datetime(2026, 2, 2, 12, 30)),  # Monday
        (ffwd(weeks=1, weekday=5), datetime(2026, 2, 7, 12, 30)),
    ],
)
def test_a_change_of_fields_is_added_to_a_date(change, moment):
    assert datetime(2026, 1, 31, 12, 30) + change == moment


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (1, "1.00 second"),
        (90, "1.50 minutes"),
        (7200, "2.00 hours"),
        (86400, "1.00 day"),
    ],
)
def test_seconds_are_told_to_people(seconds, text):
    assert humanize_seconds(seconds) == text
