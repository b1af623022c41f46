"""Tasks that are coroutine functions."""

from __future__ import annotations

import asyncio
import signal
import threading

import pytest

from dask_facade import current
from dask_facade.exceptions import SoftTimeLimitExceeded
from dask_facade.states import SUCCESS
from dask_facade.worker import coroutines

SOON = 0.05  # seconds


def test_a_coroutine_function_is_a_task(app):
    @app.task(name="coroutines.add", bind=True)
    async def add(self, x, y):
        await asyncio.sleep(0)
        return x + y, self.request.id

    result = add.apply((1, 2), task_id="mine")

    assert result.get() == (3, "mine")
    assert result.state == SUCCESS


def test_it_may_be_called_and_awaited(app):
    @app.task(name="coroutines.called")
    async def called(x):
        return x

    assert asyncio.run(called(3)) == 3


def test_it_is_tried_again(app):
    tries = []

    @app.task(name="coroutines.flaky", autoretry_for=(ValueError,), max_retries=3)
    async def flaky():
        tries.append(1)
        await asyncio.sleep(0)
        if len(tries) < 3:
            raise ValueError("not yet")
        return "done"

    assert flaky.apply().get() == "done"
    assert len(tries) == 3


def test_it_asks_for_its_own_retry(app):
    @app.task(name="coroutines.asking", bind=True)
    async def asking(self):
        await asyncio.sleep(0)
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    assert asking.apply().get() == 2


def test_the_calls_of_a_thread_have_one_loop(app):
    @app.task(name="coroutines.loop")
    async def loop():
        return id(asyncio.get_running_loop())

    assert loop.apply().get() == loop.apply().get()


def test_it_runs_where_another_loop_runs(app):
    @app.task(name="coroutines.within", bind=True)
    async def within(self):
        return self.request.id

    async def outer():
        return within.apply(task_id="inner").get()

    assert asyncio.run(outer()) == "inner"


def test_what_it_starts_knows_its_job(app):
    @app.task(name="coroutines.parent", bind=True)
    async def parent(self):
        async def child():
            return current.job().id

        return await asyncio.create_task(child())

    assert parent.apply(task_id="mine").get() == "mine"


def test_a_coroutine_that_waits_is_interrupted_where_it_waits():
    seen = []

    async def waits():
        try:
            await asyncio.sleep(60)
        except SoftTimeLimitExceeded:
            await asyncio.sleep(0)  # it may tidy up
            seen.append("tidied")
            return "ended"

    def ring(number, frame):
        assert coroutines.interrupt(SoftTimeLimitExceeded())

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SOON)
    try:
        assert coroutines.run(waits()) == "ended"
    finally:
        signal.signal(signal.SIGALRM, before)
    assert seen == ["tidied"]


def test_a_coroutine_that_ignores_it_fails_with_it():
    async def waits():
        await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))

    def ring(number, frame):
        assert coroutines.interrupt(SoftTimeLimitExceeded())

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SOON)
    try:
        with pytest.raises(SoftTimeLimitExceeded):
            coroutines.run(waits())
    finally:
        signal.signal(signal.SIGALRM, before)


def test_nobody_is_interrupted_where_nothing_waits():
    async def asks():
        return coroutines.interrupt(SoftTimeLimitExceeded())

    assert coroutines.interrupt(SoftTimeLimitExceeded()) is False
    assert coroutines.run(asks()) is False


def test_its_own_cancellations_stay_what_they_are():
    async def cancels():
        task = asyncio.create_task(asyncio.sleep(60))
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return "cancelled"

    assert coroutines.run(cancels()) == "cancelled"


def test_each_thread_has_a_loop_of_its_own():
    async def loop():
        return asyncio.get_running_loop()

    loops = []
    thread = threading.Thread(target=lambda: loops.append(coroutines.run(loop())))
    thread.start()
    thread.join()

    assert loops[0] is not coroutines.run(loop())
    loops[0].close()
