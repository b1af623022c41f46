"""When runners of an adaptive cluster make room, and what is shown to it."""

from __future__ import annotations

from typing import Any

import pytest

from dask_facade.dispatcher.scaling import Scaling
from dask_facade.events import Retire
from dask_facade.messages import Leave, Report
from tests.unit.stage import Stage, end_of, new_job


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def scaling() -> Scaling:
    """One that lets runners idle for ten seconds."""
    switchboard: Any = None  # it is not asked here
    return Scaling(switchboard, (), 10.0)


def test_a_runner_is_over_when_it_has_idled_for_long_enough(scaling: Scaling) -> None:
    assert scaling.pop_over({"r": 0, "s": 0}, 100.0) == []
    assert scaling.pop_over({"r": 0, "s": 0}, 109.9) == []
    assert scaling.pop_over({"r": 0, "s": 0}, 110.0) == ["r", "s"]


def test_a_runner_that_took_a_call_between_two_looks_was_not_idle(scaling: Scaling) -> None:
    scaling.pop_over({"r": 0, "s": 0}, 100.0)

    assert scaling.pop_over({"r": 1, "s": 0}, 110.0) == ["s"]
    assert scaling.pop_over({"r": 1}, 119.9) == []
    assert scaling.pop_over({"r": 1}, 120.0) == ["r"]


def test_a_runner_that_was_busy_begins_anew(scaling: Scaling) -> None:
    scaling.pop_over({"r": 0}, 100.0)
    scaling.pop_over({}, 105.0)

    assert scaling.pop_over({"r": 1}, 110.0) == []


def test_an_idle_runner_is_let_go_and_one_with_a_call_is_not(stage: Stage) -> None:
    for runner in ("r", "s"):
        stage.runner(runner)
    stage.offer(new_job("1"))
    stage.settle()
    (busy,) = [runner for runner in ("r", "s") if stage.handed(runner)]
    (idle,) = {"r", "s"} - {busy}

    assert stage.broker.idle() == {idle: 0}
    stage.step(Retire(["r", "s", "nobody"]))

    assert stage.heard(idle, Leave)
    assert not stage.heard(busy, Leave)
    assert stage.broker.idle() == {}


def test_what_a_runner_has_taken_is_counted(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("1"))
    stage.settle()
    (call,) = stage.handed("r")
    stage.hear("r", Report([end_of(call)]))
    stage.settle()

    assert stage.broker.idle() == {"r": 1}


def test_calls_wait_that_no_runner_has_room_for(stage: Stage) -> None:
    for number, queue in enumerate(["celery", "celery", "mail", "own:pool"]):
        stage.offer(new_job(str(number), queue=queue))
    stage.settle()

    assert stage.broker.waiting(()) == 3  # another pool's own is not for all
    assert stage.broker.waiting(["mail"]) == 1
    stage.pause("celery")
    assert stage.broker.waiting(()) == 1
