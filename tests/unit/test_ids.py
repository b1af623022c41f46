from __future__ import annotations

import time
import uuid

from dask_facade.ids import new_id


def test_an_id_is_a_uuid_of_version_7():
    made = uuid.UUID(new_id())

    assert made.version == 7
    assert made.variant == uuid.RFC_4122


def test_an_id_is_written_as_uuids_are():
    made = new_id()

    assert made == str(uuid.UUID(made))


def test_an_id_tells_the_millisecond_of_its_making():
    before = time.time_ns() // 1_000_000
    milliseconds = uuid.UUID(new_id()).int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds <= after


def test_ids_sort_in_the_order_of_their_making(monkeypatch):
    moments = iter(range(1_700_000_000_000_000_000, 1_700_000_000_100_000_000, 250_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))  # four in each millisecond

    made = [new_id() for _ in range(400)]

    assert made == sorted(made)


def test_no_two_ids_are_the_same_even_in_one_nanosecond(monkeypatch):
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)

    assert len({new_id() for _ in range(10_000)}) == 10_000
