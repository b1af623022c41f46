"""What becomes of calls when lines end, workers go, runners dial again and leaders change."""

from __future__ import annotations

import pytest

from dask_facade.events import (
    Drain,
    Event,
    Found,
    LineEnded,
    Placed,
    Tick,
    WorkerGone,
    WorkersPaused,
)
from dask_facade.exceptions import WorkerLostError
from dask_facade.jobs import Batch
from dask_facade.messages import Ack, Begun, Call, Held, Leave, Offer, Recall, Report, Returned
from dask_facade.serialization import load_exception
from dask_facade.states import FAILURE, PENDING, RECEIVED, SUCCESS
from tests.unit.stage import Stage, end_of, ids, new_job

WORKER_GONE = 60.0


@pytest.fixture
def stage() -> Stage:
    return Stage()


def hand(stage: Stage, *names: str, acks_late: bool = False) -> list[Call]:
    """Let runner r have these calls in its window."""
    stage.measure("task", 0.001)
    stage.runner("r", worker="w")
    stage.offer(*[new_job(name, acks_late=acks_late) for name in names])
    stage.settle()
    return stage.handed("r")


def wait(stage: Stage, seconds: float) -> None:
    stage.now += seconds
    stage.step(Tick())
    stage.settle()


def pass_by(stage: Stage, seconds: float) -> None:
    """Let time pass, with a tick whenever the broker wants one."""
    end = stage.now + seconds
    while stage.now < end:
        wake = stage.broker.wake
        wait(stage, max(0.0, min(end, end if wake is None else wake) - stage.now))


# A line ends: what had not begun goes elsewhere, what may have begun is in doubt


@pytest.mark.parametrize(
    ("begun", "whole", "elsewhere"),
    [
        ((), True, ["b", "c"]),  # a needs no mark: it counts as begun
        (("b",), True, ["c"]),
        (("b", "c"), True, []),
        ((), False, []),  # marks may have been lost
        (("b",), False, []),
    ],
)
def test_what_surely_had_not_begun_goes_to_another_runner_at_once(
    stage: Stage, begun: tuple[str, ...], whole: bool, elsewhere: list[str]
) -> None:
    calls = {call.id: call for call in hand(stage, "a", "b", "c")}
    stage.runner("s", worker="v")
    done = "a"
    for id in begun:
        stage.run("r", calls[done])
        stage.hear("r", Begun(id, 1))
        done = id

    stage.end("r", whole=whole)
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("s")] == [(id, 2) for id in elsewhere]


def test_what_may_have_begun_waits_for_its_runner(stage: Stage) -> None:
    hand(stage, "a")
    stage.runner("s", worker="v")

    stage.end("r")
    wait(stage, WORKER_GONE - 1)

    assert stage.row("a").state == RECEIVED
    assert stage.handed("s") == []


def test_a_claim_on_its_way_when_the_line_ends_is_given_up(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))

    stage.end("r")
    stage.settle()
    stage.runner("s")
    stage.settle()

    assert stage.handed("r") == []
    assert [(call.id, call.hand) for call in stage.handed("s")] == [("a", 2)]


# The workers of a pool go, and what waits for them with them


OWN = "own:pool:1"


def test_what_waits_for_the_workers_of_a_pool_ends_a_minute_after_the_last_of_them(
    stage: Stage,
) -> None:
    stage.runner("r", queues=[OWN])
    stage.runner("other")
    stage.offer(new_job("runs", queue=OWN), new_job("waits", queue=OWN))
    stage.settle()
    wait(stage, 2 * WORKER_GONE)
    assert stage.row("waits").state == PENDING

    stage.end("r", whole=False)
    pass_by(stage, WORKER_GONE - 1)
    assert stage.row("waits").state == PENDING
    pass_by(stage, 10)

    job = stage.row("waits")
    assert job.state == FAILURE
    assert job.result is not None
    assert isinstance(load_exception(job.result), WorkerLostError)
    assert "the workers of that pool are gone" in job.result_preview
    assert stage.handed("other") == []
    assert stage.broker.wake is None


def test_what_waits_for_the_workers_of_a_pool_waits_on_if_one_dials_again(stage: Stage) -> None:
    stage.offer(new_job("a", queue=OWN))
    pass_by(stage, WORKER_GONE - 1)
    stage.runner("r", queues=[OWN])
    stage.settle()
    assert ids(stage.handed("r")) == ["a"]

    stage.hear("r", Returned([("a", 1)]))
    stage.end("r")
    stage.settle()
    pass_by(stage, WORKER_GONE - 1)

    assert stage.row("a").state == PENDING


def test_what_waits_for_a_pool_that_no_leader_knows_ends_a_minute_after_it_leads(
    stage: Stage,
) -> None:
    names = [str(number) for number in range(1_500)]
    stage.offer(*[new_job(name, queue=OWN) for name in names])
    stage.take_over()
    stage.now += 2
    stage.take_up(limit=2_000)

    pass_by(stage, WORKER_GONE - 1)
    assert {job.state for job in stage.store.fetch(names).values()} == {PENDING}
    pass_by(stage, 10)

    assert {job.state for job in stage.store.fetch(names).values()} == {FAILURE}


def test_other_queues_wait_for_as_long_as_nobody_takes_them(stage: Stage) -> None:
    stage.offer(new_job("a", queue="mail"))

    wait(stage, 10 * WORKER_GONE)

    assert stage.row("a").state == PENDING


# Doubt is decided


@pytest.mark.parametrize("gone_first", [False, True])
def test_a_call_that_may_have_begun_fails_with_its_worker(stage: Stage, gone_first: bool) -> None:
    hand(stage, "a")
    events: list[Event] = [LineEnded("r", whole=False), WorkerGone("w")]

    for event in reversed(events) if gone_first else events:
        stage.step(event)
    stage.settle()

    job = stage.row("a")
    assert job.state == FAILURE
    assert job.result is not None
    assert isinstance(load_exception(job.result), WorkerLostError)
    assert "w" in job.result_preview
    assert "a" in job.result_preview


def test_a_runner_without_a_line_counts_as_dead_after_a_minute(stage: Stage) -> None:
    hand(stage, "a")
    stage.end("r")
    wake = stage.broker.wake
    wait(stage, WORKER_GONE)

    assert wake == pytest.approx(stage.now)
    assert stage.row("a").state == FAILURE


@pytest.mark.parametrize("acks_late", [False, True])
def test_a_call_with_acks_late_runs_again_at_most_max_lost_times(acks_late: bool) -> None:
    stage = Stage()
    stage.offer(new_job("a", acks_late=acks_late))
    times = 0

    while stage.row("a").state != FAILURE:
        times += 1
        stage.runner(f"r{times}", worker="w")
        stage.settle()
        assert [(call.hand, call.lost) for call in stage.handed(f"r{times}")] == [
            (times, times - 1)
        ]
        stage.end(f"r{times}")
        stage.step(WorkerGone("w"))
        stage.settle()

    assert times == (3 if acks_late else 1)


def test_runners_of_other_workers_are_left_alone(stage: Stage) -> None:
    hand(stage, "a")

    stage.step(WorkerGone("v"))
    stage.end("r")
    stage.settle()

    assert stage.row("a").state == RECEIVED


def test_a_worker_that_dask_removed_gets_nothing_more_and_is_told_to_leave(stage: Stage) -> None:
    hand(stage, "a", "b")

    stage.step(WorkerGone("w"))
    stage.hear("r", Returned([("b", 1)]))
    stage.settle()

    assert stage.said["r"][-2:] == [Recall(), Leave()]
    assert ids(stage.handed("r")) == ["a", "b"]


def test_a_worker_that_pauses_ends_its_call_and_its_window_goes_to_another(stage: Stage) -> None:
    hand(stage, "a", "b")

    stage.step(WorkersPaused({"w"}))
    stage.step(WorkersPaused({"w"}))
    stage.hear("r", Returned([("b", 1)]))
    stage.settle()
    stage.offer(new_job("c"))
    stage.settle()
    before = ids(stage.handed("r"))
    stage.runner("s", worker="v")
    stage.settle()
    stage.run("r", stage.handed("r")[0])
    stage.settle()

    assert stage.heard("r", Recall) == [Recall()]
    assert before == ids(stage.handed("r")) == ["a", "b"]
    assert ids(stage.handed("s"))[0] == "b"
    assert stage.row("a").state == SUCCESS


def test_a_worker_that_goes_on_is_served_again(stage: Stage) -> None:
    stage.step(WorkersPaused({"w"}))
    stage.runner("r", worker="w")
    stage.offer(new_job("a"))
    stage.settle()
    before = stage.handed("r")

    stage.step(WorkersPaused(()))
    stage.settle()

    assert before == []
    assert ids(stage.handed("r")) == ["a"]


def test_a_claim_on_its_way_when_its_worker_pauses_is_given_up(stage: Stage) -> None:
    stage.runner("r", worker="w")
    stage.offer(new_job("a"))

    stage.step(WorkersPaused({"w"}))
    stage.settle()

    assert stage.handed("r") == []
    assert stage.row("a").state == PENDING


def test_a_claim_on_its_way_when_dask_removes_the_worker_is_given_up(stage: Stage) -> None:
    stage.runner("r", worker="w")
    stage.offer(new_job("a"))

    stage.step(WorkerGone("w"))
    stage.runner("s", worker="v")
    stage.settle()

    assert stage.handed("r") == []
    assert ids(stage.handed("s")) == ["a"]


def test_a_call_may_end_on_a_worker_that_dask_removed(stage: Stage) -> None:
    (call,) = hand(stage, "a")

    stage.step(WorkerGone("w"))
    wait(stage, WORKER_GONE - 1)
    stage.run("r", call)
    stage.settle()

    assert stage.row("a").state == SUCCESS


def test_a_worker_that_dask_removed_is_not_waited_for_without_end(stage: Stage) -> None:
    hand(stage, "a")  # its process stands still, or a child of it keeps the line open

    stage.step(WorkerGone("w"))
    stage.settle()
    wait(stage, WORKER_GONE)

    assert stage.row("a").state == FAILURE


# A runner dials again


def test_a_call_that_its_runner_still_has_goes_on(stage: Stage) -> None:
    (call,) = hand(stage, "a")
    stage.end("r", whole=False)

    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    wait(stage, 2 * WORKER_GONE)
    stage.run("r", call)
    stage.settle()

    assert stage.row("a").state == SUCCESS


def test_a_call_that_its_runner_disowns_had_not_begun(stage: Stage) -> None:
    hand(stage, "a")
    stage.end("r", whole=False)

    stage.runner("r", worker="w")
    stage.settle()

    assert [(call.id, call.hand, call.lost) for call in stage.handed("r")] == [
        ("a", 1, 0),
        ("a", 2, 0),
    ]


def test_a_runner_may_dial_before_the_end_of_its_old_line_is_seen(stage: Stage) -> None:
    hand(stage, "a", "b")

    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("r")] == [("a", 1), ("b", 1), ("b", 2)]


def test_a_claim_on_its_way_outlasts_a_change_of_line(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))

    stage.end("r")
    stage.runner("r")
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("r")] == [("a", 1)]


def test_what_was_decided_is_not_reopened_when_the_runner_dials(stage: Stage) -> None:
    (call,) = hand(stage, "a")
    stage.end("r", whole=False)
    wait(stage, WORKER_GONE)

    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    stage.run("r", call)
    stage.settle()

    assert stage.row("a").state == FAILURE
    assert stage.heard("r", Ack) == [Ack([("a", 1)])]


def test_a_runner_whose_worker_was_removed_is_told_to_leave_when_it_dials(stage: Stage) -> None:
    stage.runner("r", worker="w")
    stage.offer(new_job("a"))
    stage.step(WorkerGone("w"))
    stage.end("r", whole=False)

    stage.runner("r", worker="w")
    stage.settle()

    assert stage.said["r"][-1] == Leave()
    assert stage.handed("r") == []


def test_a_new_runner_at_the_address_of_a_removed_worker_is_served(stage: Stage) -> None:
    hand(stage, "a")
    stage.step(WorkerGone("w"))
    stage.end("r", whole=False)

    stage.runner("s", worker="w")
    stage.offer(new_job("b"))
    stage.settle()

    assert stage.heard("s", Leave) == []
    assert ids(stage.handed("s")) == ["b"]


def test_a_late_failure_of_a_lost_run_leaves_the_next_runner_usable(stage: Stage) -> None:
    (call,) = hand(stage, "a", acks_late=True)
    stage.end("r", whole=False)
    stage.runner("s", worker="v")
    stage.now += WORKER_GONE
    stage.step(Tick())
    stage.commit()  # released: now it is claimed for s

    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    stage.hear("r", Report([end_of(call, FAILURE)]))
    stage.settle()
    stage.offer(new_job("b", task="other"))
    stage.offer(new_job("c", task="other"))
    stage.settle()

    assert stage.row("a").state == FAILURE
    assert ids(stage.handed("r")[1:]) + ids(stage.handed("s")) in (["b", "c"], ["c", "b"])


# A runner leaves by itself


def test_a_runner_that_leaves_gets_nothing_more(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))  # its claim is on its way

    stage.hear("r", Leave())
    said = list(stage.said["r"])
    stage.settle()
    stage.runner("s")
    stage.settle()

    assert said == [Leave()]  # nothing is on its way to it behind this
    assert stage.handed("r") == []
    assert ids(stage.handed("s")) == ["a"]


# Another leader


def test_what_an_earlier_leader_had_handed_out_is_in_doubt(stage: Stage) -> None:
    hand(stage, "a")
    stage.take_over()

    stage.step(Found(stage.desk.in_flight()))
    stage.runner("s", worker="v")
    wait(stage, WORKER_GONE - 1)
    before = stage.row("a").state
    wait(stage, 1)

    assert before == RECEIVED
    assert stage.row("a").state == FAILURE
    assert stage.handed("s") == []


def test_what_an_earlier_leader_had_handed_out_fails_with_its_worker(stage: Stage) -> None:
    hand(stage, "a")
    stage.take_over()

    stage.step(Found(stage.desk.in_flight()))
    stage.step(WorkerGone("w"))
    stage.settle()

    assert stage.row("a").state == FAILURE


@pytest.mark.parametrize("found_first", [True, False])
def test_runners_of_an_earlier_leader_go_on_under_the_next(stage: Stage, found_first: bool) -> None:
    begun, _ = hand(stage, "begun", "disowned")
    stage.take_over()

    held = [Held("begun", 1, 1, begun=True)]
    if found_first:
        stage.step(Found(stage.desk.in_flight()))
    stage.runner("r", worker="w", held=held)
    if not found_first:
        stage.step(Found(stage.desk.in_flight()))
    stage.run("r", begun)
    stage.settle()

    assert stage.row("begun").state == SUCCESS
    assert [(call.id, call.hand) for call in stage.handed("r")] == [("disowned", 2)]


def test_a_report_that_overtakes_what_the_leader_finds_leaves_its_runner_usable(
    stage: Stage,
) -> None:
    (call,) = hand(stage, "a")
    stage.take_over()
    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    found = Found(stage.desk.in_flight())

    stage.run("r", call)
    stage.step(found)
    stage.settle()
    stage.offer(new_job("b"))
    stage.settle()

    assert stage.row("a").state == SUCCESS
    assert ids(stage.handed("r")) == ["b"]
    assert stage.heard("r", Ack) == [Ack([("a", 1)])]


def test_what_this_leader_handed_out_is_not_in_doubt(stage: Stage) -> None:
    (call,) = hand(stage, "a")

    stage.step(Found(stage.desk.in_flight()))
    wait(stage, WORKER_GONE)
    stage.run("r", call)
    stage.settle()

    assert stage.row("a").state == SUCCESS


def test_a_claim_whose_answer_was_lost_is_found_and_handed_anew(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.desk.write(stage.epoch, stage.unwritten[0])  # committed, but nobody heard of it

    stage.settle()
    stage.step(Found(stage.desk.in_flight()))
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed("r")] == [("a", 2)]


# The end in order


def test_nothing_is_handed_out_while_draining(stage: Stage) -> None:
    hand(stage, "a")

    stage.step(Drain())
    stage.offer(new_job("b"))
    stage.runner("s")
    stage.settle()

    assert stage.said["r"][-1] == Leave()
    assert stage.said["s"] == [Leave()]
    assert stage.handed("s") == []


def test_a_claim_on_its_way_is_given_up_when_draining(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))

    stage.step(Drain())
    stage.settle()

    assert stage.handed("r") == []
    assert stage.broker.in_flight == 0
    stage.take_over()
    stage.now += 10
    assert [call.hand for call in stage.desk.take_up(stage.epoch, 1, 2, 10).ready] == [1]


def test_draining_is_over_when_nothing_is_in_flight(stage: Stage) -> None:
    first, _ = hand(stage, "a", "b")
    stage.hear("submitter", Offer(stage.submit(new_job("c", due=stage.now + 1))))
    counts = [stage.broker.in_flight]

    stage.step(Drain())
    stage.hear("r", Returned([("b", 1)]))
    counts.append(stage.broker.in_flight)
    stage.settle()
    counts.append(stage.broker.in_flight)
    stage.run("r", first)
    counts.append(stage.broker.in_flight)
    stage.settle()

    assert counts == [2, 2, 1, 1]
    assert stage.broker.in_flight == 0


def test_a_job_that_ended_while_it_stood_in_line_is_not_in_flight(stage: Stage) -> None:
    (call,) = stage.offer(new_job("a"))
    failure = end_of(call, FAILURE)

    stage.hear("r", Report([failure]))
    stage.settle()

    assert stage.desk.write(stage.epoch, Batch(outcomes=[failure])).outcomes == ()
    assert stage.broker.in_flight == 0


# What an earlier leader had, and what is placed anew


def test_what_was_in_flight_is_in_doubt_though_a_hint_at_it_came_first(stage: Stage) -> None:
    (call,) = hand(stage, "a")

    stage.take_over()
    stage.hear("submitter", Offer([call._replace(hand=0)]))  # it lay with its submitter
    stage.runner("s")
    stage.step(Found(stage.desk.in_flight()))
    stage.settle()
    stage.step(WorkerGone("w"))
    stage.settle()

    assert stage.handed("s") == []
    assert stage.row("a").state == FAILURE
    assert len(stage.broker) == 0


def test_a_runner_whose_place_is_another_s_ends_what_it_runs_and_goes(stage: Stage) -> None:
    first, _ = hand(stage, "a", "b")

    stage.step(Placed("w", ["s"]))
    stage.hear("r", Returned([("b", 1)]))
    stage.runner("s", worker="w")
    stage.settle()
    meanwhile = stage.handed("s")
    stage.run("r", first)
    stage.settle()

    assert stage.said["r"][-2:] == [Leave(), Ack([("a", 1)])]
    assert stage.heard("r", Recall) == [Recall()]
    assert meanwhile == []  # its predecessor ran still
    assert ids(stage.handed("s")) == ["b"]


def test_a_runner_that_dials_again_finds_its_place_taken(stage: Stage) -> None:
    (call,) = hand(stage, "a")
    stage.take_over()
    stage.step(Placed("w", ["s"]))
    stage.runner("s", worker="w")
    stage.step(Found(stage.desk.in_flight()))

    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    stage.offer(new_job("b"))
    stage.settle()
    meanwhile = [*stage.handed("r"), *stage.handed("s")]
    stage.run("r", call)
    stage.settle()

    assert stage.heard("r", Leave) == [Leave()]
    assert meanwhile == []
    assert stage.row("a").state == SUCCESS
    assert ids(stage.handed("s")) == ["b"]


def test_places_of_other_workers_stay(stage: Stage) -> None:
    hand(stage, "a")
    stage.runner("s", worker="v")

    stage.step(Placed("w", ["r"]))

    assert stage.heard("r", Leave) == stage.heard("s", Leave) == []
