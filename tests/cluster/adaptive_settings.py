"""Settings of a site whose dispatcher starts a cluster of another kind, which adapts."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

DASK_FACADE = {
    "CLUSTER": {
        "class": "distributed.LocalCluster",
        "kwargs": {
            "n_workers": 0,
            "threads_per_worker": 1,
            "processes": True,
            "dashboard_address": None,
        },
        "adapt": {"minimum": 0, "maximum": 2, "interval": "200 ms", "wait_count": 2},
    },
    "LINGER": 1.0,
}
