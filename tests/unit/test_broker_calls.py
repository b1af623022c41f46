"""What running calls ask of the broker, where calls go, and graphs, which go nowhere."""

from __future__ import annotations

import pytest

from dask_facade.events import GRAPHS, Found, Rules, Tick
from dask_facade.messages import (
    SUPERSEDED,
    Call,
    Edge,
    Held,
    Kill,
    Leave,
    Look,
    NewJob,
    Offer,
    Outcome,
    Push,
    Recall,
    Report,
    Shape,
    Spawn,
    Spawned,
    Unsure,
    Update,
)
from dask_facade.states import PENDING, RECEIVED, STARTED, SUCCESS
from tests.unit.stage import EPOCH, Stage, end_of, ids, new_job


@pytest.fixture
def stage() -> Stage:
    return Stage()


def running(stage: Stage, id: str = "parent") -> Call:
    """Let runner r be in this call."""
    stage.runner("r")
    stage.offer(new_job(id))
    stage.settle()
    return stage.handed("r")[-1]


def spawn(call: Call, *jobs: NewJob, number: int = 1, edges: tuple[Edge, ...] = ()) -> Spawn:
    return Spawn(number, False, call.id, call.attempt, call.hand, jobs, edges)


def said(call: Call, state: str = STARTED) -> Update:
    return Update(call.id, call.attempt, call.hand, state, b"", "")


# Children


def test_children_of_a_running_call_are_written_answered_and_handed_out(stage: Stage) -> None:
    call = running(stage)
    stage.runner("s")

    stage.hear("r", spawn(call, new_job("child", parent_id="parent")))
    before = stage.heard("r", Spawned), stage.store.fetch(["child"])
    stage.settle()

    assert before == ([], {})
    assert stage.heard("r", Spawned) == [Spawned(1, EPOCH + stage.now, "", "")]
    assert ids(stage.handed("s")) == ["child"]


def test_children_that_wait_for_others_are_not_handed_out(stage: Stage) -> None:
    call = running(stage)
    stage.runner("s")

    jobs = new_job("a", parent_id="parent"), new_job("b", parent_id="parent", shape=Shape.FIRST)
    edge = Edge("a", "b", 0, takes_result=True)
    stage.hear("r", spawn(call, *jobs, edges=(edge,)))
    stage.settle()

    assert ids(stage.handed("s")) == ["a"]


def test_children_are_written_before_the_end_of_their_parent(stage: Stage) -> None:
    call = running(stage)

    stage.hear("r", spawn(call, new_job("child", parent_id="parent")))
    stage.run("r", call)
    stage.commit()

    assert stage.row("child").state == PENDING
    assert stage.row("parent").state == SUCCESS


@pytest.mark.parametrize(
    ("peer", "attempt", "hand"), [("s", 1, 1), ("nobody", 1, 1), ("r", 2, 1), ("r", 1, 2)]
)
def test_who_does_not_have_the_call_has_no_children(
    stage: Stage, peer: str, attempt: int, hand: int
) -> None:
    call = running(stage)
    stage.runner("s")

    other = call._replace(attempt=attempt, hand=hand)
    stage.hear(peer, spawn(other, new_job("child"), number=7))
    stage.settle()

    (answer,) = stage.heard(peer, Spawned)
    assert (answer.number, answer.refusal) == (7, SUPERSEDED)
    assert "parent" in answer.reason
    assert stage.store.fetch(["child"]) == {}


def test_a_call_that_has_ended_has_no_more_children(stage: Stage) -> None:
    call = running(stage)

    stage.run("r", call)
    stage.hear("r", spawn(call, new_job("child")))
    stage.settle()

    assert [answer.refusal for answer in stage.heard("r", Spawned)] == [SUPERSEDED]


def test_a_call_that_was_told_and_has_ended_has_no_more_children(stage: Stage) -> None:
    call = running(stage)
    stage.end("r", whole=False)
    stage.runner("r", held=[Held(call.id, call.attempt, call.hand, begun=True)])

    stage.run("r", call)
    stage.hear("r", spawn(call, new_job("child")))
    stage.settle()

    assert [answer.refusal for answer in stage.heard("r", Spawned)] == [SUPERSEDED]


def test_a_runner_that_dials_before_its_calls_are_found_may_have_children(stage: Stage) -> None:
    call = running(stage)
    stage.take_over()

    stage.runner("r", held=[Held(call.id, call.attempt, call.hand, begun=True)])
    stage.hear("r", spawn(call, new_job("child", parent_id="parent")))
    stage.settle()

    assert [answer.refusal for answer in stage.heard("r", Spawned)] == [""]


def test_what_a_running_call_says_is_noted(stage: Stage) -> None:
    call = running(stage)

    stage.hear("r", said(call, "PROGRESS"))

    assert stage.notes == [said(call, "PROGRESS")]


def test_what_others_say_of_a_call_is_not_noted(stage: Stage) -> None:
    call = running(stage)
    stage.runner("s")

    stage.hear("s", said(call))
    stage.hear("r", said(call._replace(hand=9)))
    stage.hear("r", said(call._replace(attempt=9)))
    stage.run("r", call)
    stage.hear("r", said(call))

    assert stage.notes == []


# Looking


def test_who_looks_is_told_how_jobs_ended(stage: Stage) -> None:
    stage.run("r", running(stage, "a"))
    stage.settle()

    stage.hear("c", Look(["a"]))
    stage.look_up()

    (push,) = stage.heard("c", Push)
    assert [(end.id, end.state, end.result) for end in push.outcomes] == [("a", SUCCESS, b"jnull")]


def test_who_looks_waits_for_the_others(stage: Stage) -> None:
    call = running(stage, "a")
    calls = stage.submit(new_job("b"))

    stage.hear("c", Look(["a", "b"]))
    asked = [list(lookup.ids) for lookup in stage.lookups]
    stage.look_up()
    before = list(stage.said.get("c", ()))
    stage.run("r", call)
    stage.hear("submitter", Offer(calls))
    stage.settle()
    stage.run("r", stage.handed("r")[-1])
    stage.settle()

    assert asked == [["b"]]  # a is running: the ledger need not be asked
    assert before == []
    assert [ids(push.outcomes) for push in stage.heard("c", Push)] == [["a"], ["b"]]
    assert stage.heard("c", Unsure) == []


def test_who_looked_is_told_once(stage: Stage) -> None:
    calls = stage.submit(new_job("a"))
    stage.hear("c", Look(["a"]))

    stage.runner("r")
    stage.hear("submitter", Offer(calls))
    stage.settle()
    stage.run("r", *stage.handed("r"))
    stage.settle()
    stage.look_up()

    assert len(stage.heard("c", Push)) == 1


# Nearness


def near(stage: Stage, *names: str, worker: str) -> None:
    """Hint at calls whose largest input is on *worker*."""
    calls = stage.submit(*[new_job(name) for name in names])
    stage.hear("submitter", Offer([call._replace(near=worker) for call in calls]))


def test_a_call_goes_to_the_worker_that_has_its_input(stage: Stage) -> None:
    stage.runner("r", worker="far")
    stage.runner("s", worker="near")

    near(stage, "a", worker="near")
    stage.settle()

    assert ids(stage.handed("s")) == ["a"]


def test_a_call_goes_elsewhere_when_that_worker_is_in_a_long_one(stage: Stage) -> None:
    stage.runner("s", worker="near")
    stage.offer(new_job("long"))
    stage.settle()
    stage.runner("r", worker="far")

    near(stage, "a", worker="near")
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


def test_a_call_waits_for_that_worker_behind_short_ones(stage: Stage) -> None:
    stage.measure("task", 0.005)
    stage.runner("s", worker="near")
    stage.offer(new_job("short"))
    stage.settle()
    stage.runner("r", worker="far")

    near(stage, "a", worker="near")
    stage.settle()

    assert ids(stage.handed("s")) == ["short", "a"]
    assert stage.handed("r") == []


def test_no_more_wait_for_that_worker_than_a_window_has(stage: Stage) -> None:
    stage.measure("task", 0.005)
    stage.runner("s", worker="near")
    stage.runner("r", worker="far")

    near(stage, *[f"job {number}" for number in range(12)], worker="near")
    stage.settle()

    assert len(stage.handed("s")) == 5
    assert len(stage.handed("r")) > 0


@pytest.mark.parametrize("why", ["queues", "leaving", "gone"])
def test_a_call_goes_elsewhere_when_that_worker_takes_none(stage: Stage, why: str) -> None:
    stage.runner("r", worker="far")
    if why != "gone":
        stage.runner("s", worker="near", queues=["mail"] if why == "queues" else ())
    if why == "leaving":
        stage.hear("s", Leave())

    near(stage, "a", worker="near")
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


# Graphs


def graph(stage: Stage, *names: str) -> list[Call]:
    return stage.offer(*[new_job(name, graph=True) for name in names])


def test_graphs_are_given_to_no_runner(stage: Stage) -> None:
    stage.runner("r")

    graph(stage, "g")
    stage.settle()

    assert stage.handed("r") == []
    assert stage.row("g").state == PENDING


def test_all_graphs_are_given_at_once_to_who_follows_them(stage: Stage) -> None:
    stage.runner("r")
    stage.runner(GRAPHS)

    graph(stage, *[f"graph {number}" for number in range(30)])
    stage.offer(new_job("a"))
    stage.settle()

    assert len(stage.handed(GRAPHS)) == 30
    assert not any(call.marked for call in stage.handed(GRAPHS))
    assert ids(stage.handed("r")) == ["a"]


def test_a_call_is_not_given_to_who_follows_graphs_though_its_input_was_one(stage: Stage) -> None:
    stage.runner("r")
    stage.runner(GRAPHS, worker=GRAPHS)

    near(stage, "a", worker=GRAPHS)
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]
    assert stage.handed(GRAPHS) == []


def test_graphs_that_take_long_are_not_recalled(stage: Stage) -> None:
    stage.runner(GRAPHS)
    graph(stage, "g", "h")
    stage.settle()

    stage.now += 100
    stage.step(Tick())
    stage.settle()

    assert stage.heard(GRAPHS, Recall) == []
    assert stage.broker.wake is None


def test_a_graph_ends_like_a_call(stage: Stage) -> None:
    stage.runner(GRAPHS)
    graph(stage, "g")
    stage.settle()

    stage.run(GRAPHS, *stage.handed(GRAPHS))
    stage.settle()

    assert stage.row("g").state == SUCCESS
    assert len(stage.broker) == 0


def test_a_graph_that_is_terminated_is_killed(stage: Stage) -> None:
    stage.runner(GRAPHS)
    graph(stage, "g", "h")
    stage.settle()

    stage.revoke("h", terminate=True)

    assert stage.heard(GRAPHS, Kill) == [Kill("h", 1)]


def test_graphs_of_a_paused_queue_are_not_adopted(stage: Stage) -> None:
    stage.runner(GRAPHS)
    stage.pause("celery")

    graph(stage, "g")
    stage.settle()

    assert stage.handed(GRAPHS) == []


def test_the_next_leader_goes_on_with_graphs(stage: Stage) -> None:
    stage.runner(GRAPHS)
    graph(stage, "g", "lost")
    stage.settle()
    stage.take_over()

    stage.step(Found(stage.desk.in_flight()))
    stage.runner(GRAPHS, held=[Held("g", 1, 1, begun=True)])
    stage.settle()
    held: list[Outcome] = [end_of(call.call) for call in stage.desk.in_flight()]
    stage.hear(GRAPHS, Report(held))
    stage.settle()

    assert [(call.id, call.hand) for call in stage.handed(GRAPHS)] == [("lost", 2)]
    assert (stage.row("g").state, stage.row("lost").state) == (SUCCESS, SUCCESS)


def test_graphs_do_not_hold_up_the_end(stage: Stage) -> None:
    stage.runner(GRAPHS)
    graph(stage, "g")
    stage.settle()

    assert stage.row("g").state == RECEIVED
    assert stage.broker.in_flight == 0


# Far times


def test_a_hint_at_what_is_due_much_later_is_left_to_the_ledger(stage: Stage) -> None:
    stage.offer(new_job("soon", due=stage.now + 1.9), new_job("late", due=stage.now + 2.1))

    assert stage.broker.knows("soon")
    assert not stage.broker.knows("late")


def test_a_dependant_that_is_due_much_later_is_left_to_the_ledger(stage: Stage) -> None:
    parent = running(stage)
    jobs = [new_job("soon", delay=30), new_job("late", delay=300)]
    stage.submit(*jobs, edges=[Edge("parent", job.id, 0, takes_result=False) for job in jobs])

    stage.run("r", parent)
    stage.settle()
    known = [name for name in ("soon", "late") if stage.broker.knows(name)]
    for _ in range(2):
        stage.now += 299
        stage.take_up()
        stage.step(Tick())
        stage.settle()
        stage.run("r", stage.handed("r")[-1])
        stage.settle()

    assert known == ["soon"]
    assert ids(stage.handed("r")) == ["parent", "soon", "late"]


def test_a_full_line_makes_room_for_who_goes_first() -> None:
    stage = Stage(Rules(high_water=3))
    stage.offer(new_job("low", priority=1), new_job("lowest"), new_job("other", priority=1))

    stage.offer(new_job("same", priority=0), new_job("high", priority=9))
    known = [id for id in ("low", "lowest", "other", "same", "high") if stage.broker.knows(id)]
    stage.runner("r")
    stage.settle()
    stage.now += 10
    for _ in range(5):
        stage.take_up(1, 2, 10)
        stage.run("r", stage.handed("r")[-1], runtime=1)
        stage.settle()

    assert known == ["low", "other", "high"]
    assert ids(stage.handed("r")) == ["high", "low", "other", "lowest", "same"]


def test_a_line_is_full_of_few_calls_with_much_to_carry() -> None:
    stage = Stage(Rules(high_water=40))
    payload = bytes(64 * 2**10)
    heavy = [new_job(f"job {number}")._replace(payload=payload) for number in range(5)]
    light = new_job("light", queue="other")

    stage.offer(*heavy, light)

    known = [stage.broker.knows(job.id) for job in (*heavy, light)]
    assert known == [True] * 3 + [False] * 2 + [True]
    assert stage.broker.unwanted == {"celery"}
    stage.runner("r")
    stage.settle()
    stage.now += 10
    for _ in range(6):
        stage.take_up(1, 2, 10)
        for call in stage.handed("r")[-2:]:
            stage.run("r", call, runtime=1)
        stage.settle()
    assert sorted(ids(stage.handed("r"))) == sorted([job.id for job in (*heavy, light)])


def test_dependants_beyond_high_water_are_left_to_the_ledger() -> None:
    stage = Stage(Rules(high_water=3))
    parent = running(stage)
    jobs = [new_job(f"job {number}") for number in range(10)]
    stage.submit(*jobs, edges=[Edge("parent", job.id, 0, takes_result=False) for job in jobs])

    stage.run("r", parent, runtime=1.0)
    stage.settle()
    known = len(stage.broker)
    for _ in jobs:
        stage.now += 1
        stage.take_up()
        stage.run("r", stage.handed("r")[-1], runtime=1.0)
        stage.settle()

    assert known <= 4  # one of them is with the runner
    assert sorted(ids(stage.handed("r"))[1:]) == [job.id for job in jobs]
