"""The file that a Celery project has; only the import and the class are new."""

from __future__ import annotations

import os

from dask_facade import DaskFacade

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo.settings")

app = DaskFacade("demo")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
