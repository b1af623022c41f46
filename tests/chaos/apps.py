"""The Django app of the site, whose dispatchers have traps in them."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from django.apps import AppConfig


class ChaosConfig(AppConfig):
    """Gives the site a ledger whose leader can be made to die at a certain moment."""

    name = "tests.chaos"

    def ready(self) -> None:
        """Put it in the place of the site's own."""
        from dask_facade import current
        from tests.chaos.moments import DeadlyStore
        from tests.chaos.traps import Traps

        site = current.site()
        traps = Traps(Path(os.environ["CHAOS_FOLDER"]))
        current.set_site(replace(site, store=DeadlyStore(site.store.alias, traps)))
