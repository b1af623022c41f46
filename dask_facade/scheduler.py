"""What submits the runs of periodic tasks: a heap of entries, asked one after another."""

from __future__ import annotations

import heapq
import logging
import time
from collections.abc import Mapping
from copy import copy
from datetime import datetime
from numbers import Real
from typing import Any, NamedTuple

from dask_facade.entries import ScheduleEntry, arguments, options
from dask_facade.exceptions import DaskFacadeError, ImproperlyConfigured
from dask_facade.schedules import crontab
from dask_facade.times import aware, humanize_seconds

logger = logging.getLogger(__name__)

DEFAULT_MAX_INTERVAL = 300  # seconds
PRIORITY = 5
WAKE_EARLY = 0.010  # seconds


class SchedulingError(DaskFacadeError):
    """A run of an entry could not be submitted."""


class event_t(NamedTuple):
    """When an entry is to be asked whether it is due: seconds since the epoch."""

    time: float
    priority: int
    entry: Any


class Scheduler:
    """Submits what is due, as long as somebody calls `tick`. It keeps nothing beyond its life.

    A *lazy* one begins without the entries of the settings.
    """

    Entry: Any = ScheduleEntry
    max_interval: float = DEFAULT_MAX_INTERVAL  # seconds that `tick` says at most
    sync_every: float = 180  # seconds
    sync_every_tasks: int | None = None  # runs
    logger = logger

    def __init__(
        self,
        app: Any,
        schedule: Any = None,
        max_interval: float | None = None,
        Producer: Any = None,
        lazy: bool = False,
        sync_every_tasks: int | None = None,
        **kwargs: Any,
    ) -> None:
        self.app = app
        self.data = {} if schedule is None else schedule() if callable(schedule) else schedule
        self.max_interval = max_interval or app.conf.beat_max_loop_interval or self.max_interval
        self.Producer = Producer
        self.old_schedulers: Any = None  # the schedule that the heap was made of
        self.sync_every_tasks = (
            app.conf.beat_sync_every if sync_every_tasks is None else sync_every_tasks
        )
        self._heap: list[event_t] | None = None
        self._last_sync: float | None = None
        self._tasks_since_sync = 0
        if not lazy:
            self.setup_schedule()

    # The schedule

    def get_schedule(self) -> Any:
        """Return the entries by their names."""
        return self.data

    def set_schedule(self, schedule: Any) -> None:
        """Set the entries."""
        self.data = schedule

    schedule: Any = property(get_schedule, set_schedule)

    @property
    def info(self) -> str:
        """Where the schedule is kept, for people to read."""
        return ""

    @property
    def producer(self) -> Any:
        """None: nothing but the ledger is needed to submit."""
        return None

    def setup_schedule(self) -> None:
        """Take the entries of the settings."""
        self.merge_inplace(self.app.conf.beat_schedule)
        self.install_default_entries(self.data)

    def install_default_entries(self, data: Mapping[str, Any]) -> None:
        """Add the entry that removes expired results, where the backend does not itself."""
        entries: dict[str, Any] = {}
        name = "celery.backend_cleanup"
        pruned = getattr(self.app.backend, "supports_autoexpire", True)
        if self.app.conf.result_expires and not pruned and name not in data:
            entries[name] = {
                "task": name,
                "schedule": crontab(minute="0", hour="4"),
                "options": {"expires": 12 * 3600},
            }
        self.update_from_dict(entries)

    def add(self, **fields: Any) -> Any:
        """Add an entry, made of its fields; return it."""
        entry = self.Entry(app=self.app, **fields)
        self.schedule[entry.name] = entry
        return entry

    def update_from_dict(self, dict_: Mapping[str, Any]) -> None:
        """Add entries, or their fields, by name."""
        for name, fields in dict_.items():
            self.schedule[name] = self._maybe_entry(name, fields)

    def _maybe_entry(self, name: str, entry: Any) -> Any:
        """Return an entry of this scheduler, or fields of one, as an entry.

        Raises ImproperlyConfigured for what are no fields.
        """
        if isinstance(entry, self.Entry):
            entry.app = self.app
            return entry
        try:
            return self.Entry(**{**dict(entry), "name": name, "app": self.app})
        except (TypeError, ValueError) as error:
            raise ImproperlyConfigured(
                f"entry {name!r} of the schedule cannot be made: {error}"
            ) from error

    def merge_inplace(self, b: Mapping[str, Any]) -> None:
        """Take over the entries of *b*, and drop others; last runs of those that stay stay."""
        schedule = self.schedule
        for name in set(schedule) - set(b):
            schedule.pop(name, None)
        for name, fields in b.items():
            entry = self._maybe_entry(name, fields)
            if schedule.get(name) is not None:
                schedule[name].update(entry)
            else:
                schedule[name] = entry

    def schedules_equal(self, old_schedules: Any, new_schedules: Any) -> bool:
        """Tell whether two schedules call the same at the same times."""
        if old_schedules is None or new_schedules is None:
            return old_schedules is new_schedules
        if set(old_schedules) != set(new_schedules):
            return False
        return all(old_schedules[name] == new_schedules.get(name) for name in old_schedules)

    # Time

    def adjust(self, n: float, drift: float = -WAKE_EARLY) -> float:
        """Return seconds to wait, a little less of them."""
        return n + drift if n and n > 0 else n

    def _when(self, entry: Any, next_time_to_run: Any) -> float:
        """Return the time in that many seconds, as the entry tells it: since the epoch, in UTC."""
        now: datetime = aware(entry.default_now())
        return now.timestamp() + float(self.adjust(next_time_to_run) or 0)

    def is_due(self, entry: Any) -> tuple[bool, Any]:
        """Tell whether an entry is due, and in how many seconds to ask again."""
        state: tuple[bool, Any] = entry.is_due()
        return state

    def _ask(self, entry: Any) -> tuple[bool, float]:
        """Do what `is_due` does; an entry that cannot tell does not stop the others."""
        try:
            is_due, seconds = self.is_due(entry)
        except Exception:  # a schedule may be anybody's code
            logger.exception(
                "entry %r cannot tell when it is due; it is asked again in %s",
                entry.name,
                humanize_seconds(self.max_interval),
            )
            return False, self.max_interval
        return is_due, seconds if isinstance(seconds, Real) else self.max_interval  # type: ignore[return-value]  # mypy does not know that a float is Real

    def next_check(self, entry: Any, seconds: float) -> float:
        """Return in how many seconds an entry that ran is asked again; *seconds* it said before."""
        return seconds

    def populate_heap(self) -> None:
        """Ask all entries when they are due."""
        self._heap = []
        for entry in list(self.schedule.values()):
            is_due, seconds = self._ask(entry)
            self._heap.append(event_t(self._when(entry, 0 if is_due else seconds), PRIORITY, entry))
        heapq.heapify(self._heap)

    def tick(self) -> float:
        """Submit one entry if it is due; return in how many seconds to call this again."""
        if self._heap is None or not self.schedules_equal(self.old_schedulers, self.schedule):
            self.old_schedulers = copy(self.schedule)
            self.populate_heap()
        heap = self._heap
        if not heap:
            return self.max_interval
        event = heap[0]
        if (wait := event.time - self._when(event.entry, 0)) > 0:
            return min(wait, self.max_interval)
        is_due, seconds = self._ask(event.entry)
        if heap[0] is not event:  # an entry that is due before came meanwhile
            return min(heap[0].time - self._when(heap[0].entry, 0), self.max_interval)
        heapq.heappop(heap)
        entry = event.entry
        if is_due:
            entry = self.reserve(event.entry)
            self.apply_entry(event.entry, producer=self.producer)
            seconds = self.next_check(entry, seconds)
        heapq.heappush(heap, event_t(self._when(entry, seconds), event.priority, entry))
        if is_due or heap[0].entry is not entry:
            return 0
        return min(self.adjust(seconds), self.max_interval)

    # Runs

    def reserve(self, entry: Any) -> Any:
        """Put the entry as it is after a run in its place; return that."""
        following = self.schedule[entry.name] = next(entry)
        return following

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Submit a run; what goes wrong is logged."""
        logger.info("entry %r is due: %s", entry.name, entry.task)
        try:
            result = self.apply_async(entry, producer=producer, advance=False)
        except Exception as error:  # a task may have an apply_async of its own
            logger.exception("%s", error)
        else:
            logger.debug("entry %r is job %s", entry.name, getattr(result, "id", None))

    def apply_async(
        self, entry: Any, producer: Any = None, advance: bool = True, **kwargs: Any
    ) -> Any:
        """Submit a run; return its AsyncResult. Raises SchedulingError.

        A task's own ``apply_async`` is called where it has one. Others never run here, also with
        ``task_always_eager``.
        """
        entry = self.reserve(entry) if advance else entry
        try:
            args, keywords = arguments(entry)
            said = {**options(entry), **kwargs}
            task = self.app.tasks.get(entry.task)  # imported, if need be, for its own options
            if task is not None and (task.rewrites or "apply_async" in vars(task)):
                return task.apply_async(args, keywords, producer=producer, **said)
            return self.send_task(entry.task, args, keywords, producer=producer, **said)
        except Exception as error:  # arguments and apply_async are the user's
            raise SchedulingError(
                f"entry {entry.name!r} could not be submitted: {error}"
            ) from error
        finally:
            self._tasks_since_sync += 1
            if self.should_sync():
                self._do_sync()

    def send_task(self, *args: Any, **kwargs: Any) -> Any:
        """Submit a job by its task's name."""
        return self.app.send_task(*args, **kwargs)

    # For schedulers that keep their schedule somewhere

    def should_sync(self) -> bool:
        """Tell whether it is time to `sync`."""
        if self._last_sync is None or time.monotonic() - self._last_sync > self.sync_every:
            return True
        return bool(self.sync_every_tasks and self._tasks_since_sync >= self.sync_every_tasks)

    def _do_sync(self) -> None:
        try:
            self.sync()
        finally:
            self._last_sync = time.monotonic()
            self._tasks_since_sync = 0

    def sync(self) -> None:
        """Write down what is kept."""

    def close(self) -> None:
        """Write down what is kept, at the end."""
        self.sync()
