"""``manage.py dask_prune``: lets the dispatcher delete jobs that ended long ago."""

from __future__ import annotations

import re
import time
from argparse import ArgumentParser, ArgumentTypeError
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from dask_facade import current
from dask_facade.control import ask
from dask_facade.dispatcher.pruning import seconds_of
from dask_facade.exceptions import DaskFacadeError
from dask_facade.jobs import PRUNE
from dask_facade.ledger.store import JobStore
from dask_facade.models import Job
from dask_facade.states import READY_STATES

UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
LOOK_EVERY = 0.25  # seconds


class Command(BaseCommand):
    """Asks the leading dispatcher, which alone deletes jobs, and waits until it has."""

    help = (
        "Deletes jobs that ended long ago, a few at a time, and what the cluster keeps of their "
        "results. Those that an unfinished job came from, or waits for, stay. The dispatcher does "
        "it: while none is running, it is left to the next one."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--older-than",
            type=_seconds,
            metavar="AGE",
            help="since they ended, as in 30d, 12h, 90m or 600s (default: result_expires)",
        )
        parser.add_argument(
            "--no-wait", action="store_true", help="return at once, and let the dispatcher do it"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Ask, and tell how many were deleted."""
        app = current.app()
        try:
            older = options["older_than"]
            older = seconds_of(app.conf.result_expires) if older is None else older
            if not older and options["older_than"] is None:
                raise CommandError("say --older-than, as in 30d: result_expires is not set")
            before = _ended(app.store, older)
            ask(app, PRUNE, [""], older=older)
            if options["no_wait"] or not _is_led(app.store):
                self.stdout.write(f"The dispatcher is asked to delete {before} jobs.")
                return
            while app.store.asked(PRUNE, ""):
                time.sleep(LOOK_EVERY)
        except DaskFacadeError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{before - _ended(app.store, older)} jobs are deleted.")


def _seconds(text: str) -> float:
    said = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if said is None:
        raise ArgumentTypeError(f"{text!r} is no age: say 30d, 12h, 90m or 600s")
    return float(said[1]) * UNITS[said[2]]


def _ended(store: Any, older: float) -> int:
    before = timezone.now() - timedelta(seconds=older)
    rows = Job.objects.using(store.alias).filter(state__in=READY_STATES)
    return rows.filter(created__lte=before, finished__lte=before).count()


def _is_led(store: JobStore) -> bool:
    lease = store.lease()
    return lease is not None and bool(lease.scheduler)
