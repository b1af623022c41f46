"""What is handed to whom, when, and in which order."""

from __future__ import annotations

import pytest

from dask_facade.events import Rules, Tick
from dask_facade.jobs import Batch, Claim
from dask_facade.messages import Begun, Offer, Recall, Returned
from dask_facade.states import FAILURE, PENDING, RECEIVED, REVOKED
from tests.unit.stage import Stage, end_of, ids, new_job


@pytest.fixture
def stage() -> Stage:
    return Stage()


# Invariant 5: a call is handed out only after its claim is committed


def test_nothing_is_handed_before_its_claim_is_committed(stage: Stage) -> None:
    stage.runner("r")

    stage.offer(new_job("a"))
    asked = [claim for batch in stage.unwritten for claim in batch.claims]
    before = stage.handed("r")
    stage.commit()

    assert asked == [Claim("a", attempt=1, hand=1, runner="r", worker="worker of r")]
    assert before == []
    assert ids(stage.handed("r")) == ["a"]
    assert stage.row("a").state == RECEIVED


def test_what_the_ledger_refuses_is_handed_to_nobody(stage: Stage) -> None:
    stage.runner("r")
    (call,) = stage.offer(new_job("a"))
    revoked = end_of(call, REVOKED)

    stage.desk.write(stage.epoch, Batch(outcomes=[revoked]))
    stage.settle()

    assert stage.handed("r") == []
    assert stage.broker.in_flight == 0


def test_a_refused_claim_leaves_its_place_to_the_next_call(stage: Stage) -> None:
    stage.runner("r")
    first, _ = stage.offer(new_job("a"), new_job("b"))

    stage.desk.write(stage.epoch, Batch(outcomes=[end_of(first, FAILURE)]))
    stage.settle()
    stage.step(Tick())
    stage.settle()

    assert ids(stage.handed("r")) == ["b"]


def test_the_number_of_a_hand_grows_each_time(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()

    stage.hear("r", Returned([("a", 1)]))
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("r")] == [("a", 1), ("a", 2)]


def test_a_call_that_is_hinted_at_and_found_is_handed_once(stage: Stage) -> None:
    stage.runner("r")
    calls = stage.offer(new_job("a"))

    stage.hear("submitter", Offer(calls))
    stage.take_up(0, 2, 10)
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


def test_a_late_hint_at_a_finished_job_ends_at_its_claim(stage: Stage) -> None:
    stage.runner("r")
    calls = stage.offer(new_job("a"))
    stage.settle()
    stage.run("r", *stage.handed("r"))
    stage.settle()

    stage.hear("submitter", Offer(calls))
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]  # the first time only
    assert stage.broker.in_flight == 0


@pytest.mark.parametrize("claimed", [False, True])
def test_an_old_hint_does_not_hide_what_the_ledger_says(claimed: bool) -> None:
    stage = Stage()
    stage.runner("r")
    hint = stage.offer(new_job("a"))
    stage.settle()
    stage.hear("r", Returned([("a", 1)]))  # so its row is at hand 1
    stage.write()
    stage.take_over()

    if claimed:
        stage.runner("s")
    stage.hear("submitter", Offer(hint))
    stage.now += 10
    stage.take_up(1, 2, 10)
    if not claimed:
        stage.runner("s")
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("s")] == [("a", 2)]


def test_a_hint_never_takes_the_place_of_what_the_ledger_says(stage: Stage) -> None:
    (call,) = stage.offer(new_job("a"))

    stage.hear("submitter", Offer([call._replace(hand=7)]))
    stage.runner("r")
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("r")] == [("a", 1)]


# Windows


@pytest.mark.parametrize(
    ("runtime", "window"),
    [
        (None, 1),  # never measured
        (5.0, 1),
        (0.02, 1),
        (0.009, 2),
        (0.001, 20),
        (0.0, 25),  # as many as there are
    ],
)
def test_a_window_is_about_20_ms_of_work(runtime: float | None, window: int) -> None:
    stage = Stage()
    if runtime is not None:
        stage.measure("task", runtime)
    stage.runner("r")

    stage.offer(*[new_job(f"job {number}") for number in range(25)])
    stage.settle()

    assert len(stage.handed("r")) == pytest.approx(window, abs=1 if window == 20 else 0)


def test_a_window_has_at_most_window_calls() -> None:
    stage = Stage(Rules(window_calls=7))
    stage.measure("task", 0.0)
    stage.runner("r")

    stage.offer(*[new_job(f"job {number}") for number in range(25)])
    stage.settle()

    assert len(stage.handed("r")) == 7


def test_a_window_has_few_calls_with_much_to_carry() -> None:
    stage = Stage(Rules(window_weight=600))
    stage.measure("task", 0.0)
    stage.runner("r")
    heavy = [new_job(f"job {number}")._replace(payload=bytes(2**20)) for number in range(5)]

    stage.offer(*heavy)
    stage.settle()
    first = ids(stage.handed("r"))
    for call in list(stage.handed("r")):
        stage.run("r", call, runtime=0.0)
    stage.settle()

    assert first == ["job 0", "job 1"]
    assert ids(stage.handed("r")) == ["job 0", "job 1", "job 2", "job 3"]


def test_what_is_too_heavy_for_a_window_is_alone_in_it() -> None:
    stage = Stage(Rules(window_weight=3))
    stage.measure("task", 0.0)
    stage.runner("r")
    heavy = [new_job(f"job {number}")._replace(payload=bytes(2**20)) for number in range(2)]

    stage.offer(*heavy)
    stage.settle()

    assert ids(stage.handed("r")) == ["job 0"]


def test_a_window_is_filled_up_as_calls_end(stage: Stage) -> None:
    stage.measure("task", 0.009)
    stage.runner("r")
    stage.offer(*[new_job(f"job {number}") for number in range(5)])
    stage.settle()

    stage.run("r", stage.handed("r")[0], runtime=0.009)
    stage.settle()

    assert len(stage.handed("r")) == 3


def test_a_long_call_is_not_put_behind_short_ones(stage: Stage) -> None:
    stage.measure("short", 0.001)
    stage.measure("long", 10.0)
    stage.runner("r")

    stage.offer(new_job("a", task="short"), new_job("b", task="long"), new_job("c", task="short"))
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


def test_durations_are_learnt_anew_as_they_change(stage: Stage) -> None:
    stage.measure("task", 0.001)
    for _ in range(20):
        stage.measure("task", 1.0)
    stage.runner("r")

    stage.offer(new_job("a"), new_job("b"))
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


@pytest.mark.parametrize("runtime", [-1.0, float("nan")])
def test_a_runtime_that_cannot_be_counts_as_none(stage: Stage, runtime: float) -> None:
    stage.measure("task", runtime)
    stage.runner("r")

    stage.offer(*[new_job(f"job {number}") for number in range(3)])
    stage.settle()
    stage.offer(new_job("slow", task="never measured"))
    stage.settle()

    assert len(stage.handed("r")) == 3


def test_runners_get_equal_shares(stage: Stage) -> None:
    stage.measure("task", 0.001)
    for runner in ("r", "s", "t"):
        stage.runner(runner)

    stage.offer(*[new_job(f"job {number}") for number in range(9)])
    stage.settle()

    assert [len(stage.handed(runner)) for runner in ("r", "s", "t")] == [3, 3, 3]


def test_the_emptiest_runner_is_served_first(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    stage.runner("s")

    stage.offer(new_job("b"))
    stage.settle()

    assert ids(stage.handed("s")) == ["b"]


def test_one_runner_gets_all_that_only_it_can_run(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r", queues=["mail"])
    stage.runner("s", queues=["video"])

    stage.offer(*[new_job(f"job {number}", queue="mail") for number in range(10)])
    stage.settle()

    assert len(stage.handed("r")) == 10


# Order


def test_a_larger_priority_goes_first_and_then_the_older(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.offer(new_job("old"), new_job("urgent", priority=5))
    stage.now += 1
    stage.offer(new_job("young"), new_job("late and urgent", priority=5))

    stage.runner("r")
    stage.settle()

    assert ids(stage.handed("r")) == ["urgent", "late and urgent", "old", "young"]


def test_a_call_that_comes_back_keeps_its_place(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("old"))
    stage.settle()
    stage.now += 1
    stage.offer(new_job("young"))

    stage.hear("r", Returned([("old", 1)]))
    stage.settle()

    # Returned, and released: meanwhile the runner was free.
    assert ids(stage.handed("r")) == ["old", "young"]
    stage.run("r", stage.handed("r")[-1])
    stage.settle()
    assert ids(stage.handed("r")) == ["old", "young", "old"]


def test_queues_take_turns_by_the_time_that_their_calls_take(stage: Stage) -> None:
    stage.measure("short", 0.001)
    stage.measure("long", 0.005)
    stage.offer(*[new_job(f"s{each}", task="short", queue="short") for each in range(20)])
    stage.offer(*[new_job(f"l{each}", task="long", queue="long") for each in range(20)])

    stage.runner("r")
    stage.settle()

    taken = [call.queue for call in stage.handed("r")]
    assert taken.count("long") in (2, 3)  # half of 20 ms
    assert taken.count("short") in range(5, 11)


def test_a_runner_gets_calls_of_its_queues_only(stage: Stage) -> None:
    stage.offer(new_job("a", queue="video"), new_job("b", queue="mail"))

    stage.runner("r", queues=["mail"])
    stage.settle()

    assert ids(stage.handed("r")) == ["b"]


def test_a_runner_without_queues_serves_all(stage: Stage) -> None:
    stage.offer(new_job("a", queue="one"))

    stage.runner("r")
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


def test_a_call_is_not_handed_before_it_is_due(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a", due=stage.now + 1.5))
    stage.settle()
    wake = stage.broker.wake

    stage.now += 1.4
    stage.step(Tick())
    stage.settle()
    early = stage.handed("r")
    stage.now += 0.1001
    stage.step(Tick())
    stage.settle()

    assert wake == pytest.approx(stage.now, abs=0.01)
    assert early == []
    assert ids(stage.handed("r")) == ["a"]


def test_what_is_due_stands_in_line_like_the_others(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.offer(new_job("second", due=stage.now + 1), new_job("first", due=stage.now + 1))
    stage.offer(new_job("urgent", due=stage.now + 1, priority=1))

    stage.now += 2
    stage.step(Tick())
    stage.runner("r")
    stage.settle()

    assert ids(stage.handed("r")) == ["urgent", "second", "first"]


def test_hints_beyond_high_water_are_left_to_the_ledger() -> None:
    stage = Stage(Rules(high_water=3))
    calls = stage.submit(*[new_job(f"job {number}") for number in range(5)])

    stage.hear("submitter", Offer(calls))
    full = stage.broker.unwanted
    stage.runner("r")
    stage.settle()
    now = stage.broker.unwanted
    room = stage.broker.room
    stage.now += 10
    for _ in calls:
        stage.take_up(1, 2, 10)
        stage.run("r", stage.handed("r")[-1], runtime=1)
        stage.settle()

    assert full == {"celery"}
    assert now == set()
    assert room == 1
    assert ids(stage.handed("r")) == [f"job {number}" for number in range(5)]


# Marks and overruns


def test_the_first_call_of_an_empty_runner_needs_no_mark(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")

    stage.offer(*[new_job(f"job {number}") for number in range(3)])
    stage.settle()
    stage.offer(new_job("job 3"))
    stage.settle()

    assert [call.marked for call in stage.handed("r")] == [False, True, True, True]


def test_a_call_that_was_claimed_behind_others_is_marked_whatever_becomes_of_them(
    stage: Stage,
) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    first, *_ = stage.offer(*[new_job(f"job {number}") for number in range(3)])

    stage.desk.write(stage.epoch, Batch(outcomes=[end_of(first, FAILURE)]))
    stage.settle()

    assert [(call.id, call.marked) for call in stage.handed("r")] == [
        ("job 1", True),
        ("job 2", True),
    ]


def test_a_call_that_comes_back_loses_its_mark(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("a"), new_job("b"))
    stage.settle()

    stage.hear("r", Returned([("b", 1)]))
    stage.run("r", stage.handed("r")[0])
    stage.settle()

    assert [(call.id, call.marked) for call in stage.handed("r")] == [
        ("a", False),
        ("b", True),
        ("b", False),
    ]


def overrun(stage: Stage) -> None:
    """Let runner r be in its first call, "slow", for longer than is good for "quick" behind it."""
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("slow"), new_job("quick"))
    stage.settle()
    stage.now += 0.06
    stage.step(Tick())


def test_what_waits_behind_a_call_that_overruns_is_recalled(stage: Stage) -> None:
    overrun(stage)

    assert stage.said["r"][-1] == Recall()


def test_a_recall_is_said_once(stage: Stage) -> None:
    overrun(stage)
    stage.now += 1
    stage.step(Tick())

    assert stage.heard("r", Recall) == [Recall()]


def test_what_is_recalled_goes_to_another_runner(stage: Stage) -> None:
    overrun(stage)
    stage.runner("s")

    stage.hear("r", Returned([("quick", 1)]))
    released = [release for batch in stage.unwritten for release in batch.releases]
    stage.commit()
    state = stage.row("quick").state
    stage.settle()

    assert [(release.id, release.hand, release.lost) for release in released] == [("quick", 1, 0)]
    assert state == PENDING
    assert [(call.id, call.hand) for call in stage.handed("s")] == [("quick", 2)]


def test_nothing_is_put_behind_a_call_that_overruns(stage: Stage) -> None:
    overrun(stage)

    stage.hear("r", Returned([("quick", 1)]))
    stage.settle()

    assert ids(stage.handed("r")) == ["slow", "quick"]
    stage.run("r", stage.handed("r")[0], runtime=0.001)
    stage.settle()
    assert ids(stage.handed("r")) == ["slow", "quick", "quick"]


def test_what_is_claimed_when_its_runner_overruns_goes_to_another(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("slow"))
    stage.settle()
    stage.now += 0.04
    stage.offer(new_job("quick"))

    stage.now += 0.02
    stage.step(Tick())  # recalls, while the claim is on its way to the ledger
    stage.runner("s")
    stage.settle()

    assert ids(stage.handed("r")) == ["slow"]
    assert ids(stage.handed("s")) == ["quick"]


def test_a_call_alone_is_never_recalled(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()

    stage.now += 100
    stage.step(Tick())

    assert stage.heard("r", Recall) == []


def test_the_time_of_a_call_counts_from_its_own_beginning(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(*[new_job(f"job {number}") for number in range(3)])
    stage.settle()

    stage.now += 0.04
    stage.run("r", stage.handed("r")[0])
    stage.hear("r", Begun("job 1", 1))
    stage.now += 0.04
    stage.step(Tick())
    early = stage.heard("r", Recall)
    stage.now += 0.02
    stage.step(Tick())

    assert early == []
    assert stage.heard("r", Recall) == [Recall()]


def test_a_runner_that_returns_all_is_served_again(stage: Stage) -> None:
    overrun(stage)

    stage.hear("r", Returned([("slow", 1), ("quick", 1)]))
    stage.settle()

    assert ids(stage.handed("r")) == ["slow", "quick", "slow", "quick"]
