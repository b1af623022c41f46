"""``manage.py dask_dispatcher``: the process that runs a site's jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dask_facade import current
from dask_facade.cluster.connection import require_loopback
from dask_facade.conf import Settings, get_settings
from dask_facade.dispatcher.service import Dispatcher, Options
from dask_facade.events import Rules
from dask_facade.exceptions import DaskFacadeError, ImproperlyConfigured


class Command(BaseCommand):
    """Leads the site's jobs: starts or joins a Dask cluster, and hands them out."""

    help = (
        "Runs the site's jobs, on a local Dask cluster that it starts (the default) or on the one "
        "whose scheduler you name. Several may run: one leads, the others stand by."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--cluster", choices=["local"], help="start a Dask cluster on this machine"
        )
        which.add_argument(
            "--scheduler", metavar="ADDRESS", help="join the Dask cluster of tcp://HOST:PORT"
        )
        parser.add_argument(
            "--workers", type=int, metavar="N", help="worker processes of the local cluster"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGINT or SIGTERM."""
        if options["verbosity"] and not logging.getLogger().handlers:
            logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
            logging.getLogger("dask_facade").setLevel(logging.INFO)
        try:
            dispatcher_options = _options(get_settings(), options)
            asyncio.run(self._run(dispatcher_options))
        except DaskFacadeError as error:
            raise CommandError(str(error)) from error

    async def _run(self, options: Options) -> None:
        dispatcher = Dispatcher(current.site().store, options)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, dispatcher.stop)
        await dispatcher.run(self._say_ready)
        self.stdout.write("dispatcher ended")

    def _say_ready(self, scheduler: str) -> None:
        self.stdout.write(f"dispatcher leads; jobs run on the Dask cluster of {scheduler}")
        self.stdout.flush()


def _options(settings: Settings, given: dict[str, Any]) -> Options:
    scheduler = given["scheduler"]
    if scheduler is None and given["cluster"] is None:
        scheduler = settings.SCHEDULER_ADDRESS
    workers = settings.WORKERS if given["workers"] is None else given["workers"]
    if workers < 1:
        raise ImproperlyConfigured(f"--workers must be 1 or more, not {workers}")
    if not settings.ALLOW_INSECURE_CLUSTER:
        if scheduler is not None:
            require_loopback(scheduler, "the scheduler")
        require_loopback(f"{settings.DISPATCHER_HOST}:0", "DASK_FACADE['DISPATCHER_HOST']")
    return Options(
        scheduler=scheduler,
        workers=workers,
        host=settings.DISPATCHER_HOST,
        port=settings.DISPATCHER_PORT,
        advertise=settings.ADVERTISE_ADDRESS,
        lease=settings.LEASE,
        send_grace=settings.SEND_GRACE,
        settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        paths=tuple(path for path in sys.path if path),
        result_limit=settings.RESULT_STORE_LIMIT,
        rules=Rules(high_water=settings.HIGH_WATER, max_lost=settings.MAX_LOST),
    )
