"""Leadership: one holder, fenced by its epoch."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from dask_facade.exceptions import LeadershipLost, LedgerBusy
from dask_facade.jobs import Batch
from dask_facade.ledger.orm import OrmStore
from dask_facade.messages import Spawn, Update
from dask_facade.states import PENDING, RECEIVED, STARTED
from tests.db.plans import claim, edge, end, job


@pytest.fixture
def desk(store):
    desk = store.open_desk()
    yield desk
    desk.close()


def test_the_first_leader_writes_the_lease(store, desk):
    lease = desk.lead("first", ("tcp://a:1", "tcp://b:2"), b"secret", None)

    assert lease == store.lease()
    assert (lease.epoch, lease.holder, lease.secret) == (1, "first", b"secret")
    assert lease.addresses == ("tcp://a:1", "tcp://b:2")


def test_the_next_leader_gets_a_new_epoch_and_the_old_secret(store, desk):
    seen = desk.lead("first", ("tcp://a:1",), b"secret", None)

    lease = desk.lead("second", ("tcp://b:2",), b"another", seen)

    assert lease == store.lease()
    assert lease.epoch == seen.epoch + 1
    assert (lease.holder, lease.addresses, lease.secret) == ("second", ("tcp://b:2",), b"secret")


def test_of_two_that_saw_the_same_lease_one_leads(desk):
    seen = desk.lead("first", (), b"secret", None)

    second = desk.lead("second", (), b"secret", seen)
    third = desk.lead("third", (), b"secret", seen)

    assert second is not None
    assert third is None


def test_of_two_that_saw_no_lease_one_leads(desk):
    assert desk.lead("first", (), b"secret", None) is not None
    assert desk.lead("second", (), b"secret", None) is None


def test_a_lease_that_beats_is_not_taken(store, desk):
    seen = desk.lead("first", (), b"secret", None)
    desk.beat(seen.epoch)

    assert desk.lead("second", (), b"secret", seen) is None
    assert store.lease() == replace(seen, beat=seen.beat + 1)


def test_a_lease_that_was_given_up_is_free_at_once(store, desk):
    seen = desk.lead("first", ("tcp://a:1",), b"secret", None)
    desk.resign(seen.epoch)

    free = store.lease()

    assert (free.holder, free.addresses, free.epoch) == ("", (), seen.epoch)
    assert desk.lead("second", (), b"secret", seen) is None
    assert desk.lead("second", (), b"secret", free).epoch == seen.epoch + 1


def writes(ledger, work):
    """Each method that writes."""
    desk, old = ledger.desk, ledger.epoch
    running, waiting = work
    return {
        "beat": lambda: desk.beat(old),
        "resign": lambda: desk.resign(old),
        "write outcomes": lambda: desk.write(old, Batch(outcomes=[end(running)])),
        "write claims": lambda: desk.write(old, Batch(claims=[claim(waiting)])),
        "write nothing": lambda: desk.write(old, Batch()),
        "take up": lambda: desk.take_up(old, 0, 2, 10),
        "forget taken": lambda: desk.forget_taken(old),
        "announce": lambda: desk.announce(old, "tcp://s:1"),
        "requests": lambda: desk.requests(old, 10),
        "drop requests": lambda: desk.drop_requests(old, [1]),
        "spawn": lambda: desk.spawn(old, [Spawn(1, False, running.id, 1, 1, [job()], [])]),
        "update": lambda: desk.update(old, [Update(running.id, 1, 1, STARTED, b"", "")]),
        "revoke": lambda: desk.revoke(old, [waiting.id], "revoked"),
        "reopen": lambda: desk.reopen(old, [waiting.id]),
        "forget": lambda: desk.forget(old, [waiting.id]),
        "pause": lambda: desk.pause(old, "slow", paused=True),
    }


def test_a_stale_epoch_writes_nothing_anywhere(ledger):
    running, waiting = job(), job()
    ledger.submit(running, waiting)
    ledger.claim(running)
    ledger.store.request("revoke", [waiting.id], {})
    rival = ledger.desk.lead("second", (), b"secret", ledger.store.lease())
    before = ledger.store.fetch([running.id, waiting.id])

    for name, write in writes(ledger, (running, waiting)).items():
        with pytest.raises(LeadershipLost):
            write()
        assert ledger.store.lease() == rival, name
        assert ledger.store.fetch([running.id, waiting.id]) == before, name

    assert [call.id for call in ledger.desk.take_up(rival.epoch, 0, 2, 10).ready] == [waiting.id]
    ((_, *asked),) = ledger.desk.requests(rival.epoch, 10)
    assert asked == ["revoke", waiting.id, {}]
    assert ledger.desk.paused() == set()


def test_a_stale_epoch_writes_nothing_of_a_chain(ledger):
    parent, child = job(), job()
    ledger.submitted(parent, child, edges=[edge(parent, child)])
    ledger.claim(parent)
    ledger.desk.lead("second", (), b"secret", ledger.store.lease())

    with pytest.raises(LeadershipLost):
        ledger.end(parent)

    assert ledger.states(parent, child) == [RECEIVED, PENDING]


def test_of_many_dispatchers_at_once_one_leads(alias):
    desks = [OrmStore(alias).open_desk() for _ in range(6)]
    seen = desks[0].lead("first", (), b"secret", None)
    for desk in desks:
        desk.check_schema()
    leases = []

    def lead(desk, holder):
        leases.append(in_turn(lambda: desk.lead(holder, (), b"secret", seen)))

    threads = [
        threading.Thread(target=lead, args=(desk, f"rival {place}"))
        for place, desk in enumerate(desks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    (lease,) = [lease for lease in leases if lease is not None]
    assert lease == OrmStore(alias).lease()
    for desk in desks:
        desk.close()


def in_turn(act):
    while True:
        try:
            return act()
        except LedgerBusy:
            pass


def test_nothing_of_an_old_leader_is_written_once_the_next_one_leads(orm_ledger, alias):
    jobs = [job() for _ in range(3_000)]
    orm_ledger.submit(*jobs)
    rival = OrmStore(alias).open_desk()
    rival.check_schema()
    begun = threading.Event()
    lost = []

    def write_until_lost():
        for place, made in enumerate(jobs):
            try:
                in_turn(lambda made=made: orm_ledger.claim(made))
            except LeadershipLost:
                lost.append(place)
                return
            if place == 20:
                begun.set()

    thread = threading.Thread(target=write_until_lost)
    thread.start()
    begun.wait(10)
    seen = orm_ledger.store.lease()
    assert in_turn(lambda: rival.lead("second", (), b"", seen)) is not None
    held = {call.id for call, _, _ in rival.in_flight()}
    thread.join()

    assert lost
    assert held == {made.id for made in jobs[: lost[0]]}
    assert {call.id for call, _, _ in rival.in_flight()} == held
    rival.close()
