"""Calls and results that are large, on lines whose other end reads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import Push, Report, Unsure, Wait
from dask_facade.states import FAILURE, SUCCESS
from tests.unit.house import House, job, wait_for
from tests.unit.stage import end_of

MIB = 2**20
COUNT = 40  # of 4 MiB each: more than a line's other end may leave unread


@pytest.fixture
def house(no_thread_stays: None) -> Iterator[House]:
    house = House(MemoryStore())
    yield house
    house.close()


def test_a_runner_gets_large_calls_a_few_at_a_time(house: House) -> None:
    client, runner = house.client(), house.runner()
    client.offers(house.submit(job("first")))
    runner.says(Report([end_of(runner.is_handed(), runtime=0.0)]))  # they take no time
    large = [job(f"job {number}")._replace(payload=bytes(4 * MIB)) for number in range(COUNT)]

    house.submit(*large)
    for _ in large:
        runner.ends(runner.is_handed(), SUCCESS)

    wait_for(lambda: house.row(large[-1].id).ready, "the last end")
    assert not runner.ended.is_set()


def test_a_call_that_no_message_takes_fails_and_stops_no_other(house: House) -> None:
    runner = house.runner()
    house.submit(job("poison")._replace(options=bytes(70 * MIB)), job("fine"))

    runner.ends(runner.is_handed(), SUCCESS)

    house.wait_for_state("fine", SUCCESS)
    house.wait_for_state("poison", FAILURE)
    assert "PayloadTooLarge" in house.row("poison").result_preview


def test_who_waits_for_more_than_it_reads_is_sent_to_the_ledger(house: House) -> None:
    runner = house.runner()
    ids = [f"job {number}" for number in range(COUNT)]
    with house.client().stopped() as client:
        client.says(Wait(ids))
        house.submit(*map(job, ids))
        for _ in ids:
            large = end_of(runner.is_handed(), runtime=1.0)._replace(result=bytes(4 * MIB))
            runner.says(Report([large]))
        wait_for(lambda: all(house.row(id).ready for id in ids), "all ends")

    told: list[str] = []

    def told_of_all() -> bool:
        told[:] = [end.id for push in client.heard(Push) for end in push.outcomes]
        told.extend(id for unsure in client.heard(Unsure)[1:] for id in unsure.ids)
        return client.ended.is_set() or len(told) >= COUNT

    wait_for(told_of_all, "news of all")
    assert sorted(told) == sorted(ids)
    assert not client.ended.is_set()
