"""Django settings of the site that things happen to."""

from __future__ import annotations

import json
import os

DATABASES = {"default": json.loads(os.environ["CHAOS_DATABASE"])}
DASK_FACADE = json.loads(os.environ["CHAOS_FACADE"])
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["dask_facade", "tests.chaos"]
SECRET_KEY = "for tests only"
TIME_ZONE = "UTC"  # as the logs of Dask
USE_TZ = True
