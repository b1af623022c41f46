"""The jobs in the Django admin."""

from __future__ import annotations

from dask_facade.admin.jobs import JobAdmin

__all__ = ["JobAdmin"]
