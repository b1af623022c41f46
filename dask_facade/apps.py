"""The Django app."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed


class DaskFacadeConfig(AppConfig):
    """Gives the site's ledger to the apps of this process; connects to nothing."""

    name = "dask_facade"
    verbose_name = "Background jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the ledger known, and an app for sites that make none of their own."""
        from dask_facade import checks, current
        from dask_facade.app import DaskFacade
        from dask_facade.conf import ledger_database
        from dask_facade.dispatcher.client import DispatcherClient
        from dask_facade.ledger.orm import OrmStore

        checks.register_checks()
        setting_changed.connect(_reread)
        store = OrmStore(ledger_database())
        current.set_site(current.Site(store, DispatcherClient(store), self._packages))
        if not current.has_app():
            DaskFacade().autodiscover_tasks()

    def _packages(self) -> list[str]:
        from django.apps import apps

        return [config.name for config in apps.get_app_configs()]


def _reread(setting: str, **kwargs: Any) -> None:
    """Let the current app follow a test that changes Django's settings for a while."""
    from dask_facade import current

    if current.has_app():
        current.app().conf.reread()
