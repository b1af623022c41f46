"""What others ask of a job's task, or say of the job, on the way to its runner and its row."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable

import pytest

from dask_facade.jobs import ABORT, END, SAY
from dask_facade.messages import Abort, Ack, Held, Push, Wait
from dask_facade.states import ABORTED, FAILURE, RETRY, SUCCESS
from tests.unit.house import House, is_done, job, wait_for


def test_the_runner_of_a_job_is_told_that_it_is_aborted(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()

    house.ask(ABORT, "a")

    assert runner.hears(Abort) == Abort("a", call.hand)
    wait_for(lambda: house.row("a").said == ABORTED, "its state")
    assert house.requests() == ["a"]
    runner.ends(call, SUCCESS)
    is_done(house)
    assert (house.row("a").state, house.row("a").said) == (SUCCESS, "")


def test_a_job_is_aborted_before_it_is_handed_out_and_when_it_is_tried_again(house: House) -> None:
    client = house.client()
    house.submit(job("a"))
    house.ask(ABORT, "a")
    wait_for(lambda: house.row("a").said == ABORTED, "its state")

    runner = house.runner()
    told, call = runner.hears(Abort), runner.is_handed()
    assert told == Abort("a", call.hand)
    runner.ends(call, RETRY)
    told, call = runner.hears(Abort), runner.is_handed()
    assert told == Abort("a", call.hand)
    client.says(Wait(["a"]))
    runner.ends(call, SUCCESS)

    assert [end.state for end in client.hears(Push).outcomes] == [SUCCESS]
    is_done(house)


def test_that_a_job_is_aborted_outlives_the_leader(lead: Callable[..., House]) -> None:
    house = lead()
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    call = runner.is_handed()
    house.ask(ABORT, "a")
    runner.hears(Abort)

    house = lead()
    runner = house.runner(held=[Held("a", call.attempt, call.hand, True)])

    assert runner.hears(Abort) == Abort("a", call.hand)
    runner.ends(call, SUCCESS)
    is_done(house)


@pytest.mark.parametrize("kind", [ABORT, SAY, END])
def test_nothing_comes_of_what_is_asked_of_a_job_that_nobody_knows(house: House, kind: str) -> None:
    house.ask(kind, "nobody", state=FAILURE, meta="", preview="", result="")

    is_done(house)


def test_a_job_shows_what_others_say_of_it(house: House) -> None:
    house.submit(job("a", due=4e9))

    house.ask(SAY, "a", state="BEHIND", meta=b64encode(b"j1").decode(), preview="1")

    is_done(house)
    assert (house.row("a").said, house.row("a").meta) == ("BEHIND", b"j1")


def test_a_running_job_ends_as_others_say_and_its_runner_is_rid_of_it(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("a")))
    client.says(Wait(["a"]))
    call = runner.is_handed()

    data = b64encode(b"j5").decode()
    house.ask(END, "a", state=FAILURE, result=data, preview="5", traceback="why")

    assert [end.state for end in client.hears(Push).outcomes] == [FAILURE]
    is_done(house)
    runner.ends(call, SUCCESS)
    assert runner.hears(Ack).calls == [("a", call.hand)]
    assert (house.row("a").state, house.row("a").result) == (FAILURE, b"j5")


def test_an_end_that_is_none_is_refused(house: House) -> None:
    house.submit(job("a", due=4e9))

    house.ask(END, "a", state="BEHIND", result="", preview="")

    is_done(house)
    assert house.row("a").said == ""
