from __future__ import annotations

import pytest

from dask_facade.retry import Backoff, is_exhausted


@pytest.mark.parametrize(
    ("factor", "maximum", "waits"),
    [
        (1, 600, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]),
        (5, 600, [5, 10, 20, 40, 80, 160, 320, 600, 600]),
        (7, 5, [5, 5]),
        (1, 0, [0, 0]),
    ],
)
def test_waits_double_up_to_the_maximum(factor, maximum, waits):
    backoff = Backoff(factor, maximum, jitter=False)

    assert [backoff.countdown(retries, below=None) for retries in range(len(waits))] == waits


def test_the_ten_thousandth_retry_is_computed_at_once():
    assert Backoff(1, 600, jitter=False).countdown(10_000, below=None) == 600


def test_with_jitter_any_time_up_to_that_is_drawn():
    limits = []
    backoff = Backoff(2, 600, jitter=True)

    for retries in range(3):
        assert backoff.countdown(retries, below=lambda limit: limits.append(limit) or 1) == 1

    assert limits == [3, 5, 9]  # 0 to 2, to 4, to 8


@pytest.mark.parametrize(
    ("said", "countdowns"),
    [(True, [1, 2]), (1, [1, 2]), (0.5, [1, 2]), (2.9, [2, 4]), ("4", [4, 8]), (False, [None] * 2)],
)
def test_the_factor_is_in_whole_seconds(app, monkeypatch, said, countdowns):
    asked = []
    task = app.task(
        name="retry.backing_off",
        autoretry_for=(ValueError,),
        retry_backoff=said,
        retry_jitter=False,
        max_retries=1,
    )(lambda: int("x"))
    retry = task.retry
    monkeypatch.setattr(
        task, "retry", lambda **said: asked.append(said.get("countdown")) or retry(**said)
    )

    task.apply()

    assert asked == countdowns


@pytest.mark.parametrize(
    ("retries", "max_retries", "exhausted"),
    [(1, 3, False), (3, 3, False), (4, 3, True), (1, 0, True), (1_000, None, False)],
)
def test_retries_are_used_up_after_the_last_one(retries, max_retries, exhausted):
    assert is_exhausted(retries, max_retries) is exhausted
