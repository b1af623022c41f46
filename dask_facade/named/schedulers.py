"""The table of Dask schedulers. `dask_facade.models` has its name, too."""

from __future__ import annotations

from typing import Any

from django.db import models

from dask_facade import current
from dask_facade.conf import get_settings
from dask_facade.named import clusters


class DaskScheduler(models.Model):
    """A Dask scheduler by name."""

    name = models.CharField(max_length=255, unique=True)
    host = models.CharField(
        max_length=255,
        blank=True,
        default="",
        help_text="Its address, as in tcp://127.0.0.1:8786. Empty: the one that jobs run on.",
    )
    timeout = models.FloatField(default=0, help_text="Seconds to connect. 0: three.")
    heartbeat_interval = models.IntegerField(default=0, help_text="Milliseconds. 0: Dask's own.")
    dashboard = models.CharField(max_length=255, blank=True, default="", help_text="Its address.")

    class Meta:
        app_label = "dask_facade"
        verbose_name = "Dask scheduler"
        verbose_name_plural = "Dask schedulers"

    def __str__(self) -> str:
        return self.name

    @property
    def client(self) -> Any:
        """This process's Dask client of it, which is nobody's default.

        Raises DaskJobException where no scheduler answers within the timeout.
        """
        return clusters.client_at(
            current.app().store,
            self.name,
            self.host,
            self.timeout,
            self.heartbeat_interval,
            insecure=get_settings().ALLOW_INSECURE_CLUSTER,
        )
