"""Dask's queues, variables, locks, events and semaphores, on the cluster that runs the jobs.

They are Dask's own and find each other by name, whoever made them: in a job, in any Dask task and
in processes that only submit. What is new is who needs not say which cluster is meant.
"""

from __future__ import annotations

from typing import Any

import distributed
from distributed import Client, get_client

from dask_facade import current
from dask_facade.job_futures import connected


def client_here() -> Client:
    """Return the client of the worker that runs this, or the current one of this process.

    Where there is neither, this process's client of the dispatcher's cluster. Raises
    ClusterUnavailable.
    """
    try:
        return get_client()
    except ValueError:
        return connected(current.app().store)[0]


class _ByClient:
    """What asks a client each time: the one that was given, or else the one that is there then.

    So one that was made as a module was imported works before there is a cluster, and with the
    next one.
    """

    _client: Client | None
    _met: Client | None = None  # the last one that was there

    @property
    def client(self) -> Client:
        return self._client or self._met or client_here()

    def _verify_running(self) -> None:
        """Find the client in the thread that asks: in that of its loop nothing may wait."""
        if self._client is None:
            self._met = client_here()


class Queue(_ByClient, distributed.Queue):
    """A queue of futures and small values between clients and tasks."""

    _opened_by = ""  # the client through which it was opened

    def _maybe_start(self) -> None:
        """Do nothing yet: it may be made where there is no cluster."""

    def _verify_running(self) -> None:
        """Open it: a queue that nobody has opened takes nothing."""
        super()._verify_running()
        client = self.client
        if self._opened_by != client.id:
            client.sync(self._start)
            self._opened_by = client.id

    def __reduce__(self) -> tuple[Any, ...]:
        return distributed.Queue, (self.name, None, self.maxsize)


class Variable(_ByClient, distributed.Variable):
    """A global variable that holds a future or a small value."""


class Event(_ByClient, distributed.Event):
    """A flag that all may wait for."""


class _ByLease(distributed.Semaphore):
    """What holds leases: with one client, until that closes."""

    _leasing: Client | None = None

    def _bind_late(self) -> None:
        """Do nothing yet: it may be made where there is no cluster."""

    def _verify_running(self) -> None:
        if self._scheduler is not None and self._leasing is None:
            return  # it was said whom to ask
        if self._leasing is None or self._leasing.status != "running":
            client = client_here()
            distributed.Semaphore.__init__(
                self, self.max_leases, self.name, client.scheduler, client.loop
            )
            self._leasing = client

    def register(self, **kwargs: Any) -> Any:
        """Make it known to the scheduler."""
        self._verify_running()
        return super().register(**kwargs)  # type: ignore[no-untyped-call]  # it is Dask's


class Lock(_ByLease, distributed.Lock):
    """A lock that one holds at a time, on the whole cluster."""

    def locked(self) -> Any:
        """Tell whether somebody holds it."""
        self.register()
        return super().locked()  # type: ignore[no-untyped-call]  # it is Dask's

    def __reduce__(self) -> tuple[Any, ...]:
        return distributed.Lock, (self.name,)


class Semaphore(_ByLease):
    """A lock that several hold at a time."""

    def __reduce__(self) -> tuple[Any, ...]:
        return distributed.Semaphore, (self.max_leases, self.name)


__all__ = ["Event", "Lock", "Queue", "Semaphore", "Variable", "client_here"]
