"""``manage.py dask_dispatcher``: the process that runs a site's jobs."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dask_facade import current
from dask_facade.cluster.connection import require_loopback
from dask_facade.cluster.deployed import Deployment
from dask_facade.conf import Settings, get_settings
from dask_facade.dispatcher.pruning import seconds_of
from dask_facade.dispatcher.service import Dispatcher, Options
from dask_facade.events import Rules
from dask_facade.exceptions import DaskFacadeError, ImproperlyConfigured
from dask_facade.management.reloading import loads, start_anew, watch


class Command(BaseCommand):
    """Leads the site's jobs: starts or joins a Dask cluster, and hands them out."""

    help = (
        "Runs the site's jobs, on a local Dask cluster that it starts (the default) or on the one "
        "whose scheduler you name. Several may run: one leads, the others stand by."
    )

    _outdated = False  # the code has changed since it started
    _told_to_end = False

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
        parser.add_argument(
            "-Q",
            "--queues",
            type=_names,
            default=(),
            metavar="NAMES",
            help="serve these queues alone, as in -Q fast,slow",
        )
        parser.add_argument(
            "--no-beat",
            action="store_false",
            dest="beat",
            help="leave the schedule (CELERY_BEAT_SCHEDULE, add_periodic_task) alone",
        )
        parser.add_argument(
            "--autoreload",
            action="store_true",
            help="start dispatcher and workers anew when code changes; for development",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGINT or SIGTERM."""
        if options["verbosity"] and not logging.getLogger().handlers:
            logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
            logging.getLogger("dask_facade").setLevel(logging.INFO)
            logging.getLogger("distributed").setLevel(logging.WARNING)  # as in its cluster
        try:
            dispatcher_options = _options(get_settings(), options)
            asyncio.run(self._run(dispatcher_options, reload=options["autoreload"]))
        except DaskFacadeError as error:
            raise CommandError(str(error)) from error
        if self._outdated and not self._told_to_end:
            start_anew()

    async def _run(self, options: Options, *, reload: bool) -> None:
        dispatcher = Dispatcher(current.site().store, options)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end, dispatcher)
        if reload:
            watch(lambda path: self._replace(path, loop, dispatcher))
        await dispatcher.run(self._say_ready)
        self.stdout.write("dispatcher ended")

    def _end(self, dispatcher: Dispatcher) -> None:
        self._told_to_end = True
        dispatcher.stop()

    def _replace(self, path: Path, loop: asyncio.AbstractEventLoop, dispatcher: Dispatcher) -> None:
        """End the dispatcher in order because of a changed file, unless the code is broken."""
        if self._outdated or self._told_to_end:
            return
        if not loads():
            self.stderr.write(f"{path} changed; the code as it was goes on")
            return
        self.stdout.write(f"{path} changed; dispatcher and workers start anew")
        self.stdout.flush()
        self._outdated = True
        loop.call_soon_threadsafe(dispatcher.stop)

    def _say_ready(self, scheduler: str) -> None:
        self.stdout.write(f"dispatcher leads; jobs run on the Dask cluster of {scheduler}")
        self.stdout.flush()


def _names(text: str) -> tuple[str, ...]:
    return tuple(name for each in text.split(",") if (name := each.strip()))


def _deployment(settings: Settings) -> Deployment | None:
    said = settings.CLUSTER
    if said is None:
        return None
    return Deployment(said["class"], said.get("kwargs", {}), said.get("adapt"))


def _options(settings: Settings, given: dict[str, Any]) -> Options:
    scheduler = given["scheduler"]
    deployment: Deployment | None = None
    if scheduler is None and given["cluster"] is None:
        scheduler = settings.SCHEDULER_ADDRESS
        deployment = _deployment(settings)
    if given["autoreload"] and (scheduler is not None or deployment is not None):
        raise ImproperlyConfigured(
            "--autoreload starts the workers of a local cluster anew, not those of another: leave "
            "out --autoreload, or say --cluster local"
        )
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
        deployment=deployment,
        linger=settings.LINGER,
        insecure=settings.ALLOW_INSECURE_CLUSTER,
        host=settings.DISPATCHER_HOST,
        port=settings.DISPATCHER_PORT,
        advertise=settings.ADVERTISE_ADDRESS,
        lease=settings.LEASE,
        send_grace=settings.SEND_GRACE,
        settings_module=os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        paths=tuple(path for path in sys.path if path),
        queues=given["queues"],
        inline_limit=settings.RESULT_INLINE_LIMIT,
        store_limit=settings.RESULT_STORE_LIMIT,
        rules=Rules(high_water=settings.HIGH_WATER, max_lost=settings.MAX_LOST),
        result_expires=seconds_of(current.app().conf.result_expires),
        app=current.app() if given["beat"] else None,
    )
