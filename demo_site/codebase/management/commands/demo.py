"""Run the whole demo: dispatcher, web server, main job."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse
from rich.console import Console

from codebase.accounts import fresh_login
from codebase.children import Child, ChildEnded, Children, ChildrenLeft, running, tail_of
from codebase.files import library_directories, python_files
from codebase.ranking import Ranking
from codebase.records import read_ranking
from codebase.runs import start_run
from codebase.server import HOST, answer, free_port
from codebase.stopping import Stop, Stopped
from codebase.terminal import print_ranking, progress_bar
from dask_facade import AsyncResult
from dask_facade.exceptions import TimeoutError as StillRunning
from dask_facade.models import Job
from dask_facade.states import SUCCESS

SERVER_DEADLINE = 60.0
POLL = 0.2


@dataclass(frozen=True)
class Finished:
    """The main job's result and how many seconds it took from submission."""

    ranking: Ranking
    seconds: float


class Command(BaseCommand):
    """Starts what the demo needs, runs the main job, and ends all of it on Ctrl-C."""

    help = (
        "Start a dispatcher with a local Dask cluster and the web server, measure every Python "
        "file of this interpreter, show the ranking, and stay up until Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--once", action="store_true", help="end everything when the ranking is there"
        )
        parser.add_argument(
            "--workers",
            type=positive,
            default=max(2, os.cpu_count() or 2),
            help="worker processes (default: %(default)s)",
        )
        parser.add_argument(
            "--port",
            type=int,
            default=8000,
            help="of the web server; 0: any (default: %(default)s)",
        )
        parser.add_argument(
            "--files-under",
            action="append",
            type=Path,
            metavar="DIR",
            help="measure the files below DIR instead; may be given several times",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the demo; exit with 0 on Ctrl-C once the ranking was shown."""
        self.stdout.ending = ""  # rich ends its lines itself
        self.console = Console(file=self.stdout)  # type: ignore[arg-type]  # as good as a file
        with Stop() as self.stop, tempfile.TemporaryDirectory(prefix="demo-") as logs:
            try:
                finished = self.run(Path(logs), options)
            except (ChildEnded, ChildrenLeft) as error:
                raise CommandError(str(error)) from error
            except Stopped as error:
                raise CommandError(
                    "stopped before the ranking was there; the jobs wait in the table",
                    returncode=128 + error.number,
                ) from error
        if left := list(filter(running, psutil.Process().children(recursive=True))):
            raise CommandError(f"child processes are left: {', '.join(map(str, left))}")
        if options["once"]:
            totals = finished.ranking.totals
            self.stdout.write(
                f"{totals.files} files, {totals.lines} lines, {finished.seconds:.1f} s\n"
            )

    def run(self, logs: Path, options: dict[str, Any]) -> Finished:
        """Run the main job with its processes around it; they have ended when this returns."""
        call_command("migrate", verbosity=0, interactive=False)
        port = self.choose_port(options["port"])
        with Children(logs) as self.children:
            self.start(
                "dispatcher",
                "dask_dispatcher",
                "--cluster=local",
                f"--workers={options['workers']}",
            )
            server = self.start("web server", "runserver", "--noreload", f"{HOST}:{port}")
            paths = self.find(options["files_under"] or library_directories())
            self.wait_for(server, port)
            begun = time.monotonic()
            result = start_run(paths)
            ranking = self.follow(result, total=len(paths))
            finished = Finished(ranking, time.monotonic() - begun)
            print_ranking(self.console, ranking)
            self.verify(result, expected=len(paths) + 1)
            address = f"http://{HOST}:{port}"
            self.say(f"The run: {address}{reverse('run', args=[result.id])}")
            if not options["once"]:
                self.stay(address)
        return finished

    def say(self, text: str) -> None:
        """Print a line as it is."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def choose_port(self, wanted: int) -> int:
        """Return the port for the web server, and say so if it is not the one asked for."""
        port = free_port(wanted)
        if wanted not in (0, port):
            self.say(f"Port {wanted} is taken; the web server gets {port}.")
        return port

    def start(self, name: str, *arguments: str) -> Child:
        """Start a command of this project as a child process."""
        manage = str(Path(settings.BASE_DIR) / "manage.py")
        return self.children.start(name, [sys.executable, manage, *arguments])

    def find(self, directories: Sequence[Path]) -> list[str]:
        """Return the files to measure."""
        with self.console.status("Looking for Python files"):
            paths = python_files(directories)
        self.stop.check()
        if not paths:
            raise CommandError(f"no *.py below {', '.join(map(str, directories))}")
        self.say(f"{len(paths):,} Python files found")
        return paths

    def wait_for(self, server: Child, port: int) -> None:
        """Wait until the web server answers."""
        deadline = time.monotonic() + SERVER_DEADLINE
        with self.console.status("Waiting for the web server"):
            while (status := answer(port)) is None:
                self.children.check()
                self.stop.pause()
                if time.monotonic() > deadline:
                    raise CommandError(f"the web server does not answer. {tail_of(server)}")
        if status != 200:
            raise CommandError(f"the web server answers with {status}. {tail_of(server)}")

    def follow(self, result: AsyncResult, *, total: int) -> Ranking:
        """Show the progress of the main job until it has ended; return its ranking."""
        with progress_bar(self.console) as bar:
            task = bar.add_task("Measuring", total=total)
            while True:
                try:
                    record = result.get(timeout=POLL, propagate=False)
                    break
                except StillRunning:
                    self.children.check()
                    self.stop.check()
                bar.update(task, completed=result.parent.completed_count())
            bar.update(task, completed=result.parent.completed_count())
        if not result.successful():
            raise CommandError(f"the main job is {result.state}.\n{result.traceback or record}")
        return read_ranking(record)

    def verify(self, result: AsyncResult, *, expected: int) -> None:
        """Check that the table holds one row per job of the run, each of them SUCCESS."""
        jobs = Job.objects.filter(root_id=Job.objects.get(id=result.id).root_id)
        succeeded = jobs.filter(state=SUCCESS).count()
        if not succeeded == jobs.count() == expected:
            raise CommandError(
                f"{succeeded} of {jobs.count()} rows are {SUCCESS}, expected {expected}"
            )
        self.say(f"{succeeded:,} of {expected:,} jobs are {SUCCESS} in the table")

    def stay(self, address: str) -> None:
        """Stay up until somebody asks to stop."""
        login = fresh_login()
        self.say(f"All runs: {address}{reverse('home')}")
        self.say(
            f"Dashboard: {address}{reverse('admin:index')} "
            f"(user {login.name}, password {login.password})"
        )
        self.say("Ctrl-C ends the demo.")
        try:
            while True:
                self.children.check()
                self.stop.pause()
        except Stopped:
            self.say("Ending the dispatcher and the web server")


def positive(text: str) -> int:
    """Read a number of at least one."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("must be at least 1")
    return number
