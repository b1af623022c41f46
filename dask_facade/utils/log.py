"""Loggers, under Celery's names."""

from __future__ import annotations

import logging


def get_task_logger(name: str) -> logging.Logger:
    """Return a logger for a module of tasks."""
    return logging.getLogger(name)


def get_logger(name: str) -> logging.Logger:
    """Return a logger."""
    return logging.getLogger(name)
