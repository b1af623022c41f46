"""The peers: who is compared, and what runs their calls.

A new peer is one entry here, one module for its client, and a store if it needs another.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import stores
from tests.benchmarks.processes import Client, Server


@dataclass(frozen=True, slots=True)
class Peer:
    """One side of the comparison.

    *site* is the module whose ``open_client()`` runs the workloads, *serve* the arguments of the
    Python that runs the calls. Its output matches *ready* once it can; what the groups of that
    pattern find is the client's environment, by their names.
    """

    name: str
    site: str
    serve: tuple[str, ...]
    ready: str
    store: Callable[[Path], AbstractContextManager[Mapping[str, str]]]

    @contextmanager
    def up(self, environment: Mapping[str, str], folder: Path) -> Iterator[Client]:
        """Start the server and a client; end both."""
        with ExitStack() as stack:
            server = Server(
                [sys.executable, *self.serve],
                environment,
                folder / f"{self.name}.log",
                ready=self.ready,
            )
            stack.enter_context(server)
            log = folder / f"{self.name}_client.log"
            yield stack.enter_context(Client(self.site, {**environment, **server.found}, log))


CELERY = (
    "-m celery -A tests.benchmarks.celery_site worker --loglevel WARNING"
    " --without-gossip --without-mingle --without-heartbeat"
)
FACADE = "-m django dask_dispatcher --workers 2"

PEERS = (
    Peer(
        name="celery_redis",
        site="tests.benchmarks.celery_site",
        serve=tuple(CELERY.split()),
        ready="worker is ready",
        store=stores.redis_database,
    ),
    Peer(
        name="dask_facade_sqlite",
        site="tests.benchmarks.facade_site",
        serve=tuple(FACADE.split()),
        ready="jobs run on the Dask cluster",
        store=stores.sqlite_site,
    ),
    Peer(
        name="dask_facade_postgres",
        site="tests.benchmarks.facade_site",
        serve=tuple(FACADE.split()),
        ready="jobs run on the Dask cluster",
        store=stores.postgres_site,
    ),
    Peer(
        name="dask",
        site="tests.benchmarks.dask_site",
        serve=("-m", "tests.benchmarks.dask_site"),
        ready=r"cluster is ready at (?P<BENCH_SCHEDULER>\S+)",
        store=stores.nothing,
    ),
)
BASELINE = "celery_redis"
