"""The class of tasks that have ``delay_on_commit``: every task has."""

from __future__ import annotations

from dask_facade.task import Task

DjangoTask = Task

__all__ = ["DjangoTask"]
