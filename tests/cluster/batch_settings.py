"""Settings of a site whose workers are jobs of a batch system."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

DASK_FACADE = {
    "CLUSTER": {
        "class": "dask_jobqueue.SLURMCluster",
        "kwargs": {
            "cores": 1,
            "memory": "500MB",
            "worker_extra_args": ["--host", "127.0.0.1"],
            "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
        },
        "adapt": {"minimum": 0, "maximum": 1, "interval": "200 ms"},
    },
    "LINGER": 0.5,
}
