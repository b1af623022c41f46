"""The peer that is plain Dask: its cluster, started by running this module, and its client."""

from __future__ import annotations

import os
import signal

from distributed import Client, LocalCluster

from tests.benchmarks.futures import Futures


def open_client() -> Futures:
    """Return what runs the workloads."""
    return Futures(Client(os.environ["BENCH_SCHEDULER"], set_as_default=False))


def main() -> None:
    """Serve a cluster until SIGTERM."""
    ends = {signal.SIGINT, signal.SIGTERM}
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        print(f"cluster is ready at {cluster.scheduler_address}", flush=True)
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)
        signal.sigwait(ends)


if __name__ == "__main__":
    main()
