"""Graphs on other schedulers than that of the dispatcher: the queue of each says on which."""

from __future__ import annotations

from dask_facade.exceptions import ClusterUnavailable

ELSEWHERE = "dask:"
LONGEST = 200  # characters of an address: a queue's name has room for them


def queue_at(scheduler: str) -> str:
    """Return the queue of graphs on the scheduler at this address; raise ClusterUnavailable."""
    if scheduler.startswith("inproc:"):
        raise ClusterUnavailable(scheduler, "no other process can reach it: jobs need one that can")
    if len(scheduler) > LONGEST:
        raise ClusterUnavailable(scheduler, f"its address has more than {LONGEST} characters")
    return ELSEWHERE + scheduler


def future_at(*, graph: bool, queue: str, key: str) -> str | None:
    """Return the address of the scheduler that knows a future of a job, None if none may.

    "" is that of the dispatcher.
    """
    if graph:
        return scheduler_at(queue)
    return "" if key else None


def scheduler_at(queue: str) -> str:
    """Return the address of the scheduler that graphs of a queue are on; "": the dispatcher's."""
    return queue.removeprefix(ELSEWHERE) if queue.startswith(ELSEWHERE) else ""
