"""The schedule of the leading dispatcher: a scheduler whose turns are taken in a thread."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from dask_facade.beat import scheduler_named

logger = logging.getLogger(__name__)

AWAY_PAUSE = 5.0  # seconds after which a scheduler that raised is made anew
LOOK_AT_LEAST = 60.0  # seconds

RUNS = 100  # that are submitted in one turn

T = TypeVar("T")


class Beat:
    """Runs the scheduler that an app's settings name, as long as its dispatcher leads.

    It submits like any other process, so a run that a former leader submitted too is refused by the
    ledger. Entries are read once, when it begins to lead.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._scheduler: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dask-facade-beat")

    async def keep(self) -> None:
        """Submit what is due, for ever."""
        while True:
            try:
                seconds = await self._run(self._turn)
            except Exception:  # the scheduler, its entries and the database may be anybody's
                logger.exception("the schedule stands still for %s s", AWAY_PAUSE)
                self._scheduler = None
                seconds = AWAY_PAUSE
            await asyncio.sleep(min(max(seconds, 0.0), LOOK_AT_LEAST))

    def _turn(self) -> float:
        """Submit what is due; return in how many seconds something may be again."""
        if self._scheduler is None:
            self._scheduler = self._begin()
            logger.info("the schedule has %d entries", len(self._scheduler.schedule))
        for _ in range(RUNS):
            seconds: float = self._scheduler.tick()
            if seconds > 0:
                if self._scheduler.should_sync():
                    self._scheduler._do_sync()
                return seconds
        return 0.0

    def _begin(self) -> Any:
        app = self._app
        app.finalize()
        made = scheduler_named(app.conf.beat_scheduler)
        return made(
            app=app,
            max_interval=app.conf.beat_max_loop_interval,
            schedule_filename=app.conf.beat_schedule_filename,
        )

    async def _run(self, work: Callable[[], T]) -> T:
        """Do *work* in the thread; when cancelled, wait for its end."""
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def close(self) -> None:
        """Close the scheduler and its connection, and end the thread."""
        self._thread.submit(self._end)
        self._thread.shutdown()

    def _end(self) -> None:
        try:
            if self._scheduler is not None:
                self._scheduler.close()
        except Exception:  # a scheduler may be anybody's
            logger.exception("the schedule was not closed")
        finally:
            if self._app.has_store():
                self._app.store.disconnect()
