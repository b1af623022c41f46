"""What a ledger keeps of the schedule: one contract for all."""

from __future__ import annotations

from dask_facade.ledger.store import Ran


def test_a_run_of_an_entry_is_kept(store):
    assert store.schedules() == {}

    store.note_run("a", 1_000.25, 0)
    store.note_run("b" * 300, 2_000.5, 7)
    store.note_run("a", 1_060.25, 1)

    assert store.schedules() == {"a": Ran(1_060.25, 1), "b" * 300: Ran(2_000.5, 7)}


def test_an_earlier_run_is_no_news(store):
    store.note_run("a", 1_000.0, 5)

    store.note_run("a", 940.0, 6)
    store.note_run("a", 1_000.0, 6)

    assert store.schedules() == {"a": Ran(1_000.0, 5)}


def test_entries_are_forgotten(store):
    store.note_run("a", 1_000.0, 5)
    store.note_run("b", 1_000.0, 5)

    store.drop_schedules({"a", "unknown"})

    assert store.schedules().keys() == {"b"}
