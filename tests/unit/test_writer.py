from __future__ import annotations

import asyncio
import threading
from collections import deque
from datetime import UTC, datetime

import pytest

from dask_facade.dispatcher import writer as writing
from dask_facade.dispatcher.writer import SMALL, LedgerWriter
from dask_facade.exceptions import (
    LeadershipLost,
    LedgerBusy,
    LedgerRefused,
    LedgerUnavailable,
)
from dask_facade.jobs import Batch, Claim, Release
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import INVALID, Outcome, Spawn, Update
from dask_facade.serialization import load_exception
from dask_facade.states import FAILURE, PENDING, RECEIVED, SUCCESS
from tests.unit.stage import new_job


class Desk:
    """A desk on a ledger in memory, which refuses what mentions a name, or fails as it is told."""

    def __init__(self, desk):
        self.desk = desk
        self.fails = deque()
        self.threads = []
        self.tried = []
        self.refused = set()
        self.spawned = []

    def __getattr__(self, name):
        return getattr(self.desk, name)

    def spawn(self, epoch, spawns):
        self.spawned.append([each.again for each in spawns])
        if self.fails and self.fails[0] != "lost":
            raise self.fails.popleft()
        if any(job.id in self.refused for each in spawns for job in each.jobs):
            raise LedgerRefused("it is too odd")
        answers = self.desk.spawn(epoch, spawns)
        if self.fails:
            self.fails.popleft()
            raise LedgerUnavailable("the answer was lost")
        return answers

    def update(self, epoch, updates):
        if self.fails:
            raise self.fails.popleft()
        if any(each.id in self.refused for each in updates):
            raise LedgerRefused("it is too odd")
        self.desk.update(epoch, updates)

    def write(self, epoch, batch):
        self.threads.append(threading.current_thread())
        self.tried.append(len(batch))
        if self.fails:
            raise self.fails.popleft()
        for each in (*batch.outcomes, *batch.releases, *batch.claims):
            if each.id in self.refused and getattr(each, "state", "") != FAILURE:
                raise LedgerRefused(f"{each.id!r} is too odd")
        return self.desk.write(epoch, batch)


class Ledger:
    def __init__(self):
        self.store = MemoryStore()
        self.desk = Desk(self.store.open_desk())
        self.epoch = self.desk.lead("tests", [], b"secret", None).epoch

    def jobs(self, count, state=RECEIVED):
        """Write that many jobs, in a state; return their ids."""
        ids = [f"job {number}" for number in range(count)]
        self.store.submit([new_job(id) for id in ids], [], lambda created: None)
        if state == RECEIVED:
            claims = [claim(id) for id in ids]
            self.desk.desk.write(self.epoch, Batch(claims=claims))
        return ids

    def states(self, ids):
        jobs = self.store.fetch(ids)
        return [jobs[id].state for id in ids]

    def run(self, work):
        """Run what *work* does with a writer, in a loop of its own."""

        async def main():
            writer = LedgerWriter(self.desk, self.epoch)
            try:
                return await work(writer)
            finally:
                writer.close()

        return asyncio.run(main())


def claim(id):
    return Claim(id, 1, 1, "runner", "worker")


def outcome(id):
    return Outcome(id, 1, 1, SUCCESS, b"j1", "1", None, 1.0, 2.0, 1.0)


@pytest.fixture
def ledger(no_thread_stays):
    return Ledger()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(writing, "AWAY_PAUSE", 0.0)
    monkeypatch.setattr(writing, "BUSY_PAUSE", 0.0)


# At once


def test_a_small_batch_is_written_at_once_on_the_loop(ledger):
    ids = ledger.jobs(SMALL)

    async def work(writer):
        return writer.write_at_once(Batch([outcome(id) for id in ids]))

    written = ledger.run(work)

    assert len(written.outcomes) == SMALL
    assert ledger.desk.threads == [threading.current_thread()]


@pytest.mark.parametrize(
    "error", [None, LedgerBusy(), LedgerUnavailable(), LedgerRefused()], ids=repr
)
def test_what_cannot_be_written_at_once_is_left_to_write(ledger, error):
    ids = ledger.jobs(SMALL + 1 if error is None else 1)
    if error is not None:
        ledger.desk.fails.append(error)

    async def work(writer):
        return writer.write_at_once(Batch([outcome(id) for id in ids]))

    assert ledger.run(work) is None
    assert set(ledger.states(ids)) == {RECEIVED}


def test_nothing_is_written_at_once_beside_another_transaction(ledger):
    (id,) = ledger.jobs(1)
    go_on = threading.Event()

    async def work(writer):
        running = asyncio.ensure_future(writer.run(go_on.wait))
        await asyncio.sleep(0)
        written = writer.write_at_once(Batch([outcome(id)]))
        go_on.set()
        await running
        return written

    assert ledger.run(work) is None


@pytest.mark.parametrize("at_once", [True, False])
def test_lost_leadership_is_told(ledger, at_once):
    (id,) = ledger.jobs(1)
    ledger.desk.lead("another", [], b"", ledger.store.lease())

    async def work(writer):
        batch = Batch([outcome(id)])
        return writer.write_at_once(batch) if at_once else await writer.write(batch)

    with pytest.raises(LeadershipLost):
        ledger.run(work)
    assert ledger.states([id]) == [RECEIVED]


# Patiently


def test_a_batch_is_written_in_another_thread(ledger):
    ids = ledger.jobs(100)

    written = ledger.run(lambda writer: writer.write(Batch([outcome(id) for id in ids])))

    assert len(written.outcomes) == 100
    assert ledger.desk.threads != [threading.current_thread()]


@pytest.mark.parametrize("error", [LedgerBusy, LedgerUnavailable])
def test_a_ledger_that_is_busy_or_away_is_tried_again(ledger, error):
    (id,) = ledger.jobs(1)
    ledger.desk.fails.extend([error(), error(), error()])

    written = ledger.run(lambda writer: writer.write(Batch([outcome(id)])))

    assert [each.id for each in written.outcomes] == [id]
    assert ledger.desk.tried == [1, 1, 1, 1]


def test_an_absent_ledger_is_told_once_and_its_return_too(ledger, caplog):
    (id,) = ledger.jobs(1)
    ledger.desk.fails.extend([LedgerUnavailable("no route"), LedgerUnavailable("no route")])

    ledger.run(lambda writer: writer.write(Batch([outcome(id)])))

    assert [record.message for record in caplog.records] == [
        "the ledger is away, nothing is handed out: no route",
        "the ledger is back",
    ]


def test_transactions_run_one_after_another(ledger):
    running = []

    def transaction():
        running.append("begin")
        running.append("end")

    async def work(writer):
        await asyncio.gather(*(writer.run(transaction) for _ in range(20)))

    ledger.run(work)

    assert running == ["begin", "end"] * 20


# What the database refuses


@pytest.mark.parametrize("odd", [[0], [3], [6], [0, 6], [2, 3, 4], list(range(7))])
def test_an_outcome_that_is_refused_becomes_a_failure_and_the_others_pass(ledger, odd):
    ids = ledger.jobs(7)
    ledger.desk.refused = {ids[number] for number in odd}

    written = ledger.run(lambda writer: writer.write(Batch([outcome(id) for id in ids])))

    assert [each.id for each in written.outcomes] == ids
    assert ledger.states(ids) == [FAILURE if number in odd else SUCCESS for number in range(7)]
    refused = ledger.store.fetch(ids)[ids[odd[0]]]
    error = load_exception(refused.result)
    assert type(error) is LedgerRefused
    assert "is too odd" in str(error)
    assert "is too odd" in refused.result_preview
    assert "LedgerRefused" in refused.traceback


def test_the_others_are_tried_in_halves(ledger):
    ids = ledger.jobs(64)
    ledger.desk.refused = {ids[20]}

    ledger.run(lambda writer: writer.write(Batch([outcome(id) for id in ids])))

    assert len(ledger.desk.tried) <= 2 * 6 + 2


def test_all_parts_of_a_refused_batch_are_written(ledger):
    ids = ledger.jobs(4)
    free = [f"free {number}" for number in range(3)]
    ledger.store.submit([new_job(id) for id in free], [], lambda created: None)
    ledger.desk.refused = {ids[0]}
    batch = Batch(
        outcomes=[outcome(ids[0]), outcome(ids[1])],
        releases=[Release(ids[2], 1, 1, 0), Release(ids[3], 1, 1, 1)],
        claims=[claim(id) for id in free],
    )

    written = ledger.run(lambda writer: writer.write(batch))

    assert [each.id for each in written.outcomes] == ids[:2]
    assert written.released == ((ids[2], 1), (ids[3], 1))
    assert written.claimed == tuple((id, 1) for id in free)
    assert ledger.states(ids) == [FAILURE, SUCCESS, PENDING, PENDING]


@pytest.mark.parametrize(
    "batch",
    [
        Batch(claims=[claim("odd")]),
        Batch(releases=[Release("odd", 1, 1, 0)]),
        Batch(outcomes=[outcome("a\x00b")]),  # refused even as a failure
        Batch(outcomes=[outcome("a\x00b")], claims=[claim("odd")]),
    ],
    ids=["claim", "release", "outcome", "both"],
)
def test_what_is_refused_for_good_moves_nothing_and_ends_nothing(ledger, batch, caplog):
    """A client may offer a call, and a runner report one, that no ledger can hold."""
    ledger.desk.refused = {"odd"}

    written = ledger.run(lambda writer: writer.write(batch))

    assert (written.outcomes, written.released, written.claimed) == ((), (), ())
    assert "the ledger refuses" in caplog.text


def test_what_is_refused_for_good_lets_the_rest_pass(ledger):
    ids = ledger.jobs(3, PENDING)
    ledger.desk.refused = {ids[1]}

    written = ledger.run(lambda writer: writer.write(Batch(claims=[claim(id) for id in ids])))

    assert written.claimed == ((ids[0], 1), (ids[2], 1))


def test_an_outcome_that_never_began_fails_with_the_reason_too(ledger):
    (id,) = ledger.jobs(1)
    ledger.desk.refused = {id}
    never = outcome(id)._replace(started=None)

    written = ledger.run(lambda writer: writer.write(Batch([never])))

    assert written.outcomes[0].state == FAILURE
    assert ledger.store.fetch([id])[id].finished == datetime.fromtimestamp(2.0, UTC)


# What running calls submit and say


def spawn(number, parent, *children):
    return Spawn(
        number, False, parent, 1, 1, [new_job(id, parent_id=parent) for id in children], []
    )


def said(id, meta=b"j1"):
    return Update(id, 1, 1, "PROGRESS", meta, "")


def test_a_few_children_are_written_at_once(ledger):
    (id,) = ledger.jobs(1)

    async def work(writer):
        return writer.spawn_at_once([spawn(1, id, "child")])

    assert [each.refusal for each in ledger.run(work)] == [""]
    assert ledger.states(["child"]) == [PENDING]


@pytest.mark.parametrize(
    "error", [None, LedgerBusy(), LedgerUnavailable(), LedgerRefused()], ids=repr
)
def test_children_that_cannot_be_written_at_once_are_left_to_spawn(ledger, error):
    (id,) = ledger.jobs(1)
    children = [f"child {number}" for number in range(1 if error else SMALL + 1)]
    if error is not None:
        ledger.desk.fails.append(error)

    async def work(writer):
        return writer.spawn_at_once([spawn(1, id, *children)])

    assert ledger.run(work) is None


@pytest.mark.parametrize("error", [LedgerBusy, LedgerUnavailable])
def test_children_are_written_when_the_ledger_is_back(ledger, error):
    (id,) = ledger.jobs(1)
    ledger.desk.fails.extend([error(), error()])

    answers = ledger.run(lambda writer: writer.spawn([spawn(1, id, "child")]))

    assert [each.refusal for each in answers] == [""]


@pytest.mark.parametrize("at_once", [True, False])
def test_children_whose_answer_was_lost_are_not_refused_for_being_there(ledger, at_once):
    (id,) = ledger.jobs(1)
    ledger.desk.fails.append("lost")
    spawns = [spawn(1, id, "child")]

    async def work(writer):
        if at_once:
            assert writer.spawn_at_once(spawns) is None
        return await writer.spawn(spawns)

    assert [each.refusal for each in ledger.run(work)] == [""]
    assert ledger.desk.spawned == [[False], [True]]


def test_children_that_are_refused_are_answered_so_and_the_others_pass(ledger):
    (id,) = ledger.jobs(1)
    ledger.desk.refused = {"odd"}
    children = ["a", "b", "odd", "c"]
    spawns = [spawn(number, id, child) for number, child in enumerate(children)]

    answers = ledger.run(lambda writer: writer.spawn(spawns))

    assert [(each.number, each.refusal) for each in answers] == [
        (0, ""),
        (1, ""),
        (2, INVALID),
        (3, ""),
    ]
    assert "too odd" in answers[2].reason
    assert set(ledger.store.fetch(children)) == {"a", "b", "c"}


@pytest.mark.parametrize("error", [None, LedgerBusy, LedgerUnavailable, LedgerRefused])
def test_what_is_said_is_written_at_once_or_not_at_all(ledger, error):
    (id,) = ledger.jobs(1)
    if error is not None:
        ledger.desk.fails.append(error())

    async def work(writer):
        return writer.update_at_once([said(id)])

    assert ledger.run(work) is (error is None)
    assert ledger.store.fetch([id])[id].meta == (None if error else b"j1")


def test_too_much_is_not_said_at_once(ledger):
    ids = ledger.jobs(SMALL + 1)

    async def work(writer):
        return writer.update_at_once([said(id) for id in ids])

    assert ledger.run(work) is False


def test_what_is_refused_of_what_is_said_is_left_out(ledger, caplog):
    ids = ledger.jobs(5)
    ledger.desk.refused = {ids[2]}

    ledger.run(lambda writer: writer.update([said(id) for id in ids]))

    jobs = ledger.store.fetch(ids)
    assert [jobs[id].meta for id in ids] == [b"j1", b"j1", None, b"j1", b"j1"]
    assert ids[2] in caplog.text
