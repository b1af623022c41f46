"""What stands for the worker in a child process of its runner, which is none itself.

Some of Dask's own functions (`secede`, `rejoin`, `worker_client`, its `print` and `warn`) ask for
the worker that their task runs on, and should do in a call with a time limit as they do in any
other: its process has a client, and no slot of the worker's that it could give back.
"""

from __future__ import annotations

import time
from typing import Any

from distributed import Client
from distributed.worker import (  # type: ignore[attr-defined]  # they are what `secede` reads
    _worker_cvar,
    thread_state,
)

from dask_facade.worker.slots import take_no_slot


class StandIn:
    """Does with a client what Dask's functions ask of the worker that they find.

    It is false: it keeps no data, so who would put some on the worker goes on as a client.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.loop = client.loop
        self.scheduler = client.scheduler

    def __bool__(self) -> bool:
        return False

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(
            f"there is no {name!r} of the worker here: a call with a time limit, and that of an "
            "isolated task, runs beside its worker, in a process of its own"
        )

    def _get_client(self, timeout: float | None = None) -> Client:
        return self.client

    def handle_stimulus(self, *events: object) -> None:
        """Nothing changes: the call has no slot."""

    def log_event(self, topic: str, message: Any) -> None:
        """Tell the scheduler, as a worker does."""
        self.client.log_event(topic, message)


def stand_in(client: Client) -> None:
    """Let Dask's functions find a worker from now on, in this thread and for this process."""
    take_no_slot()
    thread_state.key, thread_state.start_time = "", time.time()
    _worker_cvar.set(StandIn(client))  # type: ignore[arg-type]  # it stands for one
