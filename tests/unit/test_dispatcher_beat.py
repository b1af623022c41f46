"""The schedule of a leading dispatcher."""

from __future__ import annotations

import asyncio
import threading

import pytest

from dask_facade import DaskFacade, current
from dask_facade.beat import Scheduler
from dask_facade.dispatcher import beat
from dask_facade.dispatcher.beat import Beat
from dask_facade.ledger.memory import MemoryStore


class Turns(Scheduler):
    """A scheduler that counts its turns, in which thread they are, and may fail."""

    made: list[Turns] = []
    failures = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.turns = 0
        self.threads = set()
        self.closed = threading.Event()
        self.made.append(self)

    def tick(self):
        self.turns += 1
        self.threads.add(threading.current_thread())
        if len(self.made) <= self.failures:
            raise ConnectionError("the database is away")
        return 0.01 if self.turns % 3 == 0 else 0

    def close(self):
        self.closed.set()


@pytest.fixture
def app(monkeypatch):
    before = current.app() if current.has_app() else None
    app = DaskFacade("tests", store=MemoryStore(), beat_scheduler=Turns)
    monkeypatch.setattr(Turns, "made", [])
    yield app
    app.close()
    if before is not None:
        current.set_app(before)


async def lead(app, until):
    """Let a beat run until something is so, as a dispatcher does."""
    made = Beat(app)
    running = asyncio.create_task(made.keep())
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait([running])
    made.close()


def test_a_scheduler_takes_its_turns_in_one_thread_and_is_closed(app):
    asyncio.run(lead(app, lambda: Turns.made and Turns.made[0].turns > 10))

    (made,) = Turns.made
    assert len(made.threads) == 1
    assert threading.main_thread() not in made.threads
    assert made.closed.is_set()
    assert not any(thread.is_alive() for thread in made.threads)


def test_a_scheduler_that_raises_is_made_anew(app, monkeypatch, caplog):
    monkeypatch.setattr(beat, "AWAY_PAUSE", 0.01)
    monkeypatch.setattr(Turns, "failures", 2)

    asyncio.run(lead(app, lambda: len(Turns.made) == 3 and Turns.made[-1].turns > 5))

    assert len(Turns.made) == 3
    assert caplog.text.count("the schedule stands still") == 2


def test_entries_that_handlers_add_are_known(app):
    @app.on_after_finalize.connect
    def add(sender, **kwargs):
        sender.add_periodic_task(30, sender.signature("tests.nothing"), name="added")

    asyncio.run(lead(app, lambda: Turns.made and Turns.made[0].turns > 0))

    assert Turns.made[0].schedule.keys() == {"added"}
