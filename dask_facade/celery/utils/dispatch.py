"""Celery's class of signals, for those who make their own."""

from __future__ import annotations

from dask_facade.signals import Signal

__all__ = ["Signal"]
