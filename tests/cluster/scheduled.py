"""An app of a site whose settings have a schedule, and which adds an entry to it."""

from __future__ import annotations

import os
from typing import Any

from django.apps import AppConfig


class Scheduled(AppConfig):
    """Reads the settings as projects do."""

    name = "tests.cluster"
    label = "scheduled"

    def ready(self) -> None:
        from dask_facade import current
        from tests.cluster import tasks

        app = current.app()
        app.config_from_object("django.conf:settings", namespace="CELERY")

        def add(sender: Any, **kwargs: Any) -> None:
            note = tasks.note.s(os.environ["SCHEDULE_FOLDER"], "added")
            sender.add_periodic_task(1.0, note, name="added")

        app.on_after_finalize.connect(add, weak=False)
