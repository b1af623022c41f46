"""Results in event loops: `aget`, `await`, and the blocking forms, which must not meet the ORM."""

from __future__ import annotations

import asyncio
import threading
import time
from functools import partial

import pytest

from dask_facade import AsyncResult, GroupResult, chord, current, group, waiting
from dask_facade.canvas import Signature
from dask_facade.exceptions import ResultLost, TaskRevokedError, TimeoutError
from dask_facade.ledger.memory import MemoryStore
from dask_facade.loops import running
from dask_facade.messages import Push, Unsure, Unwait, Wait
from dask_facade.states import FAILURE, REVOKED, SUCCESS
from tests.unit.leading import Leader, outcome_of
from tests.unit.listening import DEADLINE, SECRET

A, B, C = (Signature(name) for name in "abc")


class Mine(Exception):
    pass


class StrictStore(MemoryStore):
    """Refuses a thread in which an event loop runs, as Django's ORM does; counts its readers."""

    def __init__(self):
        super().__init__()
        self.looks = 0
        self.threads = set()
        self.left = set()

    def _enter(self):
        assert not running(), "an event loop was made to wait"
        self.looks += 1
        self.threads.add(threading.get_ident())

    def fetch(self, ids):
        self._enter()
        return super().fetch(ids)

    def fetch_committed(self, ids):
        self._enter()
        return MemoryStore.fetch(self, ids)

    def lease(self):
        assert not running()
        return super().lease()

    def count_states(self, group_id):
        self._enter()
        return super().count_states(group_id)

    def request(self, kind, names, arguments):
        self._enter()
        super().request(kind, names, arguments)

    def children(self, job_id):
        self._enter()
        return super().children(job_id)

    def group(self, group_id):
        self._enter()
        return super().group(group_id)

    def disconnect(self):
        self.left.add(threading.get_ident())


@pytest.fixture
def store():
    return StrictStore()


@pytest.fixture
def leader(app, store):
    return Leader(store)


@pytest.fixture
def told(app, store, leader, listener, monkeypatch):
    """A dispatcher to which the app has its line, and which is relied upon."""
    monkeypatch.setattr(waiting, "POLL_CONNECTED", 60 * DEADLINE)
    leader.epoch = leader.desk.lead("tests", [listener.address], SECRET, store.lease()).epoch
    watch = app.client.watch(["connecting"])
    while not isinstance(listener.hears(), Wait):
        pass
    app.client.unwatch(watch)
    assert listener.hears() == Unwait(["connecting"])
    return listener


def run(work):
    """Run a coroutine, which must not take longer than anything may."""
    return asyncio.run(asyncio.wait_for(work, DEADLINE))


async def hears(listener):
    return await asyncio.to_thread(listener.hears)


# await and aget()


def test_a_result_can_be_awaited(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, (1, 2))

    async def main():
        return await AsyncResult(result.id), await result.aget()

    assert run(main()) == ((1, 2), (1, 2))


def test_awaiting_raises_what_the_task_raised(app, leader):
    result = A.delay()
    leader.end(result.id, FAILURE, Mine("wrong"))

    async def main():
        with pytest.raises(Mine, match="wrong"):
            await result
        return await result.aget(propagate=False)

    assert type(run(main())) is Mine


def test_awaiting_raises_what_made_an_earlier_step_fail(app, leader):
    result = chord([A, B], C).delay()
    leader.end(result.parent[1].id, FAILURE, Mine("in the header"))

    async def main():
        with pytest.raises(Mine, match="in the header"):
            await result

    run(main())


def test_a_stop_iteration_of_a_task_ends_no_loop(app, leader):
    result = (A | B).delay()
    leader.end(result.parent.id, FAILURE, StopIteration("its own"))

    async def main():
        with pytest.raises(RuntimeError, match="StopIteration"):
            await result

    run(main())


def test_awaiting_a_result_that_is_lost_raises(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, result=None, key="('kept', 'a')", size=10**9)

    async def main():
        with pytest.raises(ResultLost):
            await result

    run(main())


def test_an_ignored_result_is_none_at_once(app):
    async def main():
        return await Signature("a", options={"ignore_result": True}).delay()

    assert run(main()) is None


def test_aget_gives_up_after_the_timeout(app):
    result = A.delay()

    async def main():
        with pytest.raises(TimeoutError, match="no dispatcher is running"):
            await result.aget(timeout=0.01)

    run(main())


def test_aget_inside_of_a_task_is_refused(app):
    async def main():
        with pytest.raises(RuntimeError, match="Never call"):
            await AsyncResult("a").aget()
        with pytest.raises(RuntimeError, match="Never call"):
            await GroupResult("g", [AsyncResult("a")]).aget()

    with current.running(current.Context(id="a task")):
        run(main())


def test_the_loop_goes_on_while_a_result_is_awaited(app, leader):
    result = A.delay()

    async def main():
        waiter = asyncio.create_task(result.aget())
        turns = 0
        while not waiter.done():
            await asyncio.sleep(0.001)
            turns += 1
            if turns == 20:
                await asyncio.to_thread(leader.end, result.id, SUCCESS, "late")
        return turns, await waiter

    turns, value = run(main())
    assert value == "late"
    assert turns > 20


def test_an_end_that_the_dispatcher_tells_of_is_awaited(app, told):
    async def main():
        waiter = asyncio.create_task(AsyncResult("a").aget())
        assert await hears(told) == Wait(["a"])
        await asyncio.to_thread(told.says, Push([outcome_of("a", SUCCESS, "told")]))
        return await waiter

    assert run(main()) == "told"


def test_what_the_dispatcher_does_not_hold_is_looked_up(app, told, leader):
    job = app.send_task("a")
    told.hears()

    async def main():
        waiter = asyncio.create_task(AsyncResult(job.id).aget())
        assert await hears(told) == Wait([job.id])
        leader.end(job.id, SUCCESS, "from the ledger")
        await asyncio.to_thread(told.says, Unsure([job.id]))
        return await waiter

    assert run(main()) == "from the ledger"


def test_a_line_that_ends_sends_to_the_ledger(app, told, leader):
    job = app.send_task("a")
    told.hears()

    async def main():
        waiter = asyncio.create_task(AsyncResult(job.id).aget())
        assert await hears(told) == Wait([job.id])
        leader.end(job.id, SUCCESS, "from the ledger")
        await asyncio.to_thread(told.close)
        return await waiter

    assert run(main()) == "from the ledger"


def test_who_gives_up_awaiting_stops_waiting_at_the_dispatcher(app, told):
    async def main():
        waiter = asyncio.create_task(AsyncResult("a").aget())
        assert await hears(told) == Wait(["a"])
        waiter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiter
        assert await hears(told) == Unwait(["a"])

    run(main())


def test_news_for_a_loop_that_is_closed_hurt_no_line(app, told):
    loop = asyncio.new_event_loop()
    loop.close()
    gone = app.client.watch(["a"], partial(waiting._wake, loop, asyncio.Event()))
    other = app.client.watch(["b"])

    told.says(Push([outcome_of("a", SUCCESS, 1)]), Push([outcome_of("b", SUCCESS, 1)]))

    assert other.take(DEADLINE)[0]
    assert gone.take(0)[0]
    told.says(Push([outcome_of("a", SUCCESS, 1)]))
    assert app.client.connected


def test_many_awaits_share_their_looks_and_few_threads(app, leader, store):
    results = [A.delay() for _ in range(500)]
    for result in results:
        leader.end(result.id, SUCCESS, result.id)
    store.looks = 0

    async def main():
        return await asyncio.gather(*(AsyncResult(result.id).aget() for result in results))

    assert run(main()) == [result.id for result in results]
    assert store.looks < 20
    assert len(store.threads) < 20


def test_the_threads_that_looked_close_their_connections(app, leader, store):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1)
    store.threads.clear()

    run(AsyncResult(result.id).aget())

    assert store.threads
    assert store.threads <= store.left


def test_loops_of_several_threads_wait_side_by_side(app, leader):
    results = [A.delay() for _ in range(4)]
    got = []
    threads = [
        threading.Thread(target=lambda each=each: got.append(run(each.aget()))) for each in results
    ]
    for thread in threads:
        thread.start()

    for result in results:
        leader.end(result.id, SUCCESS, result.id)
    for thread in threads:
        thread.join(DEADLINE)

    assert sorted(got) == sorted(result.id for result in results)


def test_a_wait_without_a_dispatcher_says_once_why(app, leader, monkeypatch, caplog):
    monkeypatch.setattr(waiting, "WARN_AFTER", 0.01)
    result = A.delay()
    leader.desk.resign(leader.epoch)

    async def main():
        waiter = asyncio.create_task(result.aget(interval=0.01))
        while "no dispatcher is running" not in caplog.text:
            await asyncio.sleep(0.001)
        waiter.cancel()

    run(main())
    assert caplog.text.count("no dispatcher is running") == 1


# Groups


def test_a_group_can_be_awaited(app, leader):
    results = group(A, group(B, C)).delay()
    for each in results:
        leader.end(each.id, SUCCESS, each.id)

    async def main():
        return await results

    assert run(main()) == [each.id for each in results]


def test_a_group_that_fails_is_heard_of_at_once(app, leader):
    results = group(A, B, C).delay()
    leader.end(results[1].id, FAILURE, Mine("of b"))

    async def main():
        with pytest.raises(Mine, match="of b"):
            await results

    run(main())


def test_an_awaited_group_mixes_values_and_exceptions(app, leader):
    results = group(A, B, C).delay()
    leader.end(results[0].id, SUCCESS, 1)
    leader.end(results[1].id, FAILURE, Mine("of b"))
    leader.end(results[2].id, REVOKED, "revoked")

    one, two, three = run(results.aget(propagate=False))

    assert one == 1
    assert [type(two), type(three)] == [Mine, TaskRevokedError]


def test_an_empty_group_is_awaited_at_once(app):
    assert run(GroupResult("g").aget()) == []


def test_aget_of_a_group_gives_up_after_the_timeout(app):
    async def main():
        with pytest.raises(TimeoutError, match="2 jobs are unfinished"):
            await group(A, B).delay().aget(timeout=0.01)

    run(main())


# The blocking forms, where a loop runs


def test_everything_can_be_read_in_a_running_loop(app, leader):
    async def main():
        result, results = A.delay(), group(A, B).delay()
        before = (result.state, result.ready(), results.ready(), results.completed_count())
        for each in (result, *results):
            leader.end(each.id, SUCCESS, each.id)
        assert before == ("PENDING", False, False, 0)
        assert result.get() == AsyncResult(result.id).result == result.id
        assert results.get() == [each.id for each in results]
        assert AsyncResult(result.id).children == []
        assert AsyncResult(result.id).exists()
        result.revoke()
        result.forget()

    run(main())


def test_get_in_a_running_loop_waits_for_the_end(app, leader):
    result = A.delay()

    async def main():
        ending = threading.Timer(0.05, lambda: leader.end(result.id, SUCCESS, "late"))
        ending.start()
        value = result.get(timeout=DEADLINE)
        ending.join()
        return value

    assert run(main()) == "late"


def test_get_in_a_running_loop_gives_up_after_the_timeout(app):
    async def main():
        with pytest.raises(TimeoutError, match="no dispatcher is running"):
            A.delay().get(timeout=0.01)

    before = time.monotonic()
    run(main())
    assert time.monotonic() - before < 5
