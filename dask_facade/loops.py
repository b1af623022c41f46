"""Blocking work for threads in which an event loop may run.

Django's ORM refuses such a thread, and a loop that is made to wait serves nobody meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")


def running() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def outside(function: Callable[[], T], leave: Callable[[], None] | None = None) -> T:
    """Return what *function* returns, which sees no running event loop.

    It runs here, or in a helper thread where a loop runs in this one: that loop waits for it. The
    helper sees this context's variables, but none of this thread's connections. It calls *leave*
    before it ends: to close its own.
    """
    if not running():
        return function()
    with ThreadPoolExecutor(1, "dask-facade-outside") as helper:
        return helper.submit(copy_context().run, _and_leave, function, leave).result()


async def away(function: Callable[[], T], leave: Callable[[], None] | None = None) -> T:
    """Return what *function* returns, from one of the loop's threads; the loop goes on meanwhile.

    That thread calls *leave* when it is done. StopIteration must not be raised there: no future
    can hold it.
    """
    return await asyncio.to_thread(_and_leave, function, leave)


def _and_leave(function: Callable[[], T], leave: Callable[[], None] | None) -> T:
    try:
        return function()
    finally:
        if leave is not None:
            leave()
