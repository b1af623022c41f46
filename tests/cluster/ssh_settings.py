"""Settings of a site that starts its scheduler and its worker by SSH, which passes no variables."""

from __future__ import annotations

import os
import sys

from tests.settings import *  # noqa: F403

DASK_FACADE = {
    "CLUSTER": {
        "class": "distributed.SSHCluster",
        "kwargs": {
            "hosts": ["127.0.0.1", "127.0.0.1"],
            "connect_options": {
                "port": int(os.environ.get("SSH_PORT", "22")),
                "client_keys": [os.environ.get("SSH_KEY", "")],
                "known_hosts": None,
                "config": None,
            },
            "scheduler_options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0"},
            "worker_options": {"host": "127.0.0.1", "nthreads": 1},
            "remote_python": sys.executable,
        },
    },
}
