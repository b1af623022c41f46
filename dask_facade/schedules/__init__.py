"""When a periodic task is due: Celery's ``schedules``."""

from __future__ import annotations

from dask_facade.schedules.cron import crontab
from dask_facade.schedules.cronspec import ParseException, crontab_parser
from dask_facade.schedules.interval import BaseSchedule, maybe_schedule, schedstate, schedule
from dask_facade.schedules.sun import solar
from dask_facade.times import ffwd

__all__ = [
    "BaseSchedule",
    "ParseException",
    "crontab",
    "crontab_parser",
    "ffwd",
    "maybe_schedule",
    "schedstate",
    "schedule",
    "solar",
]
