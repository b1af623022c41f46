from __future__ import annotations

import asyncio

import pytest

from dask_facade.dispatcher import leader
from dask_facade.dispatcher.leader import take_lease
from dask_facade.exceptions import LedgerBusy, LedgerUnavailable
from dask_facade.ledger.memory import MemoryStore

LEASE = 5.0


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def desk(store):
    return store.open_desk()


@pytest.fixture
def stand_by(store, clock, monkeypatch):
    """Wait for the lease, with *between* called after each look that was in vain; it may raise.

    Returns the lease and how many looks were in vain.
    """

    class TooLong(Exception):
        pass

    def stand_by(between=lambda: None, desk=None, most=50):
        looks = 0

        async def sleep(seconds):
            nonlocal looks
            looks += 1
            if looks > most:
                raise TooLong
            clock.now += seconds
            between()

        monkeypatch.setattr(leader.asyncio, "sleep", sleep)
        standby = take_lease(desk or store.open_desk(), "standby", ["host:2"], LEASE, clock)
        try:
            return asyncio.run(standby), looks
        except TooLong:
            return None, looks

    return stand_by


def test_the_first_dispatcher_leads_at_once(store, stand_by):
    lease, looks = stand_by()

    assert looks == 0
    assert (lease.epoch, lease.holder, lease.addresses) == (1, "standby", ("host:2",))
    assert len(lease.secret) == 32
    assert store.lease() == lease


def test_one_that_resigned_is_followed_at_once(desk, stand_by):
    desk.resign(desk.lead("first", ["host:1"], b"secret", None).epoch)

    lease, looks = stand_by()

    assert looks == 0
    assert (lease.epoch, lease.holder) == (2, "standby")
    assert lease.secret == b"secret"  # the tokens of runners and clients stay good


def test_a_leader_whose_beat_moves_is_left_alone(desk, stand_by):
    first = desk.lead("first", ["host:1"], b"secret", None)

    lease, _ = stand_by(lambda: desk.beat(first.epoch))

    assert lease is None
    assert desk.lease().holder == "first"


def test_a_silent_leader_is_followed_after_the_lease_and_not_before(desk, clock, stand_by):
    desk.lead("first", ["host:1"], b"secret", None)
    begun = clock.now

    lease, _ = stand_by()

    assert LEASE <= clock.now - begun <= LEASE + 2 * leader.LOOK_EVERY
    assert (lease.epoch, lease.holder) == (2, "standby")


def test_the_lease_counts_from_the_last_beat_that_was_seen(desk, clock, stand_by):
    first = desk.lead("first", ["host:1"], b"secret", None)
    begun, beats = clock.now, iter(range(6))

    def between():
        if next(beats, None) is not None:
            desk.beat(first.epoch)

    stand_by(between)

    assert clock.now - begun >= LEASE + 6 * leader.LOOK_EVERY


def test_the_clock_that_counts_is_ones_own(desk, clock, stand_by):
    """The beats of a leader whose clock is hours away move all the same."""
    first = desk.lead("first", ["host:1"], b"secret", None)

    def between():
        clock.now += LEASE - 2 * leader.LOOK_EVERY
        desk.beat(first.epoch)

    assert stand_by(between)[0] is None


def test_of_two_standbys_one_takes_the_lease(desk, store, stand_by):
    """The other one's compare-and-set finds that the row has changed."""
    desk.resign(desk.lead("first", [], b"secret", None).epoch)

    class Slow:
        """Between its look and its attempt another standby takes the lease."""

        def lease(self):
            return desk.lease()

        def lead(self, holder, addresses, secret, seen):
            if desk.lease() == seen:
                desk.lead("the other", [], b"", seen)
            return desk.lead(holder, addresses, secret, seen)

    lease, _ = stand_by(desk=Slow(), most=2)

    assert lease is None
    assert store.lease().holder == "the other"


@pytest.mark.parametrize("error", [LedgerUnavailable, LedgerBusy])
def test_a_ledger_that_does_not_answer_is_asked_again(store, stand_by, error):
    desk = store.open_desk()
    answers = [error(), error()]

    class Away:
        def lease(self):
            if answers:
                raise answers.pop()
            return desk.lease()

        def lead(self, *arguments):
            return desk.lead(*arguments)

    lease, looks = stand_by(desk=Away())

    assert looks == 2
    assert lease.holder == "standby"


def test_a_standby_says_so_once(desk, stand_by, caplog):
    first = desk.lead("first", ["host:1"], b"secret", None)

    stand_by(lambda: desk.beat(first.epoch))

    assert [record.message for record in caplog.records] == ["dispatcher first leads; standing by"]
