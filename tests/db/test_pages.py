"""Pages of jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dask_facade.models import Job
from dask_facade.pages import Position, newer, older, position_of
from dask_facade.states import ALL_STATES, FAILURE, PENDING, SUCCESS

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def make(alias, *rows):
    """Insert jobs of (id, minutes after noon, state)."""
    Job.objects.using(alias).bulk_create(
        Job(
            id=id,
            task="t",
            queue="q",
            payload=b"",
            root_id=id,
            state=state,
            created=NOON + timedelta(minutes=minutes),
        )
        for id, minutes, state in rows
    )


def ids(jobs):
    return [job.id for job in jobs]


@pytest.fixture
def jobs(alias):
    make(
        alias,
        ("z", 0, SUCCESS),
        ("b", 1, PENDING),
        ("a", 1, SUCCESS),  # of the same moment
        ("c", 1, FAILURE),
        ("y", 2, SUCCESS),
    )
    return Job.objects.using(alias)


def test_the_newest_come_first_whatever_their_state(jobs):
    assert ids(older(jobs.all(), ALL_STATES, 10)) == ["y", "c", "b", "a", "z"]


def test_a_page_follows_another_without_gap_or_repetition(jobs):
    seen, position = [], None
    while page := older(jobs.all(), ALL_STATES, 2, position):
        seen += ids(page)
        position = position_of(page[-1])

    assert seen == ["y", "c", "b", "a", "z"]


def test_the_page_before_is_the_nearest_one(jobs):
    last = older(jobs.all(), ALL_STATES, 10)[-1]

    assert ids(newer(jobs.all(), ALL_STATES, 2, position_of(last))) == ["b", "a"]


def test_jobs_of_other_states_are_left_out(jobs):
    assert ids(older(jobs.all(), {SUCCESS}, 2)) == ["y", "a"]
    assert ids(older(jobs.all(), {FAILURE, PENDING}, 5)) == ["c", "b"]
    assert older(jobs.all(), set(), 5) == []


def test_each_state_is_read_from_its_index(jobs, django_assert_num_queries, alias):
    position = position_of(jobs.get(id="y"))
    page = jobs.filter(created__lte=position.created, state=SUCCESS).order_by("-created", "-id")

    plan = page.explain()

    assert "dask_facade_state" in plan or "Seq Scan" in plan  # of so few rows
    with django_assert_num_queries(len(ALL_STATES), using=alias):
        older(jobs.all(), ALL_STATES, 2, position)


def test_a_position_survives_as_text():
    position = Position(NOON + timedelta(microseconds=1), "ä/b?")

    assert Position.read(str(position)) == position
    assert str(position).isascii()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "é",
        "W10=",  # []
        "WyIyMDI2LTAxLTAxVDEyOjAwOjAwIiwiYSJd",  # a time without a zone
        "WyJub29uIiwiYSJd",
    ],
)
def test_a_position_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="is no position"):
        Position.read(text)
