"""Tasks that are coroutine functions: each call runs in an event loop of its thread.

The loop is kept: what a task opens for it, a pool of connections say, serves the next call as well.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from dask_facade.loops import outside


class _Loop(threading.local):
    """The event loop of a thread, and what is to be raised in the coroutine that it runs."""

    error: BaseException | None = None
    main: asyncio.Task[Any] | None = None
    runner: asyncio.Runner | None = None


_here = _Loop()


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Return what *coroutine* returns, run to its end in this thread's own event loop.

    Where another loop runs in this thread, that waits, and a thread of its own is taken.
    """
    return outside(lambda: _run(coroutine), _close)


def interrupt(error: BaseException) -> bool:
    """Raise *error* in the coroutine that waits in this thread; tell whether there is one.

    Where there is none, or it is not waiting but at work, the caller is to raise it itself. To be
    called by a signal's receiver.
    """
    main = _here.main
    if main is None or asyncio.current_task(main.get_loop()) is not None:
        return False
    _here.error = error
    main.get_loop().call_soon_threadsafe(main.cancel)
    return True


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    if _here.runner is None:
        _here.runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
    try:
        return _here.runner.run(_main(coroutine), context=copy_context())
    finally:
        _here.main = _here.error = None


def _close() -> None:
    """End this thread's loop."""
    if _here.runner is not None:
        _here.runner.close()
        _here.runner = None


async def _main(coroutine: Coroutine[Any, Any, Any]) -> Any:
    _here.main = asyncio.current_task()
    return await _interruptible(coroutine)


@types.coroutine
def _interruptible(coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Run *coroutine* step by step; what `interrupt` was given takes a cancellation's place."""
    step = _sender(coroutine, None)
    while True:
        try:
            waited_for = step()
        except StopIteration as end:
            return end.value
        try:
            sent = yield waited_for
        except BaseException as error:  # it is the coroutine's
            raised = error
            if isinstance(error, asyncio.CancelledError) and _here.error is not None:
                raised, _here.error = _here.error, None
            step = _thrower(coroutine, raised)
        else:
            step = _sender(coroutine, sent)


def _sender(coroutine: Coroutine[Any, Any, Any], value: Any) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def _thrower(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)
