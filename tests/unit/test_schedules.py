"""When periodic tasks are due."""

from __future__ import annotations

import pickle
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dask_facade import DaskFacade, current
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.ledger.memory import MemoryStore
from dask_facade.schedules import (
    BaseSchedule,
    ParseException,
    crontab,
    crontab_parser,
    maybe_schedule,
    schedule,
    solar,
)

NEW_YORK = ZoneInfo("America/New_York")


@pytest.fixture(autouse=True)
def app():
    before = current.app() if current.has_app() else None
    app = DaskFacade("tests", store=MemoryStore())
    yield app
    if before is not None:
        current.set_app(before)


def utc(*fields):
    return datetime(*fields, tzinfo=UTC)


def here(*fields, fold=0):
    return datetime(*fields, tzinfo=NEW_YORK, fold=fold)


@pytest.mark.parametrize(
    ("spec", "numbers"),
    [
        ("*", {0, 1, 2, 3, 4, 5, 6}),
        ("*/3", {0, 3, 6}),
        ("5", {5}),
        ("1, 3", {1, 3}),
        ("mon-fri", {1, 2, 3, 4, 5}),
        ("Saturday-mon", {6, 0, 1}),  # over the end
        ("1-6/2,sun", {1, 3, 5, 0}),
    ],
)
def test_a_field_means_numbers(spec, numbers):
    assert crontab_parser(7).parse(spec) == numbers


@pytest.mark.parametrize("spec", ["", "1,", "*/", "*/0", "*/x", "-1", "1/2", "7", "1-7", "someday"])
def test_a_field_that_means_nothing_is_refused(spec):
    with pytest.raises(ValueError):  # noqa: PT011  # ParseException is one
        crontab_parser(7).parse(spec)


def test_what_cannot_be_read_is_a_parse_exception():
    assert crontab_parser.ParseException is ParseException
    with pytest.raises(ParseException, match="a step is"):
        crontab_parser(60).parse("*/0")


@pytest.mark.parametrize(
    ("fields", "last", "due"),
    [
        ({}, utc(2026, 5, 1, 12, 30, 20), utc(2026, 5, 1, 12, 31)),
        ({"minute": "*/15"}, utc(2026, 5, 1, 12, 45), utc(2026, 5, 1, 13, 0)),
        ({"minute": 5, "hour": "8,20"}, utc(2026, 5, 1, 9), utc(2026, 5, 1, 20, 5)),
        ({"minute": 0, "hour": 4}, utc(2026, 5, 1, 4), utc(2026, 5, 2, 4)),
        # Friday, 1 May 2026
        ({"minute": 0, "hour": 4, "day_of_week": "fri"}, utc(2026, 5, 1, 5), utc(2026, 5, 8, 4)),
        ({"minute": 0, "hour": 4, "day_of_month": 31}, utc(2026, 5, 31, 5), utc(2026, 7, 31, 4)),
        # Both days must match, unlike in cron.
        (
            {"minute": 0, "hour": 4, "day_of_month": 13, "day_of_week": "fri"},
            utc(2026, 5, 1),
            utc(2026, 11, 13, 4),
        ),
        (
            {"minute": 0, "hour": 0, "day_of_month": 29, "month_of_year": "feb"},
            utc(2096, 2, 29),
            utc(2104, 2, 29),
        ),
    ],
)
def test_a_crontab_is_due_at_the_next_time_that_matches(fields, last, due):
    assert crontab(**fields).due_after(last) == due


@pytest.mark.parametrize(
    ("fields", "last", "due"),
    [
        # The clock goes from 2:00 to 3:00.
        ({"minute": 30, "hour": 2}, here(2026, 3, 7, 2, 30), here(2026, 3, 8, 3, 30)),
        ({"minute": 30, "hour": 2}, here(2026, 3, 8, 3, 30), here(2026, 3, 9, 2, 30)),
        ({"minute": "*/20"}, here(2026, 3, 8, 1, 40), here(2026, 3, 8, 3)),
        # The clock goes from 2:00 back to 1:00.
        ({"minute": 30, "hour": 1}, here(2026, 11, 1, 1, 30), here(2026, 11, 2, 1, 30)),
        ({"minute": "*/20"}, here(2026, 11, 1, 1, 40), here(2026, 11, 1, 1, 0, fold=1)),
        ({"minute": 0}, here(2026, 11, 1, 1), here(2026, 11, 1, 1, fold=1)),
        ({"minute": 0}, here(2026, 11, 1, 1, fold=1), here(2026, 11, 1, 2)),
    ],
)
def test_a_crontab_follows_a_clock_that_is_set(app, fields, last, due):
    app.conf.timezone = "America/New_York"

    assert crontab(**fields).due_after(last).astimezone(UTC) == due.astimezone(UTC)


def test_a_crontab_on_a_day_that_no_month_has_is_refused():
    with pytest.raises(ValueError, match="never occurs"):
        crontab(day_of_month=30, month_of_year=2)


def test_a_crontab_is_read_from_a_line():
    made = crontab.from_string("0 8 5 * mon")

    assert made == crontab(minute=0, hour=8, day_of_month=5, day_of_week="mon")
    with pytest.raises(ValueError, match="five fields"):
        crontab.from_string("* *")


def test_schedules_are_pickled_without_their_app(app):
    made = [crontab(minute=5, app=app), schedule(10, app=app), schedule(60, relative=True)]

    assert pickle.loads(pickle.dumps(made)) == made


def test_a_missed_crontab_is_due_unless_its_deadline_is_over(app):
    now = utc(2026, 5, 2, 10)
    daily = crontab(minute=30, hour=7, nowfun=lambda: now, app=app)

    assert daily.is_due(utc(2026, 4, 20)) == (True, 21.5 * 3600)
    app.conf.beat_cron_starting_deadline = 3600
    assert daily.is_due(utc(2026, 4, 20)) == (False, 21.5 * 3600)
    app.conf.beat_cron_starting_deadline = 2.5 * 3600
    assert daily.is_due(utc(2026, 4, 20)) == (True, 21.5 * 3600)


def test_an_interval_catches_up_without_leaving_its_grid(app):
    now = utc(2026, 5, 1, 0, 0, 47)
    every = schedule(10, nowfun=lambda: now, app=app)

    assert every.due_after(utc(2026, 5, 1)) == utc(2026, 5, 1, 0, 0, 10)
    assert every.caught_up(utc(2026, 5, 1)) == utc(2026, 5, 1, 0, 0, 40)


def test_a_schedule_of_ones_own_says_when_it_is_due_by_what_remains(app):
    class Noon(BaseSchedule):
        def remaining_estimate(self, last_run_at):
            return utc(2026, 5, 1, 12) - self.now()

    moments = iter([utc(2026, 5, 1, 12, 0, 0, 100)] * 2 + [utc(2026, 5, 1, 12, 0, 3, 7)] * 2)
    noon = Noon(nowfun=lambda: next(moments), app=app)

    assert noon.due_after(utc(2026, 5, 1)) == utc(2026, 5, 1, 12)
    assert noon.due_after(utc(2026, 5, 1)) == utc(2026, 5, 1, 12)


@pytest.mark.parametrize("given", [10, 10.0, timedelta(seconds=10)])
def test_a_number_is_a_schedule(given):
    assert maybe_schedule(given) == schedule(10)


def test_a_schedule_by_the_sun_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "ephem", None)

    with pytest.raises(ImproperlyConfigured, match="ephem"):
        solar("sunrise", 52.5, 13.4)
    with pytest.raises(ValueError, match="event must be one of"):
        solar("teatime", 52.5, 13.4)
    with pytest.raises(ValueError, match="lat must be"):
        solar("sunrise", 95, 13.4)
