"""Settings of a site with a schedule."""

from __future__ import annotations

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as _APPS

INSTALLED_APPS = [*_APPS, "tests.cluster.scheduled.Scheduled"]
CELERY_BEAT_SCHEDULE = {
    "often": {
        "task": "tests.cluster.tasks.note",
        "schedule": 0.5,
        "args": [os.environ["SCHEDULE_FOLDER"], "often"],
    },
    "rarely": {
        "task": "tests.cluster.tasks.note",
        "schedule": 3600,
        "args": [os.environ["SCHEDULE_FOLDER"], "rarely"],
    },
}
