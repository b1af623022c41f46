"""What the calls of this process are up to, for commands, tasks and tests that look from within.

In the process of a leading dispatcher: what has ended well of all, and which stamps are revoked.
"""

from __future__ import annotations

import os
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from dask_facade.messages import Call
from dask_facade.serialization import loads, plain_arguments, preview
from dask_facade.withdrawals import has_stamp, stamps_of

MANY = 50_000  # ids that a set keeps, of the last ones
SUCCESSFUL = 1_000
STAYS = 10_800.0  # seconds that ids of a full set are kept


class LimitedSet:
    """Ids with the time at which each was added, of which the oldest go when there are many."""

    def __init__(self, maxlen: int = MANY, expires: float = STAYS) -> None:
        self.maxlen = maxlen
        self.expires = expires
        self._ids: OrderedDict[str, float] = OrderedDict()

    def add(self, item: str, now: float | None = None) -> None:
        """Add an id; *now* is monotonic."""
        self._ids.pop(item, None)
        self._ids[item] = time.monotonic() if now is None else now
        while len(self._ids) > self.maxlen:
            self._ids.popitem(last=False)

    def update(self, items: Iterable[str]) -> None:
        """Add several; of a dict, its keys."""
        for each in items:
            self.add(each)

    def discard(self, item: str) -> None:
        """Remove an id, if it is here."""
        self._ids.pop(item, None)

    def clear(self) -> None:
        """Remove all."""
        self._ids.clear()

    def purge(self) -> None:
        """Remove those that are older than they need be."""
        before = time.monotonic() - self.expires
        for item, added in list(self._ids.items()):
            if added < before:
                del self._ids[item]

    def as_dict(self) -> dict[str, float]:
        """Return the ids with their times."""
        return dict(self._ids)

    def __contains__(self, item: object) -> bool:
        return item in self._ids

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._ids))

    def __len__(self) -> int:
        return len(self._ids)


class WorkRequest:
    """A call that this process has, as Celery's commands and extensions read it."""

    __slots__ = ("call", "hostname", "time_start")

    def __init__(self, call: Call, hostname: str, time_start: float | None = None) -> None:
        self.call = call
        self.hostname = hostname
        self.time_start = time_start  # seconds since the epoch; None: it has not begun

    @property
    def id(self) -> str:
        """Its id."""
        return self.call.id

    task_id = id

    @property
    def name(self) -> str:
        """The name of its task."""
        return self.call.task

    task_name = type = name

    @property
    def args(self) -> Any:
        """Its positional arguments, where JSON says them; else their preview."""
        return _arguments(self.call)[0]

    @property
    def kwargs(self) -> Any:
        """Its arguments by name."""
        return _arguments(self.call)[1]

    @property
    def options(self) -> dict[str, Any]:
        """What was said of it beside its arguments."""
        options: dict[str, Any] = loads(self.call.options) if self.call.options else {}
        return options

    @property
    def stamps(self) -> dict[str, Any]:
        """What it was stamped with."""
        return stamps_of(self.options)

    @property
    def stamped_headers(self) -> list[str]:
        """The names of its stamps."""
        return list(self.stamps)

    @property
    def callbacks(self) -> list[Any] | None:
        """What runs when it ends well; None: nothing is linked to it."""
        return self.options.get("link")

    @property
    def errbacks(self) -> list[Any] | None:
        """What runs when it fails; None: nothing is linked to it."""
        return self.options.get("link_error")

    @property
    def replaced_task_nesting(self) -> int:
        """How often its job has become another task."""
        return int(self.options.get("replaced", 0))

    @property
    def root_id(self) -> str:
        """The id of the job that began what it is part of."""
        return self.call.root_id

    @property
    def parent_id(self) -> str | None:
        """The id of the job that submitted it."""
        return self.call.parent_id

    @property
    def delivery_info(self) -> dict[str, Any]:
        """Where it came from."""
        call = self.call
        again = call.lost > 0
        return {
            "exchange": "",
            "routing_key": call.queue,
            "priority": call.priority,
            "redelivered": again,
        }

    def info(self, safe: bool = False) -> dict[str, Any]:
        """Return all of it as a dict; *safe*: the arguments as text."""
        args, kwargs = _arguments(self.call)
        return {
            "id": self.id,
            "name": self.name,
            "args": preview(args) if safe else args,
            "kwargs": preview(kwargs) if safe else kwargs,
            "type": self.name,
            "hostname": self.hostname,
            "time_start": self.time_start,
            "acknowledged": self.time_start is not None and not self.call.acks_late,
            "delivery_info": self.delivery_info,
            "worker_pid": None if self.time_start is None else os.getpid(),
        }

    def __repr__(self) -> str:
        return f"<Request: {self.name}[{self.id}]>"


def _arguments(call: Call) -> tuple[Any, Any]:
    return plain_arguments(call.payload) or ([], {})


class Requests:
    """Some of the calls that this process has, as they are now."""

    def __init__(self, found: Callable[[], Iterable[WorkRequest]]) -> None:
        self._found = found

    def __iter__(self) -> Iterator[WorkRequest]:
        return iter(list(self._found()))

    def __len__(self) -> int:
        return len(list(self._found()))

    def __contains__(self, request: object) -> bool:
        id = getattr(request, "id", request)
        return any(each.id == id for each in self._found())


_running: dict[str, WorkRequest] = {}
_windows: list[Callable[[], Iterable[WorkRequest]]] = []  # of each runner: what it will begin

active_requests = Requests(lambda: list(_running.values()))
"""The calls that run here."""
reserved_requests = Requests(lambda: [*_running.values(), *_waiting()])
"""The calls that run here, and those that will next."""
scheduled_requests = Requests(lambda: ())
"""None: what waits for its time does so in the ledger."""
successful_requests = LimitedSet(SUCCESSFUL)
"""The ids of the last calls that ended well, once that was written."""
total_count: Counter[str] = Counter()
"""How many calls of each task began here."""
all_total_count = [0]
revoked = LimitedSet()
"""Ids of calls that do not begin here."""
revoked_stamps: dict[str, Any] = {}
"""Stamps, by name: a call that has one of these values does not begin."""
should_stop: Any = None
should_terminate: Any = None


def _waiting() -> Iterator[WorkRequest]:
    for window in list(_windows):
        yield from window()


def add_window(window: Callable[[], Iterable[WorkRequest]]) -> Callable[[], None]:
    """Know of a runner's window until the function is called that is returned."""
    _windows.append(window)
    return lambda: _windows.remove(window)


def begin(call: Call, hostname: str) -> None:
    """Know that a call begins."""
    _running[call.id] = WorkRequest(call, hostname, time.time())
    total_count[call.task] += 1
    all_total_count[0] += 1


def end(call: Call) -> None:
    """Know that a call has ended."""
    _running.pop(call.id, None)


def is_revoked(id: str, options: Any) -> bool:
    """Tell whether a call with these options shall not begin here."""
    if id in revoked:
        return True
    if not revoked_stamps or not (options.get("stamps") or options.get("stamped_headers")):
        return False
    return has_stamp(options, revoked_stamps)


def reset_state() -> None:
    """Forget what was counted and revoked."""
    successful_requests.clear()
    total_count.clear()
    all_total_count[:] = [0]
    revoked.clear()
    revoked_stamps.clear()
