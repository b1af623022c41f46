"""A database router that keeps the jobs' tables in the ledger's database."""

from __future__ import annotations

from typing import Any

from django.db.models import Model

from dask_facade.conf import ledger_database

APP_LABEL = "dask_facade"


class LedgerRouter:
    """Sends models of this package to ``DASK_FACADE["LEDGER_DATABASE"]``; says nothing of others.

    Jobs are submitted and moved there whatever routers say: this one makes the admin, the API and
    ``migrate`` look there too.
    """

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        """Return where rows of *model* are read."""
        return ledger_database() if model._meta.app_label == APP_LABEL else None

    def db_for_write(self, model: type[Model], **hints: Any) -> str | None:
        """Return where rows of *model* are written."""
        return self.db_for_read(model)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        """Tell whether tables of the app *app_label* belong into the database *db*."""
        return db == ledger_database() if app_label == APP_LABEL else None
