"""The workers of a pool's own: at most one cluster of them, from when it starts until it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dask_facade.ids import new_id
from dask_facade.ledger.store import JobStore
from dask_facade.pools.cluster import PoolCluster, settings_module_here
from dask_facade.pools.shape import Shape


class Staff:
    """The workers of the pool *name*. One thread starts them; any may end them."""

    def __init__(self, name: str) -> None:
        self._cluster: PoolCluster | None = None
        self._lock = threading.Lock()
        self._name = name

    @property
    def works(self) -> bool:
        """Whether nothing has ended them; also where there are none."""
        cluster = self._cluster
        return cluster is None or cluster.failure is None

    def check(self) -> None:
        """Raise what ended them."""
        cluster = self._cluster
        if cluster is not None and cluster.failure is not None:
            raise cluster.failure

    def start(self, shape: Shape, store: JobStore, is_wanted: Callable[[], bool]) -> str:
        """Start them, in place of earlier ones; return the queue of which they take calls.

        They may have been ended by then, and are not started unless *is_wanted*. Raises what
        `PoolCluster.start` does.
        """
        self.end()
        queue = f"own:{self._name[:100]}:{new_id()}"
        cluster = PoolCluster(
            self._name, shape, store=store, queue=queue, settings_module=settings_module_here()
        )
        with self._lock:
            if not is_wanted():
                return queue
            self._cluster = cluster
        try:
            cluster.start()
        except BaseException:
            self.end()
            raise
        return queue

    def end(self) -> None:
        """End them, also while they start."""
        with self._lock:
            cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()
