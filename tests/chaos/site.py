"""A site: its database, a Dask cluster that somebody else runs, dispatchers, and who submits."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Collection, KeysView, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from distributed import Client

from dask_facade.cluster.futures import DISPATCHER as NOTICE
from dask_facade.states import READY_STATES
from tests.benchmarks.processes import ROOT
from tests.chaos.clock import Clock
from tests.chaos.database import Ledger, environment
from tests.chaos.evidence import Move, Row
from tests.chaos.ground import Ground, Scale
from tests.chaos.proxy import Proxy
from tests.chaos.services import Service, free_port, marked
from tests.chaos.waiting import comes, wait_for

LEASE = 5.0  # seconds
WORKER_TTL = 10.0  # seconds after which Dask takes a silent worker for gone
SOON = 10.0
THREADS = (1, 2)  # of each worker
SCHEDULER, DISPATCHER, DATABASE = "scheduler", "dispatcher", "database"
MARK = "CHAOS_FOLDER"  # in the environment of every process of a site


@dataclass(frozen=True, slots=True)
class Shape:
    """What a site is made of."""

    dispatchers: int = 1
    nannies: bool = True  # above the workers
    fixed_ports: bool = False  # a worker that is started anew has the address of the last one
    own_clock: bool = False  # for all of its processes but the database
    on_small_disk: bool = False  # the ledger; else it is in PostgreSQL
    by_proxy: frozenset[str] = frozenset()  # which of SCHEDULER, DISPATCHER, DATABASE is reached so


class Site(Ground):
    """A site of Django's, with its ledger, a Dask cluster and dispatchers."""

    def __init__(
        self, folder: Path, ledger: Ledger, server: Service, *, shape: Shape, scale: Scale
    ) -> None:
        super().__init__(folder, scale)
        self.ledger = ledger
        self.server = server  # of the database
        self.clock = Clock(folder) if shape.own_clock else None
        self._ports = {
            SCHEDULER: free_port(),
            DISPATCHER: free_port(),
            DATABASE: ledger.settings.get("PORT", 0),
        }
        self.proxies = {name: Proxy(self._ports[name]) for name in sorted(shape.by_proxy)}
        for proxy in self.proxies.values():
            self.ending.callback(proxy.close)
        self.address = f"tcp://127.0.0.1:{self._ports[SCHEDULER]}"
        self.scheduler = self._scheduler()
        self.workers = [
            self._worker(number, threads, shape) for number, threads in enumerate(THREADS)
        ]
        self.dispatchers = [self._dispatcher(number) for number in range(shape.dispatchers)]

    def services(self) -> Sequence[Service]:
        """Return what is kept running, in the order in which it is started."""
        return [self.scheduler, *self.workers, *self.dispatchers]

    def environment(self, **facade: object) -> dict[str, str]:
        """Return what makes a process one of this site, with settings of its own."""
        return {
            **environment(self.ledger, self.folder, LEASE=LEASE, **facade),
            **(self.clock.environment if self.clock else {}),
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "",
            "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{WORKER_TTL} s",
        }

    def unended(self) -> int:
        """Return how many jobs have not ended."""
        ready = ", ".join(f"'{state}'" for state in sorted(READY_STATES))
        ((count,),) = self.ledger.rows(
            f"SELECT count(*) FROM dask_facade_job WHERE state NOT IN ({ready})"
        )
        return int(count)

    def rows(self) -> Mapping[str, Row]:
        """Return what the ledger says of each job."""
        offset = time.time() - time.monotonic()
        found = self.ledger.rows(
            "SELECT id, state, attempt, hand, lost, open, acks_late, parent_id, result_preview,"
            f" {self.ledger.epoch('eta')} FROM dask_facade_job"
        )
        rows = (Row(*row, eta=eta and eta - offset) for *row, eta in found)
        return {row.id: row for row in rows}

    def moves(self) -> Sequence[Move]:
        """Return the states that jobs came to be in, in the order of their commits."""
        offset = time.time() - time.monotonic()
        found = self.ledger.rows(
            "SELECT id, state, attempt, hand, time FROM chaos_history ORDER BY number"
        )
        return [Move(*move, time=moment - offset) for *move, moment in found]

    def _port(self, name: str) -> int:
        """Return where *name* is reached: by its proxy, where it has one."""
        return self.proxies[name].port if name in self.proxies else self._ports[name]

    # How it ends

    def remains(self) -> list[str]:
        """Tell what is left in the ledger beside the jobs."""
        comes(lambda: not self._requests())
        return [f"a request to {kind} {id}" for kind, id in self._requests()]

    def _requests(self) -> list[tuple[str, ...]]:
        return self.ledger.rows("SELECT kind, job_id FROM dask_facade_request")

    def shut_down(self) -> list[str]:
        """End all in order; tell what did not, and what is left on the cluster or running."""
        left = [f"{each.name} ended with {s}" for each in self.dispatchers if (s := each.stop())]
        with Client(self.address, timeout=SOON, set_as_default=False) as client:
            comes(lambda: not client.run_on_scheduler(kept))
            left += client.run_on_scheduler(kept)
        for service in (*self.workers, self.scheduler):
            service.stop()
        comes(lambda: not self._running())
        return left + [f"process {each.pid}: {each.name()}" for each in self._running()]

    def _running(self) -> list[psutil.Process]:
        return marked(MARK, str(self.folder))

    # What a fault looks for

    def addresses_of(self, worker: psutil.Process) -> frozenset[str]:
        """Return the addresses at which a worker's process listens."""
        listening = (
            each.laddr.port
            for each in worker.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN
        )
        return frozenset(f"tcp://127.0.0.1:{port}" for port in listening)

    def wait_for_the_loss_of(self, addresses: Collection[str]) -> None:
        """Return when the scheduler knows of no worker at one of *addresses*."""
        with Client(self.address, timeout=SOON, set_as_default=False) as client:

            def known() -> KeysView[str]:
                # client.scheduler_info() may be what a timer of the client's has left: no workers.
                return client.sync(client.scheduler.identity, n_workers=-1)["workers"].keys()

            wait_for(lambda: known().isdisjoint(addresses), "Dask's word of a worker's end")

    def leader_pid(self) -> int:
        """Return the process that leads; 0: none does."""
        ((holder,),) = self.ledger.rows("SELECT holder FROM dask_facade_lease")
        return int(holder.split(":")[1]) if holder else 0

    def leader(self) -> Service:
        """Return the dispatcher that leads."""
        pid = self.leader_pid()
        (found,) = (each for each in self.dispatchers if each.pid == pid)
        return found

    # Its processes

    def _scheduler(self) -> Service:
        port = str(self._ports[SCHEDULER])
        return self._dask("scheduler", "--port", port, name="scheduler", ready="Scheduler at:")

    def _worker(self, number: int, threads: int, shape: Shape) -> Service:
        name = f"worker-{number}"
        return self._dask(
            "worker",
            f"tcp://127.0.0.1:{self._port(SCHEDULER)}",
            f"--nthreads={threads}",
            f"--local-directory={self.folder / name}",
            f"--worker-port={free_port() if shape.fixed_ports else 0}",
            "--nanny" if shape.nannies else "--no-nanny",
            name=name,
            ready="Registered to:",
        )

    def _dask(self, *arguments: str, name: str, ready: str) -> Service:
        local = ("--host", "127.0.0.1", "--no-dashboard")
        return Service(
            name,
            [sys.executable, "-m", "dask", *arguments, *local],
            self.environment(),
            self.folder,
            ready=ready,
        )

    def _dispatcher(self, number: int) -> Service:
        """Return one of the dispatchers; the first is the one that proxies stand before."""
        environment = self.environment()
        if not number and DISPATCHER in self.proxies:
            advertised = f"127.0.0.1:{self._port(DISPATCHER)}"
            environment = self.environment(
                DISPATCHER_PORT=self._ports[DISPATCHER], ADVERTISE_ADDRESS=advertised
            )
        if not number and DATABASE in self.proxies:
            said = {**self.ledger.settings, "PORT": self._port(DATABASE)}
            environment["CHAOS_DATABASE"] = json.dumps(said)
        return Service(
            f"dispatcher-{number}",
            [sys.executable, "-m", "django", "dask_dispatcher", "--scheduler", self.address],
            environment,
            self.folder,
            ready="dispatcher leads; jobs run|standing by",
        )


def kept(dask_scheduler: Any) -> list[str]:
    """Return what a scheduler keeps, beside the word where the dispatcher is."""
    extensions = dask_scheduler.extensions
    variables = [name for name in extensions["variables"].variables if name != NOTICE]
    return [
        *(f"key {key}" for key in dask_scheduler.tasks),
        *(f"Variable {name}" for name in variables),
        *(f"Queue {name}" for name in extensions["queues"].queues),
    ]
