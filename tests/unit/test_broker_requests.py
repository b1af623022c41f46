"""Calls that are revoked, expire, are killed, or whose queue is paused."""

from __future__ import annotations

import pytest

from dask_facade.events import Found, Paused, Revoke, Rules, Tick, Unrevoke, WorkerGone, Wrote
from dask_facade.exceptions import TaskRevokedError
from dask_facade.jobs import Batch, Claim
from dask_facade.messages import (
    Begun,
    Call,
    Edge,
    Held,
    Kill,
    Offer,
    Push,
    Recall,
    Report,
    Returned,
    Wait,
)
from dask_facade.serialization import load_exception
from dask_facade.states import FAILURE, PENDING, RETRY, REVOKED, SUCCESS
from tests.unit.stage import Stage, end_of, ids, new_job


@pytest.fixture
def stage() -> Stage:
    return Stage()


def hand(stage: Stage, *names: str, acks_late: bool = False) -> list[Call]:
    """Let runner r have these calls in its window; the first counts as begun."""
    stage.measure("task", 0.001)
    stage.runner("r", worker="w")
    stage.offer(*[new_job(name, acks_late=acks_late) for name in names])
    stage.settle()
    return stage.handed("r")


def reason(stage: Stage, id: str) -> str:
    """Return why a job was revoked."""
    result = stage.row(id).result
    assert result is not None
    error = load_exception(result)
    assert type(error) is TaskRevokedError
    return str(error)


# Before they begin


def test_a_call_that_is_ready_is_revoked(stage: Stage) -> None:
    stage.offer(new_job("a"))
    stage.hear("c", Wait(["a"]))

    stage.revoke("a")
    stage.settle()
    stage.runner("r")
    stage.settle()

    assert stage.handed("r") == []
    assert (stage.row("a").state, reason(stage, "a")) == (REVOKED, "revoked")
    (push,) = stage.heard("c", Push)
    assert ids(push.outcomes) == ["a"]
    assert not stage.broker.is_revoking("a")
    assert not stage.broker.knows("a")


def test_a_call_that_is_not_due_is_revoked(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a", due=stage.now + 1))

    stage.revoke("a")
    stage.settle()
    stage.now += 2
    stage.step(Tick())
    stage.settle()

    assert stage.handed("r") == []
    assert stage.row("a").state == REVOKED


def test_a_call_that_the_ledger_ended_by_itself_is_forgotten(stage: Stage) -> None:
    stage.offer(new_job("a"))

    written, _ = stage.desk.revoke(stage.epoch, ["a"], "revoked")
    stage.step(Wrote(Batch(), written))
    stage.runner("r")
    stage.settle()

    assert stage.handed("r") == []
    assert len(stage.broker) == 0


def test_what_waits_for_a_revoked_job_fails_and_is_told(stage: Stage) -> None:
    calls = stage.submit(new_job("a"), new_job("b"), edges=[Edge("a", "b", 0, takes_result=True)])
    stage.hear("submitter", Offer(calls))
    stage.hear("c", Wait(["b"]))

    stage.revoke("a")
    stage.settle()

    assert (stage.row("a").state, stage.row("b").state) == (REVOKED, FAILURE)
    assert [ids(push.outcomes) for push in stage.heard("c", Push)] == [["b"]]


def test_a_call_whose_claim_is_on_its_way_is_revoked(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.write()

    stage.step(Revoke(["a"], terminate=False))
    stage.settle()

    assert stage.handed("r") == []
    assert (stage.row("a").state, reason(stage, "a")) == (REVOKED, "revoked")
    assert stage.broker.in_flight == 0


def test_a_call_whose_release_is_on_its_way_is_revoked(stage: Stage) -> None:
    hand(stage, "a", "b")
    stage.hear("r", Returned([("b", 1)]))
    stage.write()

    stage.step(Revoke(["b"], terminate=False))
    stage.settle()

    assert stage.row("b").state == REVOKED
    assert ids(stage.handed("r")) == ["a", "b"]


def test_a_call_in_a_window_is_recalled_and_revoked(stage: Stage) -> None:
    hand(stage, "a", "b", "c")

    stage.revoke("b")
    recalls = stage.heard("r", Recall)
    stage.hear("r", Returned([("b", 1), ("c", 1)]))
    stage.settle()

    assert recalls == [Recall()]
    assert stage.row("b").state == REVOKED
    assert [(call.id, call.hand) for call in stage.handed("r")] == [
        ("a", 1),
        ("b", 1),
        ("c", 1),
        ("c", 2),
    ]


def test_a_window_is_recalled_once_for_many(stage: Stage) -> None:
    hand(stage, "a", "b", "c")

    stage.revoke("b", "c")

    assert stage.heard("r", Recall) == [Recall()]


def test_what_the_end_of_a_line_gives_back_is_revoked(stage: Stage) -> None:
    hand(stage, "a", "b")

    stage.revoke("b")
    stage.end("r")
    stage.settle()

    assert stage.row("b").state == REVOKED


def test_a_job_may_be_revoked_before_it_exists(stage: Stage) -> None:
    stage.runner("r")

    unknown = stage.revoke("a", "b")
    stage.settle()
    stage.offer(new_job("a"))
    stage.submit(new_job("b"))
    stage.now += 2
    stage.take_up()
    stage.settle()

    assert unknown == {"a", "b"}
    assert stage.handed("r") == []
    assert (stage.row("a").state, stage.row("b").state) == (REVOKED, REVOKED)
    assert not stage.broker.is_revoking("a")


def test_what_is_not_to_be_revoked_any_more_runs(stage: Stage) -> None:
    stage.runner("r")
    stage.revoke("a")

    stage.step(Unrevoke(["a", "unknown"]))
    stage.offer(new_job("a"))
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


# While they run


def test_a_call_that_has_begun_goes_on(stage: Stage) -> None:
    (call,) = hand(stage, "a")

    stage.revoke("a")
    stage.settle()
    revoking = stage.broker.is_revoking("a")
    stage.run("r", call)
    stage.settle()

    assert stage.heard("r", Kill) == stage.heard("r", Recall) == []
    assert stage.row("a").state == SUCCESS
    assert (revoking, stage.broker.is_revoking("a")) == (True, False)


def test_a_call_that_has_begun_is_not_tried_again(stage: Stage) -> None:
    (call,) = hand(stage, "a")

    stage.revoke("a")
    stage.settle()
    stage.hear("r", Report([end_of(call, RETRY)]))
    stage.settle()

    assert (stage.row("a").state, stage.row("a").attempt) == (REVOKED, 2)
    assert ids(stage.handed("r")) == ["a"]


def test_a_call_that_has_begun_is_killed_if_that_is_asked_for(stage: Stage) -> None:
    (call,) = hand(stage, "a")

    stage.revoke("a", terminate=True)
    stage.hear("r", Report([end_of(call, REVOKED)]))
    stage.settle()

    assert stage.heard("r", Kill) == [Kill("a", 1)]
    assert stage.row("a").state == REVOKED
    assert not stage.broker.is_revoking("a")


def test_a_call_that_begins_before_it_is_recalled_is_killed(stage: Stage) -> None:
    first, _ = hand(stage, "a", "b")

    stage.revoke("b", terminate=True)
    before = stage.heard("r", Kill)
    stage.run("r", first)
    stage.hear("r", Begun("b", 1))

    assert before == []
    assert stage.heard("r", Kill) == [Kill("b", 1)]


def test_a_kill_is_repeated_on_the_next_line(stage: Stage) -> None:
    hand(stage, "a")
    stage.end("r", whole=False)

    stage.revoke("a", terminate=True)
    before = stage.heard("r", Kill)
    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])

    assert before == []
    assert stage.heard("r", Kill) == [Kill("a", 1)]


@pytest.mark.parametrize("acks_late", [False, True])
def test_a_revoked_call_that_dies_with_its_worker_is_revoked(stage: Stage, acks_late: bool) -> None:
    hand(stage, "a", acks_late=acks_late)

    stage.revoke("a", terminate=True)
    stage.step(WorkerGone("w"))
    stage.end("r", whole=False)
    stage.settle()

    assert (stage.row("a").state, reason(stage, "a")) == (REVOKED, "terminated")


def test_the_next_leader_kills_what_it_finds(stage: Stage) -> None:
    hand(stage, "a")
    stage.take_over()

    stage.step(Revoke(["a"], terminate=True))
    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])
    stage.step(Found(stage.desk.in_flight()))

    assert stage.heard("r", Kill) == [Kill("a", 1)]


def test_who_asks_twice_need_not_say_again_that_it_is_to_be_killed(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.revoke("a", terminate=True)
    stage.revoke("a")
    stage.submit(new_job("a"))
    stage.desk.write(stage.epoch, Batch(claims=[Claim("a", 1, 1, "r", "w")]))

    stage.step(Found(stage.desk.in_flight()))
    stage.runner("r", worker="w", held=[Held("a", 1, 1, begun=True)])

    assert stage.heard("r", Kill) == [Kill("a", 1)]


# Expiry


def test_a_call_that_expires_in_line_is_revoked_at_that_time(stage: Stage) -> None:
    stage.offer(new_job("a", expires=stage.now + 1.5))
    stage.hear("c", Wait(["a"]))
    wake = stage.broker.wake

    stage.now += 1.5
    stage.step(Tick())
    stage.settle()

    assert wake == pytest.approx(stage.now)
    assert (stage.row("a").state, reason(stage, "a")) == (REVOKED, "expired")
    assert len(stage.heard("c", Push)) == 1


def test_a_call_that_expired_before_it_came_is_revoked(stage: Stage) -> None:
    stage.runner("r")

    stage.offer(new_job("a", expires=stage.now))
    stage.settle()

    assert stage.handed("r") == []
    assert stage.row("a").state == REVOKED


def test_a_call_that_expires_before_it_is_due_is_revoked_then(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a", due=stage.now + 1.5, expires=stage.now + 1))

    stage.now += 1
    stage.step(Tick())
    stage.settle()

    assert stage.row("a").state == REVOKED


def test_a_call_that_comes_back_after_it_expired_is_revoked(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("a"), new_job("b", expires=stage.now + 1))
    stage.settle()
    stage.now += 1

    stage.hear("r", Returned([("b", 1)]))
    stage.settle()

    assert stage.row("b").state == REVOKED


def test_a_call_that_began_in_time_may_end_later(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a", expires=stage.now + 1))
    stage.settle()

    stage.now += 10
    stage.step(Tick())
    stage.run("r", *stage.handed("r"))
    stage.settle()

    assert stage.row("a").state == SUCCESS
    assert stage.broker.wake is None


def test_a_time_that_is_none_has_passed(stage: Stage) -> None:
    (call,) = stage.submit(new_job("a"))

    stage.hear("c", Offer([call._replace(expires=float("nan"))]))
    stage.settle()

    assert stage.row("a").state == REVOKED


# Paused queues


def test_nothing_of_a_paused_queue_is_handed_out(stage: Stage) -> None:
    stage.runner("r")
    stage.pause("mail")

    stage.offer(new_job("a", queue="mail"), new_job("b"))
    stage.settle()

    assert ids(stage.handed("r")) == ["b"]


def test_a_queue_that_goes_on_is_handed_out(stage: Stage) -> None:
    stage.offer(new_job("a", queue="mail"))
    stage.pause("mail")
    stage.runner("r")
    stage.offer(new_job("b", queue="mail"))
    stage.settle()
    while_paused = stage.handed("r")

    stage.pause("mail", paused=False)
    stage.now += 2
    stage.take_up()
    while len(stage.handed("r")) < 2:
        stage.settle()
        stage.run("r", stage.handed("r")[-1])

    assert while_paused == []
    assert ids(stage.handed("r")) == ["a", "b"]


def test_a_claim_on_its_way_is_given_back_when_its_queue_is_paused(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))

    stage.pause("celery")
    stage.settle()
    state = stage.row("a").state
    stage.pause("celery", paused=False)
    stage.now += 2
    stage.take_up()
    stage.settle()

    assert state == PENDING
    assert [(call.id, call.hand) for call in stage.handed("r")] == [("a", 2)]


def test_a_paused_queue_is_still_paused_for_the_next_leader(stage: Stage) -> None:
    stage.pause("celery")
    stage.offer(new_job("a"))

    stage.take_over()
    stage.step(Paused(stage.desk.paused()))
    stage.runner("r")
    stage.now += 2
    stage.take_up()
    stage.settle()

    assert stage.handed("r") == []


def test_a_paused_queue_leaves_room_to_the_others() -> None:
    stage = Stage(Rules(high_water=3))
    stage.pause("mail")

    stage.submit(*[new_job(f"mail {number}", queue="mail") for number in range(5)])
    stage.now += 2
    stage.take_up()
    room = stage.broker.room

    assert room == 3
    assert len(stage.broker) == 0
    assert not stage.taken.more


def test_what_a_paused_queue_had_no_room_for_is_found_when_it_goes_on() -> None:
    stage = Stage(Rules(high_water=2))
    stage.measure("task", 0.001)
    stage.pause("mail")
    first = new_job("first")
    jobs = [new_job(f"job {number}", queue="mail") for number in range(5)]
    edges = [Edge("first", job.id, 0, takes_result=False) for job in jobs]
    stage.submit(first, *jobs, edges=edges)
    stage.now += 2
    stage.take_up()
    stage.runner("r")
    stage.settle()
    stage.run("r", *stage.handed("r"))
    stage.settle()
    known = len(stage.broker)
    stage.said.clear()

    stage.pause("mail", paused=False)
    for _ in range(3):
        stage.take_up()
        stage.settle()

    assert known == 0
    assert sorted(ids(stage.handed("r"))) == [f"job {number}" for number in range(5)]


def test_a_full_queue_does_not_keep_hints_of_others_out() -> None:
    stage = Stage(Rules(high_water=2))
    stage.offer(*[new_job(f"job {number}") for number in range(3)])

    stage.offer(new_job("a", queue="mail"))

    assert stage.broker.knows("a")
    assert not stage.broker.knows("job 2")
    assert stage.broker.unwanted == {"celery"}
    assert stage.broker.room == 1
