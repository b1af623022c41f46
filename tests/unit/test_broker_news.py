"""Who is told what of how calls end, and what the broker makes of what cannot be."""

from __future__ import annotations

import pytest

from dask_facade.events import Event, Found, Heard, LineEnded, Tick, WorkerGone, Wrote
from dask_facade.jobs import Batch, Claim, InFlight, Release, Written
from dask_facade.messages import (
    VERSION,
    Ack,
    Beat,
    Begun,
    Edge,
    Hand,
    Inputs,
    Leave,
    Offer,
    Pull,
    Push,
    Recall,
    Report,
    Returned,
    Shape,
    Unsure,
    Unwait,
    Wait,
    Welcome,
)
from dask_facade.states import FAILURE, RETRY, SUCCESS
from tests.unit.stage import Stage, end_of, ids, new_job


@pytest.fixture
def stage() -> Stage:
    return Stage()


def pushed(stage: Stage, client: str) -> list[tuple[str, str]]:
    return [
        (outcome.id, outcome.state)
        for push in stage.heard(client, Push)
        for outcome in push.outcomes
    ]


def unsure(stage: Stage, client: str) -> list[str]:
    return [id for message in stage.heard(client, Unsure) for id in message.ids]


# Ends are told once they are committed


def test_an_end_is_told_once_it_is_committed(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    stage.hear("c", Wait(["a"]))

    stage.run("r", *stage.handed("r"))
    before = list(stage.said.get("c", ())), stage.heard("r", Ack)
    stage.commit()

    assert before == ([], [])
    assert pushed(stage, "c") == [("a", SUCCESS)]
    assert stage.heard("r", Ack) == [Ack([("a", 1)])]
    assert stage.row("a").state == SUCCESS


def test_everybody_who_waits_is_told_once(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    for client in ("c", "d"):
        stage.hear(client, Wait(["a"]))
    stage.hear("c", Wait(["a"]))

    stage.run("r", *stage.handed("r"))
    stage.run("r", *stage.handed("r"))
    stage.settle()

    assert pushed(stage, "c") == [("a", SUCCESS)]
    assert pushed(stage, "d") == [("a", SUCCESS)]


def test_who_waits_for_several_is_told_of_all_that_a_commit_ended(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("a"), new_job("b"))
    stage.settle()
    stage.hear("c", Wait(["a", "b"]))

    stage.hear("r", Report([end_of(call) for call in stage.handed("r")]))
    stage.settle()

    (push,) = stage.heard("c", Push)
    assert ids(push.outcomes) == ["a", "b"]


def test_who_waits_for_what_is_not_here_must_look_in_the_ledger(stage: Stage) -> None:
    stage.offer(new_job("a"))

    stage.hear("c", Wait(["a", "elsewhere"]))

    assert unsure(stage, "c") == ["elsewhere"]


def test_who_was_unsure_is_told_all_the_same_when_it_ends_here(stage: Stage) -> None:
    calls = stage.submit(new_job("a"))
    stage.hear("c", Wait(["a"]))

    stage.hear("submitter", Offer(calls))
    stage.runner("r")
    stage.settle()
    stage.run("r", *stage.handed("r"))
    stage.settle()

    assert unsure(stage, "c") == ["a"]
    assert pushed(stage, "c") == [("a", SUCCESS)]


def test_who_waits_is_sent_to_the_ledger_when_a_claim_is_refused(stage: Stage) -> None:
    stage.runner("r")
    (call,) = stage.offer(new_job("a"))
    stage.hear("c", Wait(["a"]))

    stage.desk.write(stage.epoch, Batch(outcomes=[end_of(call, FAILURE)]))
    stage.settle()

    assert unsure(stage, "c") == ["a"]


@pytest.mark.parametrize("said", [Returned([("a", 1)]), Report([])])
def test_who_waits_is_sent_to_the_ledger_when_it_knows_better(
    stage: Stage, said: Returned | Report
) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    stage.hear("c", Wait(["a"]))
    (call,) = stage.handed("r")

    stage.desk.write(stage.epoch, Batch(outcomes=[end_of(call, FAILURE)]))
    stage.hear("r", said if isinstance(said, Returned) else Report([end_of(call)]))
    stage.settle()

    assert unsure(stage, "c") == ["a"]
    assert stage.broker.in_flight == 0


@pytest.mark.parametrize("ended", ["unwait", "line"])
def test_who_does_not_wait_any_more_is_told_nothing(stage: Stage, ended: str) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    stage.hear("c", Wait(["a"]))

    if ended == "unwait":
        stage.hear("c", Unwait(["a", "another"]))
    else:
        stage.end("c")
    stage.run("r", *stage.handed("r"))
    stage.settle()

    assert "c" not in stage.said


def test_a_retry_is_no_end(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    stage.hear("c", Wait(["a"]))

    retry = end_of(stage.handed("r")[0], RETRY, delay=60)
    stage.hear("r", Report([retry]))
    stage.settle()
    between = list(stage.said.get("c", ()))
    stage.now += 60
    stage.take_up(1, 2, 10)
    stage.step(Tick())
    stage.settle()
    stage.run("r", stage.handed("r")[-1])
    stage.settle()

    assert between == []
    assert [(call.attempt, call.hand) for call in stage.handed("r")] == [(1, 1), (2, 2)]
    assert stage.heard("r", Ack) == [Ack([("a", 1)]), Ack([("a", 2)])]
    assert pushed(stage, "c") == [("a", SUCCESS)]


def test_a_retry_may_be_found_before_its_commit_is_heard_of(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()

    retry = end_of(stage.handed("r")[0], RETRY)
    stage.hear("r", Report([retry]))
    stage.write()
    stage.take_up(1, 2, 10)
    stage.settle()

    assert [(call.attempt, call.hand) for call in stage.handed("r")] == [(1, 1), (2, 2)]


# Dependants


def test_what_becomes_ready_is_handed_out(stage: Stage) -> None:
    stage.runner("r")
    calls = stage.submit(
        new_job("a"),
        new_job("b", shape=Shape.FIRST),
        edges=[Edge("a", "b", position=0, takes_result=True)],
    )
    stage.hear("submitter", Offer(calls))
    stage.settle()

    stage.run("r", *stage.handed("r"))
    stage.settle()

    assert ids(stage.handed("r")) == ["a", "b"]
    assert stage.handed("r")[1].inputs == (b"jnull",)


def test_dependants_of_what_failed_are_told_of_too(stage: Stage) -> None:
    stage.runner("r")
    edges = [Edge("a", "b", 0, takes_result=True), Edge("b", "c", 0, takes_result=True)]
    calls = stage.submit(new_job("a"), new_job("b"), new_job("c"), edges=edges)
    stage.hear("submitter", Offer(calls))
    stage.settle()
    stage.hear("client", Wait(["a", "b", "c"]))

    stage.hear("r", Report([end_of(stage.handed("r")[0], FAILURE)]))
    stage.settle()

    assert pushed(stage, "client") == [("a", FAILURE), ("b", FAILURE), ("c", FAILURE)]
    assert ids(stage.handed("r")) == ["a"]


def test_a_dependant_that_comes_too_late_fails_and_is_told_of(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    stage.hear("r", Report([end_of(stage.handed("r")[0], FAILURE)]))
    stage.settle()

    stage.submit(new_job("b"), edges=[Edge("a", "b", 0, takes_result=True)])
    stage.hear("c", Wait(["b"]))
    stage.now += 2
    stage.take_up()

    assert pushed(stage, "c") == [("b", FAILURE)]


# Late and repeated reports


def test_a_late_report_changes_nothing_and_is_acknowledged(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    (call,) = stage.handed("r")
    stage.run("r", call)
    stage.settle()

    stage.hear("r", Report([end_of(call, FAILURE)]))
    stage.settle()

    assert stage.row("a").state == SUCCESS
    assert stage.heard("r", Ack) == [Ack([("a", 1)])] * 2


def test_a_report_of_an_earlier_hand_changes_nothing(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    (call,) = stage.handed("r")
    stage.hear("r", Returned([("a", 1)]))
    stage.settle()

    stage.run("r", call)
    stage.settle()
    state = stage.row("a").state
    stage.run("r", stage.handed("r")[1])
    stage.settle()

    assert state != SUCCESS
    assert stage.row("a").state == SUCCESS
    assert stage.heard("r", Ack) == [Ack([("a", 1)]), Ack([("a", 2)])]


def test_of_two_reports_in_one_commit_the_first_counts(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    (call,) = stage.handed("r")
    stage.hear("c", Wait(["a"]))

    stage.hear("r", Report([end_of(call)]))
    stage.hear("r", Report([end_of(call, FAILURE)]))
    stage.settle()

    assert pushed(stage, "c") == [("a", SUCCESS)]
    assert stage.row("a").state == SUCCESS


def test_a_report_is_acknowledged_on_the_line_that_repeated_it(stage: Stage) -> None:
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()
    (call,) = stage.handed("r")

    stage.run("r", call)
    stage.end("r", whole=False)
    stage.runner("r")
    stage.run("r", call)
    stage.settle()

    assert stage.row("a").state == SUCCESS
    assert ("a", 1) in [each for ack in stage.heard("r", Ack) for each in ack.calls]


def test_reports_wait_while_the_ledger_is_away(stage: Stage) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.offer(new_job("a"))
    stage.settle()

    stage.run("r", *stage.handed("r"))
    stage.offer(new_job("b"))
    stage.now += 600
    stage.step(Tick())
    meanwhile = list(stage.said["r"])
    stage.settle()

    assert [type(message) for message in meanwhile] == [Hand]
    assert ids(stage.handed("r")) == ["a", "b"]
    assert stage.heard("r", Ack) == [Ack([("a", 1)])]


# What cannot be

NOBODY = "nobody"
UNKNOWN = [("unknown", 1)]


def events() -> list[Event]:
    call = Stage().submit(new_job("unknown"))[0]._replace(hand=1)
    outcome = end_of(call)
    batch = Batch([outcome], [Release("unknown", 1, 1, 0)], [Claim("unknown", 1, 2, "r", "w")])
    nothing = Written((), (), (), (), ())
    return [
        Heard(NOBODY, Begun("unknown", 1)),
        Heard(NOBODY, Returned(UNKNOWN)),
        Heard(NOBODY, Unwait(["unknown"])),
        Heard(NOBODY, Offer([])),
        Heard(NOBODY, Leave()),
        Heard("r", Begun("unknown", 1)),
        Heard("r", Begun("a", 7)),  # another hand than it has
        Heard("r", Returned(UNKNOWN)),
        Heard("r", Returned([("a", 7), ("b", 1)])),  # b is another runner's
        Heard("s", Begun("a", 1)),
        LineEnded(NOBODY, whole=True),
        WorkerGone(NOBODY),
        Wrote(batch, nothing),  # never asked for
        Wrote(Batch(), Written((), (), tuple(UNKNOWN), tuple(UNKNOWN), ())),
        Found([]),
        Wrote(Batch(), nothing),
        Tick(),
    ]


@pytest.mark.parametrize("event", events(), ids=repr)
def test_what_cannot_be_changes_nothing(stage: Stage, event: Event) -> None:
    stage.measure("task", 0.001)
    stage.runner("r")
    stage.runner("s")
    stage.offer(new_job("a"), new_job("b"))
    stage.settle()
    said = {peer: list(messages) for peer, messages in stage.said.items()}

    stage.step(event)
    stage.settle()
    meanwhile = {peer: list(messages) for peer, messages in stage.said.items()}
    stage.run("r", *stage.handed("r"))
    stage.run("s", *stage.handed("s"))
    stage.settle()

    assert meanwhile == said
    assert stage.row("a").state == stage.row("b").state == SUCCESS
    assert stage.broker.in_flight == 0


@pytest.mark.parametrize(
    "message",
    [
        Ack(UNKNOWN),
        Beat(),
        Hand([]),
        Inputs("unknown", 0, [], 0),
        Pull("unknown", 0),
        Push([]),
        Recall(),
        Unsure(["unknown"]),
        Welcome(VERSION, 1, 5.0),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_no_peer_may_say_is_refused(stage: Stage, message: Ack) -> None:
    stage.runner("r")

    stage.hear("r", message)

    assert stage.refused == [f"r said {type(message).__name__}, which it may not"]


def test_an_end_of_a_call_that_was_never_handed_out_changes_no_state(stage: Stage) -> None:
    (call,) = stage.offer(new_job("a"))

    stage.hear("r", Report([end_of(call._replace(hand=3))]))
    stage.settle()
    stage.runner("r")
    stage.settle()

    assert ids(stage.handed("r")) == ["a"]


def test_what_was_found_twice_is_in_doubt_once(stage: Stage) -> None:
    (call,) = stage.submit(new_job("a"))
    stage.desk.write(stage.epoch, Batch(claims=[Claim("a", 1, 1, "r", "w")]))
    in_flight = InFlight(call._replace(hand=1), "r", "w")

    stage.step(Found([in_flight, in_flight]))
    stage.step(WorkerGone("w"))
    stage.settle()

    assert stage.row("a").state == FAILURE
    assert stage.broker.in_flight == 0
