from __future__ import annotations

from django.apps import AppConfig


class DaskFacadeApiConfig(AppConfig):
    name = "dask_facade.api"
    label = "dask_facade_api"
    verbose_name = "Dask Facade API"

    def ready(self) -> None:
        """Register the checks."""
        from dask_facade.api.checks import register_checks

        register_checks()
