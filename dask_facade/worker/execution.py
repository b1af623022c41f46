"""One call, run: from its bytes to its outcome."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from dask_facade import current
from dask_facade.exceptions import PayloadTooLarge, WorkerLostError
from dask_facade.messages import Call, Outcome, Shape
from dask_facade.registry import Runnable
from dask_facade.serialization import (
    dump_exception,
    dumps,
    load_arguments,
    loads,
    preview,
    storable,
)
from dask_facade.states import FAILURE, SUCCESS

TRACEBACK_LIMIT = 64 * 1024
"""Characters of a traceback, at most: its end is kept."""


@dataclass(frozen=True, slots=True)
class Execution:
    """How calls are run here."""

    find: Callable[[str], Runnable]
    hostname: str
    result_limit: int  # bytes
    around: Callable[[], None]  # called before and after each call

    def run(self, call: Call, inputs: Callable[[], Sequence[bytes]]) -> Outcome:
        """Run *call* and return how it ended; *inputs* fetches what it takes as a list."""
        started, clock = time.time(), time.perf_counter()
        try:
            result = self._call(call, inputs)
            stored = dumps(result)
            if len(stored) > self.result_limit:
                raise PayloadTooLarge(f"the result of {call.task}", len(stored), self.result_limit)
            state, shown, trace = SUCCESS, preview(result), None
        except BaseException as error:  # the user's code, SystemExit included
            stored, shown, trace = _failed(error, self.result_limit)
            state = FAILURE
        return Outcome(
            id=call.id,
            attempt=call.attempt,
            hand=call.hand,
            state=state,
            result=stored,
            preview=shown,
            traceback=trace,
            started=started,
            finished=time.time(),
            runtime=time.perf_counter() - clock,
        )

    def _call(self, call: Call, inputs: Callable[[], Sequence[bytes]]) -> Any:
        task = self.find(call.task)
        args, kwargs = load_arguments(call.payload)
        if call.shape == Shape.FIRST:
            args.insert(0, loads(call.inputs[0]))
        elif call.shape == Shape.LIST:
            args.insert(0, [loads(each) for each in inputs()])
        request = current.Request(
            id=call.id,
            task=call.task,
            args=args,
            kwargs=kwargs,
            root_id=call.root_id,
            parent_id=call.parent_id,
            group=call.group_id,
            retries=call.attempt - 1,
            hostname=self.hostname,
            delivery_info={
                "exchange": "",
                "routing_key": call.queue,
                "priority": call.priority,
                "redelivered": call.lost > 0,
            },
            ignore_result=call.ignore_result,
            called_directly=False,
        )
        self.around()
        try:
            with current.running(request):
                return task(*args, **kwargs)
        finally:
            self.around()


def _failed(error: BaseException, limit: int) -> tuple[bytes, str, str]:
    """Return an exception as stored, as shown, and its traceback from the user's frames on."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") in _OURS:
        trace = trace.tb_next
    text = storable("".join(traceback.format_exception(type(error), error, trace)))
    if not isinstance(error, Exception):  # it must not end who reads the result
        error = WorkerLostError(f"the task raised {preview(error)}, which ends a worker")
    return dump_exception(error, limit=limit), preview(error), text[-TRACEBACK_LIMIT:]


_OURS = (__name__, "dask_facade.task", "dask_facade.serialization", "dask_facade.registry")
