"""How often calls of a task may begin."""

from __future__ import annotations

import pytest

from dask_facade.events import Limited, RunnerUp, Tick
from dask_facade.limits import rate_of
from dask_facade.messages import Call, Rate, Serve
from dask_facade.states import REVOKED
from tests.unit.stage import EPOCH, Stage, ids, new_job

TASK = "limited"


def limited(rate: float = 1.0) -> Stage:
    """Return a stage with one runner, on which TASK begins *rate* times a second."""
    stage = Stage()
    stage.measure(TASK, 0.001)
    stage.runner("r")
    stage.step(Limited([Rate(TASK, rate)]))
    return stage


def offer(stage: Stage, *names: str, **options: object) -> None:
    stage.offer(*(new_job(name, task=TASK, **options) for name in names))  # type: ignore[arg-type]
    stage.settle()


def begin_and_end(stage: Stage, known: int) -> list[Call]:
    """End what was handed since *known* calls; return all that was handed."""
    calls = stage.handed("r")
    for call in calls[known:]:
        stage.run("r", call)
    stage.settle()
    return stage.handed("r")


def after(stage: Stage, seconds: float) -> list[str]:
    """Let time pass; return the ids of all that was handed."""
    stage.now += seconds
    stage.step(Tick())
    stage.settle()
    return ids(begin_and_end(stage, 0))


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ("10/m", 1 / 6),
        ("5/s", 5.0),
        ("36/h", 0.01),
        ("2", 2.0),
        (3, 3.0),
        (0.5, 0.5),
        (None, 0.0),
        ("", 0.0),
        (0, 0.0),
        ("0/m", 0.0),
    ],
)
def test_a_rate_is_a_number_a_second_minute_or_hour(said: object, rate: float) -> None:
    assert rate_of(said) == pytest.approx(rate)


@pytest.mark.parametrize("said", ["ten/m", "1/d", "-1/s", "1/s/s", float("inf")])
def test_what_is_no_rate_is_refused(said: object) -> None:
    with pytest.raises(ValueError, match=r"rate|float"):
        rate_of(said)


def test_calls_of_a_limited_task_begin_one_after_another() -> None:
    stage = limited(rate=1.0)

    offer(stage, "a", "b", "c")

    assert ids(begin_and_end(stage, 0)) == ["a"]
    assert after(stage, 0.9) == ["a"]
    assert after(stage, 0.1) == ["a", "b"]
    assert after(stage, 1.0) == ["a", "b", "c"]


def test_the_broker_wants_a_tick_when_the_next_may_begin() -> None:
    stage = limited(rate=0.5)

    offer(stage, "a", "b")
    begin_and_end(stage, 0)

    assert stage.broker.wake == pytest.approx(stage.now + 2.0)


def test_others_are_not_held_up() -> None:
    stage = limited(rate=0.1)
    offer(stage, "a", "b")

    stage.offer(new_job("c", task="other"))
    begin_and_end(stage, 0)

    assert ids(stage.handed("r")) == ["a", "c"]


def test_what_nobody_wanted_is_not_made_up_for() -> None:
    stage = limited(rate=1.0)
    offer(stage, "a")
    begin_and_end(stage, 0)
    stage.now += 100

    offer(stage, "b", "c")

    assert ids(begin_and_end(stage, 0)) == ["a", "b"]


def test_no_burst_follows_a_time_without_runners() -> None:
    stage = limited(rate=1.0)
    stage.end("r")
    offer(stage, "a", "b", "c")
    stage.now += 100
    stage.step(Tick())

    stage.runner("r")
    stage.settle()

    assert ids(begin_and_end(stage, 0)) == ["a"]


def test_a_fast_task_keeps_up_though_time_is_coarse() -> None:
    stage = limited(rate=100.0)
    offer(stage, *map(str, range(50)))
    begin_and_end(stage, 0)

    for _ in range(10):
        after(stage, 0.04)

    assert len(stage.handed("r")) == pytest.approx(41, abs=2)


def test_the_better_priority_is_first_when_its_turn_comes() -> None:
    stage = limited(rate=1.0)
    offer(stage, "a", "b")
    begin_and_end(stage, 0)

    offer(stage, "urgent", priority=9)

    assert after(stage, 1.0) == ["a", "urgent"]


def test_queues_of_one_task_share_its_limit() -> None:
    stage = limited(rate=1.0)

    offer(stage, "a", queue="one")
    offer(stage, "b", queue="two")

    assert len(begin_and_end(stage, 0)) == 1
    assert len(after(stage, 1.0)) == 2


def test_a_paused_queue_takes_no_turn_of_another() -> None:
    stage = limited(rate=1.0)
    stage.pause("one")
    offer(stage, "a", queue="one")

    offer(stage, "b", queue="two")

    assert ids(begin_and_end(stage, 0)) == ["b"]


def test_a_limit_goes_for_calls_that_stand_in_line() -> None:
    stage = Stage()
    offer(stage, "a", "b", "c")

    stage.step(RunnerUp("r", "worker", (), (), [Rate(TASK, 1.0)]))
    stage.settle()
    begin_and_end(stage, 0)

    assert ids(begin_and_end(stage, 0)) == ["a"]


def test_without_a_limit_all_begin_that_waited() -> None:
    stage = limited(rate=0.001)
    offer(stage, "a", "b", "c")
    begin_and_end(stage, 0)

    stage.step(Limited([Rate(TASK, 0.0)]))
    stage.settle()

    assert ids(begin_and_end(stage, 1)) == ["a", "b", "c"]


def test_what_somebody_said_outranks_what_a_new_runner_says() -> None:
    stage = limited(rate=1.0)

    stage.step(RunnerUp("new", "worker", (), (), [Rate(TASK, 100.0)]))

    assert stage.broker._roster.ready.limits.rates == {TASK: 1.0}


def test_a_call_that_waits_for_its_turn_is_revoked() -> None:
    stage = limited(rate=0.001)
    offer(stage, "a", "b", "c")
    begin_and_end(stage, 0)

    stage.revoke("b")
    stage.settle()

    assert stage.row("b").state == REVOKED
    assert after(stage, 1_000) == ["a", "c"]
    assert len(stage.broker) == 0


def test_a_call_that_waits_for_its_turn_expires() -> None:
    stage = limited(rate=0.001)
    offer(stage, "a", "b", expires=stage.now + 5)
    begin_and_end(stage, 0)

    after(stage, 6)

    assert stage.row("b").state == REVOKED


def test_those_that_wait_for_their_turn_count_for_high_water() -> None:
    stage = limited(rate=0.001)
    room = stage.broker.room

    offer(stage, *map(str, range(100)))

    assert len(stage.broker) == 100
    assert room > stage.broker.room or stage.broker.unwanted == frozenset()


def test_a_clock_that_is_set_back_stops_nobody() -> None:
    stage = limited(rate=1.0)
    offer(stage, "a", "b")
    begin_and_end(stage, 0)
    limits = stage.broker._roster.ready.limits

    limits._free_at[TASK] = EPOCH + stage.now + 3_600

    assert after(stage, 1.5) == ["a"]
    assert after(stage, 1.5) == ["a", "b"]


def test_a_runner_that_serves_other_queues_gets_their_calls() -> None:
    stage = Stage()
    stage.runner("r", queues=["mail"])
    stage.offer(new_job("a", queue="gpu"))
    stage.settle()
    before = stage.handed("r")

    stage.hear("r", Serve(["mail", "gpu"]))
    stage.settle()

    assert before == []
    assert ids(stage.handed("r")) == ["a"]
