"""``manage.py dask_worker``: worker processes that join the cluster of the running dispatcher."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dask_facade import current
from dask_facade.cluster.connection import require_loopback
from dask_facade.cluster.joining import serve_workers
from dask_facade.conf import get_settings
from dask_facade.exceptions import ClusterUnavailable, DaskFacadeError, ImproperlyConfigured
from dask_facade.worker.node import CONTROLLER, NAME, QUEUES

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


class Command(BaseCommand):
    """Starts workers that may take the calls of some queues only."""

    help = (
        "Starts worker processes that join the Dask cluster on which the site's jobs run. With "
        "--queues they take calls of these queues alone; the dispatcher must be running."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "-Q",
            "--queues",
            default="",
            metavar="NAMES",
            help="take calls of these queues alone, as in -Q mail,gpu (default: as the dispatcher)",
        )
        parser.add_argument(
            "-c", "--concurrency", type=int, default=1, metavar="N", help="worker processes"
        )
        parser.add_argument(
            "-n",
            "--hostname",
            default="celery-%p@%h",
            metavar="NAME",
            help="their name, as in -n mail@%%h (%%h: this host, %%p: this process)",
        )
        parser.add_argument(
            "--scheduler",
            metavar="ADDRESS",
            help="tcp://HOST:PORT of the cluster (default: that of the leading dispatcher)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGINT or SIGTERM, or until all workers were shut down."""
        if options["verbosity"] and not logging.getLogger().handlers:
            logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        try:
            scheduler = options["scheduler"] or _known_scheduler()
            if not get_settings().ALLOW_INSECURE_CLUSTER:
                require_loopback(scheduler, "the scheduler")
            asyncio.run(self._run(scheduler, _environments(options)))
        except DaskFacadeError as error:
            raise CommandError(str(error)) from error

    async def _run(self, scheduler: str, environments: list[Mapping[str, str]]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)

        def ready() -> None:
            names = ", ".join(each[NAME] for each in environments)
            self.stdout.write(f"{names} joined the Dask cluster of {scheduler}")
            self.stdout.flush()

        local = scheduler.rpartition("://")[2].rpartition(":")[0] in LOOPBACK
        host = "127.0.0.1" if local else None
        await serve_workers(scheduler, environments, ready, stop, host=host)
        self.stdout.write("workers ended")


def _known_scheduler() -> str:
    """Return the scheduler that the leading dispatcher works with, or the settings name."""
    lease = current.site().store.lease()
    scheduler = (lease.scheduler if lease is not None else "") or get_settings().SCHEDULER_ADDRESS
    if not scheduler:
        raise ClusterUnavailable(
            "", "no dispatcher leads; start one (manage.py dask_dispatcher), or say --scheduler"
        )
    return str(scheduler)


def _environments(options: Mapping[str, Any]) -> list[Mapping[str, str]]:
    """Return what each worker process finds in its environment."""
    count = options["concurrency"]
    if count < 1:
        raise ImproperlyConfigured(f"--concurrency must be 1 or more, not {count}")
    host = socket.gethostname()
    said = options["hostname"].replace("%h", host).replace("%p", str(os.getpid()))
    name, _, at = said.partition("@")
    names = [f"{name}-{number}" for number in range(1, count + 1)] if count > 1 else [name]
    common = {CONTROLLER: str(os.getpid())}
    if options["queues"]:
        common[QUEUES] = options["queues"]
    return [{**common, NAME: f"{each}@{at or host}"} for each in names]
