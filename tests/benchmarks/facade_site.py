"""The peer that is dask_facade: its tasks, for the workers, and its client."""

from __future__ import annotations

import sys

import django

from dask_facade import chain, chord, group, shared_task
from dask_facade.states import SUCCESS
from tests.benchmarks import functions
from tests.benchmarks.calls import Calls

__all__ = ["add", "chain", "chord", "echo", "group", "open_client", "total"]

add = shared_task(functions.add, name=f"{__name__}.add")
echo = shared_task(functions.echo, name=f"{__name__}.echo")
total = shared_task(functions.total, name=f"{__name__}.total")


class LedgerCalls(Calls):
    """The workloads, where the table tells what became of the jobs."""

    def succeeded(self) -> int:
        """Return how many rows say SUCCESS."""
        from dask_facade.models import Job  # Django must be set up

        return Job.objects.filter(state=SUCCESS).count()


def open_client() -> LedgerCalls:
    """Return what runs the workloads."""
    django.setup()
    return LedgerCalls(sys.modules[__name__])
