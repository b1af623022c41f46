"""Logging as a worker of Celery's sets it up: ``app.log``. Nothing calls it unasked."""

from __future__ import annotations

import logging
from typing import Any

from dask_facade import current, signals


class TaskFormatter(logging.Formatter):
    """Gives the records that it formats ``task_id`` and ``task_name``: of the task that logs."""

    def __init__(self, fmt: str | None = None, use_color: bool = False, **options: Any) -> None:
        super().__init__(fmt, **options)

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; outside of a task both are "???"."""
        frame = current.frame()
        task_id = None if frame is None else frame.request.id
        vars(record).setdefault("task_id", "???" if frame is None or task_id is None else task_id)
        vars(record).setdefault("task_name", "???" if frame is None else frame.name)
        return super().format(record)


class Logging:
    """Sets up logging, once in a process, unless a receiver of ``setup_logging`` has done so."""

    _setup = False

    def __init__(self, app: Any) -> None:
        self.already_setup = False  # set: nothing is to be done for this app
        self.app = app

    def setup(
        self,
        loglevel: int | str | None = None,
        logfile: str | None = None,
        redirect_stdouts: bool = False,
        redirect_level: str = "WARNING",
        colorize: bool | None = None,
        hostname: str | None = None,
    ) -> bool:
        """Set the level of Celery's loggers, and a handler where the root has none.

        With ``worker_hijack_root_logger`` (True unless the settings say otherwise) the level is
        also the root's. Returns False where it was done before.
        """
        return self.setup_logging_subsystem(loglevel, logfile)

    def setup_logging_subsystem(
        self, loglevel: int | str | None = None, logfile: str | None = None, **options: Any
    ) -> bool:
        """As `setup`."""
        if self.already_setup or Logging._setup:
            return False
        Logging._setup = True
        level = mlevel(loglevel or logging.WARNING)
        heard = signals.setup_logging.send(None, loglevel=level, logfile=logfile, **options)
        if heard:
            return True
        root = logging.getLogger()
        if self.app.conf.get("worker_hijack_root_logger", True):
            root.setLevel(level)
        if logfile or not root.handlers:
            handler = logging.FileHandler(logfile) if logfile else logging.StreamHandler()
            form = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
            handler.setFormatter(logging.Formatter(form))
            root.addHandler(handler)
        for name in ("celery", "celery.task"):
            logging.getLogger(name).setLevel(level)
        signals.after_setup_logger.send(None, logger=root, loglevel=level, logfile=logfile)
        signals.after_setup_task_logger.send(
            None, logger=logging.getLogger("celery.task"), loglevel=level, logfile=logfile
        )
        return True

    def get_default_logger(self, name: str = "celery") -> logging.Logger:
        """Return Celery's logger."""
        return logging.getLogger(name)


def mlevel(level: int | str) -> int:
    """Return the number of a level that may be said by name."""
    if isinstance(level, int):
        return level
    return logging.getLevelNamesMapping()[level.upper()]
