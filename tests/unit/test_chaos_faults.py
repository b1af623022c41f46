"""Which faults happen on which day, and the mix of jobs to which they do."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.chaos.faults import CORE, FAULTS, OF_CELERY, SHARES, faults_of
from tests.chaos.ground import PARTS
from tests.chaos.mix import Kind, Submission, draw, kind_of
from tests.chaos.submitter import part_of


def test_each_day_has_the_core_and_all_faults_have_their_day() -> None:
    days = [faults_of(day) for day in range(730_000, 730_000 + SHARES)]

    assert all(set(CORE) <= set(day) and len(day) == len(set(day)) for day in days)
    assert set().union(*days) == set(FAULTS) >= set(OF_CELERY)


@pytest.mark.parametrize("jobs", [1, 200, 2000])
def test_a_seed_says_which_jobs_and_their_number_is_as_asked(jobs: int) -> None:
    drawn = draw(1, jobs)

    assert draw(1, jobs) == drawn
    assert sum(each.size for each in drawn) == jobs
    parts = (part_of(drawn, part, PARTS) for part in range(PARTS))
    assert list(chain.from_iterable(parts)) == drawn


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("seed", range(1, 6))
def test_each_part_of_200_jobs_has_chords_and_parents(seed: int, part: int) -> None:
    kinds = {each.kind for each in part_of(draw(seed, 200), part, PARTS)}

    assert kinds >= {Kind.CHAIN, Kind.CHORD, Kind.LATE, Kind.PARENT, Kind.RETRY}


@pytest.mark.parametrize("each", draw(1, 71), ids=lambda each: each.id)
def test_an_id_says_what_kind_of_submission_it_is_of(each: Submission) -> None:
    assert {kind_of(id) for id in (each.id, *each.earlier)} == {each.kind}


def test_no_other_id_says_so() -> None:
    assert kind_of("plain-of-somebody") is kind_of("01a1ff55-e92f-7db6-bb45-c70e8c787057") is None
