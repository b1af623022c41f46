"""A leader's lines and commits, by those who dial it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from dask_facade.dispatcher import commits
from dask_facade.exceptions import LineRefused
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import (
    DUPLICATE,
    INVALID,
    SUPERSEDED,
    Ack,
    Hand,
    Held,
    Look,
    Push,
    Report,
    Spawn,
    Spawned,
    Update,
    Wait,
)
from dask_facade.states import FAILURE, RETRY, STARTED, SUCCESS
from tests.unit.house import House, job, wait_for
from tests.unit.stage import end_of

LATE = 0.4  # seconds that a call may be late on a busy machine; on a quiet one it is a tenth


@pytest.fixture
def house(no_thread_stays: None) -> Iterator[House]:
    house = House(MemoryStore())
    yield house
    house.close()


def test_a_call_goes_from_its_hint_to_its_end(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.says(Wait(["a"]))

    client.offers(house.submit(job("a")))
    call = runner.is_handed()
    runner.ends(call, SUCCESS)

    assert [end.id for end in client.hears(Push).outcomes] == ["a"]
    assert runner.hears(Ack).calls == [("a", 1)]
    assert house.row("a").state == SUCCESS


# Children


def test_what_a_call_submits_is_written_answered_and_handed_out(house: House) -> None:
    client, runner, other = house.client(), house.runner("r"), house.runner("s")
    client.offers(house.submit(job("parent")))
    busy, free = runner, other
    wait_for(lambda: runner.heard(Hand) or other.heard(Hand), "a hand")
    if other.heard(Hand):
        busy, free = other, runner
    parent = busy.is_handed()

    busy.says(Spawn(7, False, "parent", 1, parent.hand, [job("child", parent_id="parent")], []))
    answer = busy.hears(Spawned)

    assert (answer.number, answer.refusal) == (7, "")
    assert answer.created == pytest.approx(time.time(), abs=10)
    assert free.is_handed().id == "child"
    assert house.row("child").parent_id == "parent"


def test_what_a_call_submits_is_there_before_its_end_is_told(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.says(Wait(["parent"]))
    client.offers(house.submit(job("parent")))
    parent = runner.is_handed()

    spawn = Spawn(1, False, "parent", 1, parent.hand, [job("child", parent_id="parent")], [])
    runner.says(spawn, Report([end_of(parent)]))
    client.hears(Push)

    assert "child" in house.store.fetch(["child"])


def test_many_children_are_written_beside_the_loop(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("parent")))
    parent = runner.is_handed()

    children = [job(f"child {number}", parent_id="parent") for number in range(500)]
    runner.says(Spawn(1, False, "parent", 1, parent.hand, children, []))

    assert runner.hears(Spawned).refusal == ""
    assert len(house.store.fetch([child.id for child in children])) == 500


def test_what_cannot_be_submitted_is_refused_and_hurts_nobody_else(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("parent"), job("taken")))
    parent = runner.is_handed()

    for number, child in enumerate(["taken", "a\x00b", "fine"]):
        runner.says(Spawn(number, False, "parent", 1, parent.hand, [job(child)], []))
    answers = [runner.hears(Spawned) for _ in range(3)]

    assert [answer.refusal for answer in answers] == [DUPLICATE, INVALID, ""]
    assert "fine" in house.store.fetch(["fine"])


def test_who_does_not_run_a_call_submits_nothing_for_it(house: House) -> None:
    client, runner = house.client(), house.runner("r")
    client.offers(house.submit(job("parent")))
    parent = runner.is_handed()
    other = house.runner("s")

    other.says(Spawn(1, False, "parent", 1, parent.hand, [job("child")], []))

    assert other.hears(Spawned).refusal == SUPERSEDED


# Updates


def test_what_a_call_says_of_its_state_is_written_soon(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    runner.says(Update("a", 1, call.hand, STARTED, b"", ""))
    runner.says(*[Update("a", 1, call.hand, "PROGRESS", b"j%d" % at, "") for at in range(100)])

    wait_for(lambda: house.row("a").meta == b"j99", "the last update")
    assert (house.row("a").state, house.row("a").said) == (STARTED, "PROGRESS")


def test_updates_of_one_call_are_written_together(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    update = house.writer.desk.update

    def count(epoch, updates):
        written.append(len(updates))
        update(epoch, updates)

    monkeypatch.setattr(house.writer.desk, "update", count)
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    runner.says(*[Update("a", 1, call.hand, "PROGRESS", b"j%d" % at, "") for at in range(100)])
    wait_for(lambda: house.row("a").meta == b"j99", "the last update")

    assert set(written) == {1}
    assert len(written) < 10


def test_what_a_call_says_last_is_written_before_its_end(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.says(Wait(["a"]))
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    runner.says(Update("a", 1, call.hand, "PROGRESS", b"j1", ""), Report([end_of(call, FAILURE)]))
    client.hears(Push)

    assert house.row("a").state == FAILURE


def test_too_many_updates_are_shed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "UPDATE_BYTES", 10)
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    runner.says(
        Update("a", 1, call.hand, "FIRST", b"j1", ""),
        Update("a", 1, call.hand, "LARGE", b"j" + b"1" * 100, ""),
    )

    wait_for(lambda: house.row("a").said == "FIRST", "the first update")


# Looking


def test_who_looks_is_told_of_ends_past_and_to_come(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("past")))
    runner.ends(runner.is_handed(), SUCCESS)
    house.wait_for_state("past", SUCCESS)
    calls = house.submit(job("to come"))

    client.says(Look(["past", "to come"]))
    past = client.hears(Push).outcomes
    client.offers(calls)
    runner.ends(runner.is_handed(), FAILURE)
    to_come = client.hears(Push).outcomes

    assert [(end.id, end.state) for end in past] == [("past", SUCCESS)]
    assert [(end.id, end.state) for end in to_come] == [("to come", FAILURE)]


# Punctuality


def test_a_call_is_handed_out_when_it_is_due(house: House) -> None:
    runner = house.runner()
    due = time.time() + 1.0
    house.submit(job("a", due=due))

    call = runner.is_handed()

    assert call.id == "a"
    assert 0 <= time.time() - due < LATE


@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_a_retry_is_handed_out_when_it_is_due(house: House, delay: float) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))

    runner.ends(runner.is_handed(), RETRY, delay=delay)
    told = time.time()
    call = runner.is_handed()

    assert call.attempt == 2
    assert delay - 0.05 <= time.time() - told < delay + LATE


# Runners that dial


def test_a_runner_that_was_started_twice_is_refused_while_the_first_may_be_at_work(
    house: House,
) -> None:
    client, runner = house.client(), house.runner("r", instance="first")
    client.offers(house.submit(job("a")))
    call = runner.is_handed()
    runner.close()
    house.call(house.switchboard.beat)

    with pytest.raises(LineRefused, match="started twice"):
        house.runner("r", instance="second")
    house.runner("r", instance="first", held=[Held("a", 1, call.hand, begun=True)])


def test_a_runner_that_is_gone_for_good_leaves_nothing(house: House) -> None:
    for number in range(3):
        house.runner(f"r{number}", instance="first").close()

    def left() -> int:
        house.call(house.switchboard.beat)
        return len(house.switchboard._instances)

    wait_for(lambda: left() == 0, "the end of all runners")
