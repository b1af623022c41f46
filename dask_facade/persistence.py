"""The scheduler that keeps in the ledger when its entries ran."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import Any

from dask_facade.entries import SKIP, LedgerEntry
from dask_facade.exceptions import DuplicateTaskId
from dask_facade.ids import derived_id
from dask_facade.scheduler import Scheduler, SchedulingError
from dask_facade.times import aware

logger = logging.getLogger(__name__)

RETRY_AFTER = 5.0  # seconds after which a run that could not be submitted is tried again


class PersistentScheduler(Scheduler):
    """Keeps in the ledger when its entries ran last, and submits none twice.

    The id of a run's job is made of the entry's name and the time at which it was due: whatever
    dies between the two, and however many schedulers there are, the ledger takes one. A run that
    cannot be submitted is tried again. Celery's file (*schedule_filename*) is not needed.
    """

    Entry: Any = LedgerEntry

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.schedule_filename = kwargs.get("schedule_filename")
        self._failed: dict[str, tuple[float, Any]] = {}  # name: when to try again, and what
        super().__init__(*args, **kwargs)

    @property
    def info(self) -> str:
        """Where the schedule is kept, for people to read."""
        return "    . last runs -> the ledger"

    def setup_schedule(self) -> None:
        """Take the entries of the settings, and their last runs from the ledger."""
        super().setup_schedule()
        store = self.app.store
        known = store.schedules()
        for name, entry in self.schedule.items():
            if name in known:
                last = datetime.fromtimestamp(known[name].last_run, UTC)
                entry.last_run_at = last.astimezone(self.app.timezone)
                entry.total_run_count = known[name].runs
                if getattr(entry, "missed", None) == SKIP and _due(entry) <= aware(
                    entry.default_now()
                ):
                    entry.last_run_at = _caught_up(entry)
            else:
                self._note(entry)
        store.drop_schedules(known.keys() - self.schedule.keys())

    def adjust(self, n: float, drift: float = 0.0) -> float:
        """Return seconds to wait: all of them, as nobody sleeps longer than that here."""
        return n

    def next_check(self, entry: Any, seconds: float) -> float:
        """Return in how many seconds an entry that ran is due again."""
        is_due, seconds = self._ask(entry)
        return 0.0 if is_due else seconds

    def reserve(self, entry: Any) -> Any:
        """Put the entry as it is after a run in its place; return that."""
        following = self.schedule[entry.name] = entry.next(_caught_up(entry))
        return following

    def tick(self) -> float:
        """Submit what is due, and what could not be submitted before."""
        now = time.monotonic()
        for name in [name for name, (when, _) in self._failed.items() if when <= now]:
            _, entry = self._failed.pop(name)
            self.apply_entry(entry)
        seconds = super().tick()
        return min([seconds, *(max(when - now, 0.0) for when, _ in self._failed.values())])

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        """Submit a run, once; it is tried again later where it cannot be submitted now."""
        due = _due(entry)
        following = self.schedule.get(entry.name, entry)
        logger.info("entry %r is due at %s: %s", entry.name, due.isoformat(), entry.task)
        said = {} if "task_id" in entry.options else {"task_id": _id(entry.name, due)}
        try:
            self.apply_async(entry, producer=producer, advance=False, **said)
            self._note(following)
        except SchedulingError as error:
            if isinstance(error.__cause__, DuplicateTaskId) and said:
                logger.info("entry %r was submitted before: %s", entry.name, error)
                self._note(following)
            elif isinstance(error.__cause__, TypeError | ValueError):
                logger.exception("%s", error)  # nor can it be later
                self._note(following)
            else:
                self._fail(entry, error)
        except Exception as error:  # the database's own errors
            self._fail(entry, error)

    def _fail(self, entry: Any, error: Exception) -> None:
        logger.error("entry %r is tried again in %s s", entry.name, RETRY_AFTER, exc_info=error)
        self._failed[entry.name] = (time.monotonic() + RETRY_AFTER, entry)

    def _note(self, entry: Any) -> None:
        """Write down when an entry ran last."""
        last = aware(entry.last_run_at).timestamp()
        self.app.store.note_run(entry.name, last, entry.total_run_count)


def _due(entry: Any) -> datetime:
    """Return when a run of *entry* was due."""
    due: datetime = entry.schedule.due_after(entry.last_run_at)
    return due.astimezone(UTC)


def _caught_up(entry: Any) -> datetime:
    last: datetime = entry.schedule.caught_up(entry.last_run_at)
    return last


def _id(name: str, due: datetime) -> str:
    return derived_id(f"schedule {name}", due.timestamp())
