"""The jobs in the Django admin."""

from __future__ import annotations

from dask_facade.admin.jobs import JobAdmin
from dask_facade.admin.named import DaskJobAdmin, DaskSchedulerAdmin

__all__ = ["DaskJobAdmin", "DaskSchedulerAdmin", "JobAdmin"]
