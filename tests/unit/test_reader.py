from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from dask_facade.dispatcher import reader as reading
from dask_facade.dispatcher.reader import LedgerReader
from dask_facade.jobs import Batch, Claim
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import Outcome
from dask_facade.states import FAILURE, SUCCESS
from tests.unit.stage import new_job


class Away(Exception):
    """What a database raises."""


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def end(store: MemoryStore, *outcomes: Outcome) -> None:
    """Let jobs run and end."""
    desk = store.open_desk()
    lease = desk.lead("tests", (), b"", desk.lease())
    assert lease is not None
    store.submit([new_job(each.id) for each in outcomes], [], lambda created: None)
    desk.write(lease.epoch, Batch(claims=[Claim(each.id, 1, 1, "r", "w") for each in outcomes]))
    desk.write(lease.epoch, Batch(list(outcomes)))


def outcome(id: str, state: str = SUCCESS, result: bytes = b"j1", key: str = "") -> Outcome:
    return Outcome(id, 1, 1, state, result, "1", None, 1.0, 2.0, 1.0, key, len(key))


def ends(store: MemoryStore, ids: Sequence[str]) -> tuple[list[Outcome], list[str]]:
    """Return what a reader tells of jobs."""

    async def main() -> tuple[list[Outcome], list[str]]:
        reader = LedgerReader(store)
        try:
            return await reader.ends(ids)
        finally:
            reader.close()

    return asyncio.run(main())


def test_ends_are_told_as_their_runners_told_them(
    store: MemoryStore, no_thread_stays: None
) -> None:
    told = [outcome("a", key="('k', 1)"), outcome("b", FAILURE)]
    end(store, *told)
    store.submit([new_job("running")], [], lambda created: None)

    known, unknown = ends(store, ["a", "b", "running", "nowhere"])

    assert [each._replace(hand=1, runtime=1.0) for each in known] == told
    assert unknown == []


def test_more_ends_than_are_read_at_once_are_told(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "IDS", 3)
    names = [f"job {number}" for number in range(10)]
    end(store, *map(outcome, names))

    assert [each.id for each in ends(store, names)[0]] == names


@pytest.mark.parametrize(("limit", "told"), [(4, 2), (5, 2), (6, 3), (1, 1)])
def test_results_that_are_too_much_together_are_left_to_who_asked(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, limit: int, told: int
) -> None:
    monkeypatch.setattr(reading, "BYTES", limit)
    names = [f"job {number}" for number in range(4)]
    end(store, *map(outcome, names))

    known, untold = ends(store, names)

    assert [each.id for each in known] == names[:told]
    assert untold == names[told:]


def test_a_ledger_that_is_away_is_left_to_who_asked(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(ids: object) -> object:
        raise Away

    monkeypatch.setattr(store, "fetch", fetch)

    assert ends(store, ["a", "b"]) == ([], ["a", "b"])
