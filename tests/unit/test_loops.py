from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from dask_facade.loops import away, outside, running

VARIABLE = ContextVar("variable", default="unset")

pytestmark = pytest.mark.usefixtures("no_thread_stays")


def in_loop(work):
    async def main():
        return work()

    return asyncio.run(main())


def test_a_loop_is_seen_where_it_runs(no_thread_stays):
    assert not running()
    assert in_loop(running)


def test_without_a_loop_work_is_done_here_and_the_connection_stays():
    left = []

    assert outside(threading.get_ident, lambda: left.append(1)) == threading.get_ident()
    assert left == []


def test_under_a_loop_work_is_done_by_a_thread_that_has_none():
    def work():
        return threading.get_ident(), outside(threading.get_ident), outside(running)

    here, there, loop_there = in_loop(work)

    assert here != there
    assert not loop_there


@pytest.mark.parametrize("raises", [False, True])
def test_a_helper_thread_leaves_by_itself(raises):
    left = []

    def work():
        if raises:
            raise KeyError("a")

    def leave():
        left.append(threading.get_ident())

    try:
        in_loop(lambda: outside(work, leave))
    except KeyError:
        assert raises

    assert len(left) == 1
    assert left[0] != threading.get_ident()


def test_what_a_helper_thread_raises_is_raised_here():
    def work():
        raise StopIteration("its own")

    with pytest.raises(RuntimeError, match="StopIteration"):  # as any coroutine's
        in_loop(lambda: outside(work))


def test_a_helper_thread_sees_the_variables_of_its_caller():
    def work():
        VARIABLE.set("mine")
        return outside(VARIABLE.get)

    assert in_loop(work) == "mine"


def test_a_loop_goes_on_while_work_is_away():
    async def main():
        go_on = threading.Event()
        left = []
        work = asyncio.create_task(away(lambda: go_on.wait(10), lambda: left.append(1)))
        await asyncio.sleep(0)
        go_on.set()
        return await work, left

    assert asyncio.run(main()) == (True, [1])
