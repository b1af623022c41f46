"""The Django app."""

from __future__ import annotations

from django.apps import AppConfig


class DaskFacadeConfig(AppConfig):
    """Gives the site's ledger to the apps of this process; connects to nothing."""

    name = "dask_facade"
    verbose_name = "Background jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Make the ledger known, and an app for sites that make none of their own."""
        from dask_facade import checks, current
        from dask_facade.app import DaskFacade
        from dask_facade.conf import LEDGER_ALIAS
        from dask_facade.dispatcher.client import DispatcherClient
        from dask_facade.ledger.orm import OrmStore

        checks.register_checks()
        store = OrmStore(LEDGER_ALIAS)
        current.set_site(current.Site(store, DispatcherClient(store), self._packages))
        if not current.has_app():
            DaskFacade().autodiscover_tasks()

    def _packages(self) -> list[str]:
        from django.apps import apps

        return [config.name for config in apps.get_app_configs()]
