"""Celery's functions about times, under their names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dask_facade.celery.utils import time

PARIS = ZoneInfo("Europe/Paris")
NOON = datetime(2026, 7, 1, 12)  # noqa: DTZ001  # it says no zone


@pytest.mark.parametrize(
    ("made", "moment"),
    [
        (time.maybe_make_aware(NOON, PARIS), NOON.replace(tzinfo=UTC)),
        (time.make_aware(NOON, PARIS), NOON.replace(hour=10, tzinfo=UTC)),
        (time.localize(NOON.replace(tzinfo=UTC), PARIS), NOON.replace(tzinfo=UTC)),
        (time.to_utc(NOON), NOON.replace(tzinfo=UTC)),
        (time.timezone.to_local(NOON, "Europe/Paris"), NOON.replace(tzinfo=UTC)),
        (time.maybe_iso8601("2026-07-01T12:00:00Z"), NOON.replace(tzinfo=UTC)),
    ],
)
def test_a_time_gets_a_zone(made, moment):
    assert made == moment


@pytest.mark.parametrize(
    ("delta", "rounded"),
    [
        (timedelta(days=2), datetime(2026, 7, 1, tzinfo=UTC)),
        (timedelta(hours=2), datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (timedelta(minutes=2), datetime(2026, 7, 1, 12, 31, tzinfo=UTC)),
        (timedelta(seconds=2), datetime(2026, 7, 1, 12, 31, 7, tzinfo=UTC)),
    ],
)
def test_a_time_is_rounded_to_what_an_interval_is_measured_in(delta, rounded):
    assert time.delta_resolution(datetime(2026, 7, 1, 12, 31, 7, tzinfo=UTC), delta) == rounded


def test_what_remains_of_an_interval_is_told():
    start = datetime(2026, 7, 1, 12, tzinfo=UTC)
    now = start + timedelta(seconds=20)

    assert time.remaining(start, timedelta(seconds=30), now) == timedelta(seconds=10)
    assert time.remaining(start, time.ffwd(hour=13), now) == timedelta(minutes=59, seconds=40)


@pytest.mark.parametrize(
    ("said", "per_second"), [("100/s", 100), ("60/m", 1), ("1800/h", 0.5), (3, 3), (None, 0)]
)
def test_a_rate_is_so_many_a_second(said, per_second):
    assert time.rate(said) == per_second


def test_days_and_months_have_numbers():
    assert (time.weekday("sunday"), time.weekday("Mon"), time.yearmonth("may")) == (0, 1, 5)
    with pytest.raises(KeyError):
        time.weekday("may")


def test_a_wait_grows_up_to_a_limit():
    waits = [time.get_exponential_backoff_interval(2, n, 10) for n in range(5)]

    assert waits == [2, 4, 8, 10, 10]
    assert 0 <= time.get_exponential_backoff_interval(2, 5, 10, full_jitter=True) <= 10
