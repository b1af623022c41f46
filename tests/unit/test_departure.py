"""A worker's end waits for its runners: here they are plain objects, and there is no worker."""

from __future__ import annotations

import os
import threading
import time

import pytest

from dask_facade.worker import departure as departures
from dask_facade.worker.departure import Departure
from tests.unit.listening import DEADLINE


class Runner:
    """Ends when a test lets it."""

    def __init__(self, departure):
        self.is_abandoned = False
        self.may_end = threading.Event()
        self.retired = threading.Event()
        self._departure = departure
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.up = threading.Event()
        self._thread.start()
        assert self.up.wait(DEADLINE)

    def retire(self):
        self.retired.set()

    def _serve(self):
        with self._departure.awaits(self):
            self.up.set()
            self.may_end.wait(DEADLINE)


@pytest.fixture
def departure():
    return Departure()


@pytest.fixture
def runner(departure):
    runner = Runner(departure)
    yield runner
    runner.may_end.set()


def ending(departure):
    """Let the worker end, in a thread."""
    thread = threading.Thread(target=departure.end, daemon=True)
    thread.start()
    return thread


def test_a_worker_without_runners_ends_at_once(departure):
    thread = ending(departure)

    thread.join(1.0)
    assert not thread.is_alive()


def test_a_worker_ends_once_its_runners_have_which_are_told_to(departure, runner):
    thread = ending(departure)
    assert runner.retired.wait(DEADLINE)
    thread.join(0.2)
    assert thread.is_alive()

    runner.may_end.set()

    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_a_runner_whose_outcomes_nobody_takes_is_not_awaited(departure, runner):
    thread = ending(departure)
    assert runner.retired.wait(DEADLINE)

    runner.is_abandoned = True

    thread.join(1.0)
    assert not thread.is_alive()


def test_a_worker_waits_no_longer_than_its_patience_whoever_ends_it(departure, runner, monkeypatch):
    monkeypatch.setattr(departures, "PATIENCE", 0.3)
    before = time.monotonic()

    departure.end()
    departure.end()

    assert 0.3 <= time.monotonic() - before < 0.6


def test_a_process_that_a_task_has_forked_ends_no_runner(departure, runner):
    child = os.fork()
    if child == 0:
        departure.end()
        os._exit(int(runner.retired.is_set()))

    assert os.waitpid(child, 0)[1] == 0
    assert not runner.retired.is_set()
