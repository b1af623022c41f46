"""Loggers, under Celery's names."""

from __future__ import annotations

import logging

base_logger = logging.getLogger("celery")
task_logger = logging.getLogger("celery.task")
worker_logger = logging.getLogger("celery.worker")


def get_task_logger(name: str) -> logging.Logger:
    """Return a logger for a module of tasks.

    What it logs reaches the handlers of "celery.task" first, unless a logger of the project's own
    stands above it.
    """
    if name in (base_logger.name, task_logger.name):
        raise RuntimeError(f"Logger name {name!r} is reserved!")
    logger = logging.getLogger(name)
    if logger.parent is logging.root:
        logger.parent = task_logger
    return logger


def get_logger(name: str) -> logging.Logger:
    """Return a logger."""
    return logging.getLogger(name)
