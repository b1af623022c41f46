"""The end of rows: what expires, and what stays for others' sake."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from dask_facade.dispatcher.pruning import Pruning, seconds_of
from dask_facade.dispatcher.writer import LedgerWriter
from dask_facade.elsewhere import queue_at
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.messages import Shape
from dask_facade.states import FAILURE, PENDING, RETRY, SUCCESS
from tests.db.plans import Led, edge, job

LONG_AGO = 3_600.0


def over(ledger: Led, *jobs, state=SUCCESS, **fields):
    """Let jobs end in the past."""
    fields.setdefault("finished", time.time() - LONG_AGO)
    ledger.run(*jobs, state=state, **fields)


def aged(ledger: Led, monkeypatch: pytest.MonkeyPatch, *jobs) -> None:
    """Submit jobs as if that had been long ago."""
    store = ledger.store
    with monkeypatch.context() as then:
        now = time.time()
        then.setattr(time, "time", lambda: now - 2 * LONG_AGO)
        if hasattr(store, "_tables"):
            then.setattr(store, "_clock", time.time)
        ledger.submit(*jobs)
    if hasattr(store, "alias"):
        from django.db.models import F

        from dask_facade.models import Job

        if Job.objects.using(store.alias).filter(created__gt=_ago(LONG_AGO)).exists():
            rows = Job.objects.using(store.alias)  # the server's clock
            rows.update(created=F("created") - timedelta(seconds=2 * LONG_AGO))


def _ago(seconds):
    from django.utils import timezone

    return timezone.now() - timedelta(seconds=seconds)


def prune(ledger: Led, older: float = 60.0, limit: int = 100) -> dict[str, bool]:
    return ledger.desk.prune(ledger.epoch, older, limit)


def left(ledger: Led, *jobs) -> list[bool]:
    return [each.id in ledger.store.fetch([each.id]) for each in jobs]


def test_what_ended_long_ago_is_deleted(ledger, monkeypatch):
    good, bad, fresh, waiting, retried = (job() for _ in range(5))
    aged(ledger, monkeypatch, good, bad, fresh, waiting, retried)
    over(ledger, good)
    over(ledger, bad, state=FAILURE)
    over(ledger, fresh, finished=time.time())
    over(ledger, retried, state=RETRY)

    found = prune(ledger)

    assert found == {good.id: None, bad.id: None}
    assert left(ledger, good, bad, fresh, waiting, retried) == [False, False, True, True, True]
    assert prune(ledger) == {}


def test_it_is_told_what_the_cluster_keeps(ledger, monkeypatch):
    kept, graph = job(), job(graph=True)
    elsewhere = job(graph=True, queue=queue_at("tcp://there"))
    aged(ledger, monkeypatch, kept, graph, elsewhere)
    over(ledger, kept, key="its-key", size=9)
    over(ledger, graph, elsewhere)

    assert prune(ledger) == {kept.id: "", graph.id: "", elsewhere.id: "tcp://there"}


def test_what_an_unfinished_job_takes_or_came_from_stays(ledger, monkeypatch):
    parent, child = job(), job(shape=Shape.FIRST)
    origin, born = job(), job()
    born = born._replace(parent_id=origin.id)
    aged(ledger, monkeypatch, parent, origin)
    ledger.submit(child, edges=[edge(parent, child)])
    ledger.submit(born)
    over(ledger, parent, origin)

    assert prune(ledger) == {}
    assert ledger.states(child, born) == [PENDING, PENDING]

    ledger.run(child, born)
    assert prune(ledger).keys() == {parent.id, origin.id}


def test_a_few_are_deleted_at_a_time(ledger, monkeypatch):
    jobs = [job() for _ in range(5)]
    aged(ledger, monkeypatch, *jobs)
    over(ledger, *jobs)

    counts = [len(prune(ledger, limit=2)) for _ in range(4)]

    assert counts == [2, 2, 1, 0]


def test_who_keeps_futures_is_told(ledger, monkeypatch):
    one, other = job(), job()
    aged(ledger, monkeypatch, one, other)
    over(ledger, one, key="its-key")
    over(ledger, other)
    told = []

    async def pruned() -> int:
        writer = LedgerWriter(ledger.desk, ledger.epoch)
        try:
            return await Pruning(writer, lambda *ids: told.append(ids), 60.0).prune(60.0)
        finally:
            writer.close()

    assert asyncio.run(pruned()) == 2
    assert [(set(ids), kept) for ids, kept in told] == [({one.id, other.id}, {one.id: ""})]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [(None, 0.0), (0, 0.0), (90, 90.0), (1.5, 1.5), (timedelta(days=1), 86_400.0)],
)
def test_results_expire_as_celerys_setting_says(said, seconds):
    assert seconds_of(said) == seconds


@pytest.mark.parametrize("said", ["1 day", -1, True, timedelta(seconds=-1)])
def test_any_other_is_refused(said):
    with pytest.raises(ImproperlyConfigured, match="result_expires is"):
        seconds_of(said)
