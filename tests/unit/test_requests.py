"""What people ask a leader for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from dask_facade.events import Rules
from dask_facade.exceptions import LedgerRefused, LedgerUnavailable
from dask_facade.jobs import (
    END,
    FORGET,
    PAUSE,
    PRUNE,
    REOPEN,
    RESUME,
    REVOKE,
    REVOKE_STAMPED,
    SAY,
    Job,
    Written,
)
from dask_facade.ledger.memory_desk import MemoryDesk
from dask_facade.messages import Edge, Hand, Held, Kill, Push, Wait
from dask_facade.serialization import dumps
from dask_facade.signals import task_revoked
from dask_facade.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS
from dask_facade.worker import state
from tests.unit.house import House, is_done, job, wait_for
from tests.unit.stage import EPOCH

# Revoke


@pytest.mark.parametrize("taken_up", [True, False])
def test_whoever_listens_hears_of_a_revocation(house: House, taken_up: bool) -> None:
    heard = []

    @task_revoked.connect
    def receive(sender: Any, request: Any, **named: Any) -> None:
        heard.append((sender, request.id, request.task, named["terminated"], named["expired"]))

    house.submit(job("a", task="nobody.knows"))
    if taken_up:
        wait_for(lambda: "a" not in house.untaken(), "its being taken up")

    house.ask(REVOKE, "a")
    house.client().offers(house.submit(job("b", task="t", expires=time.time() - 1 - EPOCH)))

    wait_for(lambda: len(heard) == 2, "the signals")
    assert sorted(heard, key=lambda each: each[1]) == [
        (None, "a", "nobody.knows", False, False),
        (None, "b", "t", False, True),
    ]


def test_what_others_recorded_as_begun_stays_when_it_is_revoked(house: House) -> None:
    house.store.record(Job("a", state=RETRY, said=STARTED))

    house.ask(REVOKE, "a")

    is_done(house)
    assert (house.row("a").state, house.row("a").said) == (RETRY, STARTED)


def test_a_job_that_waits_is_revoked_and_who_waits_is_told(house: House) -> None:
    client = house.client()
    client.says(Wait(["a"]))
    client.offers(house.submit(job("a")))

    house.ask(REVOKE, "a")

    assert [(end.id, end.state) for end in client.hears(Push).outcomes] == [("a", REVOKED)]
    is_done(house)


def test_what_fails_with_a_revoked_job_is_told(house: House) -> None:
    client = house.client()
    client.says(Wait(["b"]))
    edges = [Edge("a", "b", 0, takes_result=True)]
    house.store.submit([job("a"), job("b")], edges, lambda created: None)

    house.ask(REVOKE, "a")

    assert [(end.id, end.state) for end in client.hears(Push).outcomes] == [("b", FAILURE)]


def test_a_job_that_runs_goes_on_and_its_request_stays_so_long(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    house.ask(REVOKE, "a")
    wait_for(lambda: house.switchboard.is_revoking("a"), "its revocation")
    asked = house.requests()
    runner.ends(call, SUCCESS)
    is_done(house)

    assert asked == ["a"]
    assert house.row("a").state == SUCCESS
    assert runner.heard(Kill) == []


def test_a_job_that_runs_is_terminated(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    house.ask(REVOKE, "a", terminate=True)
    kill = runner.hears(Kill)
    runner.ends(call, REVOKED)
    is_done(house)

    assert (kill.id, kill.hand) == ("a", call.hand)
    assert house.row("a").state == REVOKED


def test_a_revoked_job_is_not_tried_again(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    house.ask(REVOKE, "a")
    wait_for(lambda: house.switchboard.is_revoking("a"), "its revocation")
    runner.ends(call, RETRY, delay=60)

    house.wait_for_state("a", REVOKED)
    is_done(house)


def test_a_job_may_be_revoked_before_it_exists(house: House) -> None:
    client, runner = house.client(), house.runner()
    house.ask(REVOKE, "a")
    wait_for(lambda: house.switchboard.is_revoking("a"), "its revocation")

    client.offers(house.submit(job("a"), job("b")))

    assert runner.is_handed().id == "b"
    house.wait_for_state("a", REVOKED)
    is_done(house)


def test_a_revocation_outlives_its_leader(lead: Callable[..., House]) -> None:
    first = lead()
    runner = first.runner()
    first.client().offers(first.submit(job("runs")))
    call = runner.is_handed()
    first.ask(REVOKE, "runs", "to come", terminate=True)
    runner.hears(Kill)
    wait_for(lambda: first.switchboard.is_revoking("to come"), "its revocation")

    second = lead()
    runner = second.runner(held=[Held("runs", 1, call.hand, begun=True)])
    second.client().offers(second.submit(job("to come"), job("other")))

    runner.hears(Kill)
    runner.ends(call, REVOKED)
    assert runner.is_handed().id == "other"
    second.wait_for_state("to come", REVOKED)
    is_done(second)


@pytest.fixture
def no_stamp_stays() -> Iterator[None]:
    yield
    state.revoked_stamps.clear()


STAMPED = dumps({"stamped_headers": ["of"], "stamps": {"of": "me"}})


def test_a_revoked_stamp_outlives_its_leader(
    lead: Callable[..., House], no_stamp_stays: None
) -> None:
    first = lead()
    first.ask(REVOKE_STAMPED, "of", values=["me", 7])
    wait_for(lambda: state.revoked_stamps == {"of": ["me", 7]}, "its being known")
    state.revoked_stamps.clear()  # as in another process

    second = lead()
    runner = second.runner()
    stamped = job("stamped")._replace(options=STAMPED)
    second.client().offers(second.submit(stamped, job("other")))

    assert runner.is_handed().id == "other"
    second.wait_for_state("stamped", REVOKED)
    assert second.requests() == ["of"]


def test_a_stamp_is_not_revoked_for_ever(
    house: House, no_stamp_stays: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ask(REVOKE_STAMPED, "of", values=["me"])
    wait_for(lambda: state.revoked_stamps == {"of": ["me"]}, "its being known")
    state.revoked_stamps["of"].append("you")  # by somebody else

    monkeypatch.setattr(house.asked._stamps, "_patience", 0.0)

    is_done(house)
    assert state.revoked_stamps == {"of": ["you"]}


def test_who_leads_next_tells_what_was_revoked(lead: Callable[..., House]) -> None:
    first = lead()
    first.submit(job("a"), job("b"), job("c"))
    first.ask(REVOKE, "b")
    first.wait_for_state("b", REVOKED)
    first.ask(REVOKE, "a")
    first.wait_for_state("a", REVOKED)
    is_done(first)

    second = lead()

    assert sorted(second.asked.revoked) == ["a", "b"]


def test_a_job_that_has_ended_stays_as_it_is(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    runner.ends(runner.is_handed(), SUCCESS)
    house.wait_for_state("a", SUCCESS)

    house.ask(REVOKE, "a")
    is_done(house)

    assert house.row("a").state == SUCCESS
    assert not house.switchboard.is_revoking("a")


def test_more_may_be_revoked_than_are_read_at_once(house: House) -> None:
    house.submit(*[job(f"job {number}") for number in range(2_500)])
    unknown = [f"unknown {number}" for number in range(1_500)]

    house.ask(REVOKE, *unknown, *[f"job {number}" for number in range(2_500)])

    house.wait_for_state("job 2499", REVOKED)
    wait_for(lambda: sorted(house.requests()) == sorted(unknown), "the end of what is done")


# Retry


def test_a_job_that_failed_runs_again(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    runner.ends(runner.is_handed(), FAILURE)
    house.wait_for_state("a", FAILURE)

    house.ask(REOPEN, "a")
    call = runner.is_handed()
    runner.ends(call, SUCCESS)
    house.wait_for_state("a", SUCCESS)

    assert call.attempt == 2
    is_done(house)


def test_a_job_that_was_revoked_runs_when_it_is_wanted_again(house: House) -> None:
    client, runner = house.client(), house.runner()
    house.ask(REVOKE, "a")
    wait_for(lambda: house.switchboard.is_revoking("a"), "its revocation")
    client.offers(house.submit(job("a")))
    house.wait_for_state("a", REVOKED)

    house.ask(REOPEN, "a")

    assert runner.is_handed().id == "a"


# Forget


def test_a_job_that_is_forgotten_is_gone_and_the_cluster_is_told(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a"), job("b")))
    for _ in range(2):
        runner.ends(runner.is_handed(), SUCCESS)
    house.wait_for_state("b", SUCCESS)
    house.wait_for_state("a", SUCCESS)

    house.ask(FORGET, "a")
    ids, kept = house.forgotten.get(timeout=10)

    assert (ids, kept) == ({"a"}, {})
    assert set(house.store.fetch(["a", "b"])) == {"b"}
    is_done(house)


def test_a_job_with_a_future_is_named_to_the_cluster(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()
    runner.ends(call, SUCCESS, key="('kept', 'a')")
    house.wait_for_state("a", SUCCESS)

    house.ask(FORGET, "a")

    assert house.forgotten.get(timeout=10) == ({"a"}, {"a": ""})


def test_a_job_is_forgotten_once_it_has_ended_and_what_depends_on_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask_facade.dispatcher.requests.FORGET_AGAIN", 0.0)
    runner = house.runner()
    edges = [Edge("a", "b", 0, takes_result=True)]
    house.store.submit([job("a"), job("b")], edges, lambda created: None)
    runner.ends(runner.is_handed(), SUCCESS)
    call = runner.is_handed()

    house.ask(FORGET, "a")
    house.ask(PAUSE, "mail")
    wait_for(lambda: house.requests() == ["a"], "what was asked for later")
    before = house.row("a").state
    runner.ends(call, SUCCESS)
    is_done(house)

    assert before == SUCCESS
    assert set(house.store.fetch(["a", "b"])) == {"b"}


def test_a_job_that_does_not_end_is_not_to_be_forgotten_for_ever(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("dask_facade.dispatcher.requests.PATIENCE", -1.0)
    house.submit(job("a"))

    house.ask(FORGET, "a")
    is_done(house)

    assert "job a is not forgotten" in caplog.text


# Prune


def test_what_ended_long_ago_is_deleted_when_that_is_asked_for(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a"), job("open")))
    runner.ends(runner.is_handed(), SUCCESS)
    house.wait_for_state("a", SUCCESS)

    house.store.request(PRUNE, [""], {"older": 3_600})
    is_done(house)
    before = set(house.store.fetch(["a", "open"]))
    house.store.request(PRUNE, [""], {"older": 0})
    is_done(house)

    assert before == {"a", "open"}
    assert set(house.store.fetch(["a", "open"])) == {"open"}
    assert [set(ids) for ids, _ in [house.forgotten.get(timeout=10)]] == [{"a"}]


@pytest.mark.parametrize("older", [None, "a day", -1, float("inf"), True])
def test_a_time_that_is_none_deletes_nothing(house: House, older: Any) -> None:
    house.submit(job("a"))

    house.store.request(PRUNE, [""], {"older": older})
    is_done(house)

    assert house.store.fetch(["a"])


def test_the_cluster_is_told_of_a_job_whose_row_an_earlier_leader_deleted(house: House) -> None:
    house.ask(FORGET, "a")

    assert house.forgotten.get(timeout=10) == ({"a"}, {})
    is_done(house)


# Answers that are lost


def test_what_was_taken_up_is_handed_out_though_the_answer_was_lost(
    lead: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_up, lost = MemoryDesk.take_up, []

    def lose_answer(*arguments: Any) -> Written:
        written = take_up(*arguments)
        if written.ready and not lost:
            lost.append(written)
            raise LedgerUnavailable("the answer was lost")
        return written

    monkeypatch.setattr(MemoryDesk, "take_up", lose_answer)
    house = lead()
    runner = house.runner()
    house.submit(job("a"))

    assert runner.is_handed().id == "a"
    assert lost


# Pause and resume


def test_a_queue_is_paused_and_goes_on(lead: Callable[..., House]) -> None:
    house = lead()
    house.ask(PAUSE, "mail")
    is_done(house)
    house = lead()  # for the next leader, too
    client, runner = house.client(), house.runner()

    client.offers(house.submit(job("a", queue="mail"), job("b")))
    first = runner.is_handed()
    runner.ends(first, SUCCESS)
    house.wait_for_state("b", SUCCESS)
    before = runner.heard(Hand)
    house.ask(RESUME, "mail")

    assert first.id == "b"
    assert before == []
    assert runner.is_handed().id == "a"


def test_what_had_no_room_while_its_queue_was_paused_runs_when_it_goes_on(
    lead: Callable[..., House],
) -> None:
    house = lead(rules=Rules(high_water=2))
    house.ask(PAUSE, "mail")
    is_done(house)
    house.submit(*[job(f"job {number}", queue="mail") for number in range(5)])
    house.submit(job("other"))
    wait_for(lambda: "other" not in house.untaken(), "the taking up of the other queue's")
    paused = house.untaken()

    house.ask(RESUME, "mail")
    runner = house.runner()
    for _ in range(6):
        runner.ends(runner.is_handed(), SUCCESS)

    for number in range(5):
        house.wait_for_state(f"job {number}", SUCCESS)
    assert paused == [f"job {number}" for number in range(5)]


# What cannot be


def test_what_nobody_knows_is_dropped(house: House, caplog: pytest.LogCaptureFixture) -> None:
    house.ask("dance", "a")

    is_done(house)
    assert "dance" in caplog.text


def test_what_the_ledger_refuses_is_dropped_and_the_others_are_done(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoke = house.writer.desk.revoke

    def refuse(epoch: int, ids: Collection[str], reason: str) -> object:
        if "odd" in ids:
            raise LedgerRefused("it is too odd")
        return revoke(epoch, ids, reason)

    monkeypatch.setattr(house.writer.desk, "revoke", refuse)
    house.submit(job("a"), job("b"))

    house.ask(REVOKE, "a", "odd", "b")

    house.wait_for_state("a", REVOKED)
    house.wait_for_state("b", REVOKED)
    is_done(house)
    assert not house.switchboard.is_revoking("odd")


@pytest.mark.parametrize(
    ("kind", "said"),
    [(END, {"result": "abc"}), (SAY, {"meta": "abc"}), (END, {"state": "nonsense"}), (PRUNE, {})],
)
def test_a_request_that_cannot_be_is_dropped_and_the_others_are_done(
    house: House, kind: str, said: dict[str, str]
) -> None:
    house.submit(job("a"), job("b"))

    house.store.request(kind, ["a"], said)
    house.ask(REVOKE, "b")

    house.wait_for_state("b", REVOKED)
    is_done(house)
    assert house.row("a").state == PENDING
