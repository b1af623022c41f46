"""Django settings of the site that is measured: dask_facade alone, at its defaults."""

from __future__ import annotations

import json
import os

DATABASES = {"default": json.loads(os.environ["BENCH_DATABASE"])}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = ["dask_facade"]
SECRET_KEY = "for the benchmark only"
USE_TZ = True
