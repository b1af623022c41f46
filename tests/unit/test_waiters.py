from __future__ import annotations

from dask_facade.waiters import Waiters


def test_all_who_wait_for_a_job_are_named_and_wait_no_more() -> None:
    waiters = Waiters()
    waiters.add("c", ["a", "b"])
    waiters.add("d", ["a"])

    assert set(waiters.pop("a")) == {"c", "d"}
    assert list(waiters.pop("a")) == []
    assert list(waiters.of("b")) == ["c"]


def test_who_stops_waiting_for_a_job_waits_for_the_others() -> None:
    waiters = Waiters()
    waiters.add("c", ["a", "b"])

    assert waiters.remove("c", "a")
    assert not waiters.remove("c", "a")
    assert not waiters.remove("d", "b")
    assert (list(waiters.of("a")), list(waiters.of("b"))) == ([], ["c"])


def test_who_leaves_waits_for_nothing() -> None:
    waiters = Waiters()
    waiters.add("c", ["a", "b"])
    waiters.add("d", ["b"])

    waiters.leave("c")
    waiters.leave("unknown")

    assert (list(waiters.of("a")), list(waiters.of("b"))) == ([], ["d"])


def test_nothing_is_left_of_what_nobody_waits_for() -> None:
    waiters = Waiters()
    waiters.add("c", ["a"])
    waiters.add("d", ["a", "b"])
    waiters.add("e", [])

    waiters.pop("a")
    waiters.remove("d", "b")

    assert len(waiters) == 0
    assert waiters._ids == {}
