"""The peer that is Celery itself: its app, for the worker and for the client."""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery, chain, chord, group
from celery.signals import worker_ready

from tests.benchmarks import functions
from tests.benchmarks.calls import Calls

__all__ = ["add", "app", "chain", "chord", "echo", "group", "open_client", "total"]

app = Celery("benchmarks", broker=os.environ["BENCH_REDIS"], backend=os.environ["BENCH_REDIS"])
app.conf.worker_concurrency = 2
app.conf.worker_pool = "prefork"
app.conf.worker_prefetch_multiplier = 64

add = app.task(functions.add)
echo = app.task(functions.echo)
total = app.task(functions.total)


def open_client() -> Calls:
    """Return what runs the workloads."""
    return Calls(sys.modules[__name__])


@worker_ready.connect  # type: ignore[untyped-decorator]  # Celery has no types
def say_ready(**_: Any) -> None:
    print("worker is ready", flush=True)
