"""The command line as a whole: what is said before a command, and how errors are told."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click
from django.db import Error as DatabaseError

from dask_facade.commands.absence import Unavailable
from dask_facade.commands.elsewhere import WORDS, elsewhere
from dask_facade.commands.invocation import Invocation
from dask_facade.commands.jobs import call, purge, result
from dask_facade.commands.printing import Output
from dask_facade.commands.project import report, shell
from dask_facade.commands.remote import control, inspect, status
from dask_facade.exceptions import (
    ClusterUnavailable,
    DaskFacadeError,
    DispatcherAway,
    LedgerUnavailable,
)

PASSED_OVER = {
    "broker": "-b: there is no message broker",
    "result_backend": "--result-backend: the table is the only one",
    "loader": "--loader: the app has its own",
    "config": "--config: the app's settings hold",
}


class Root(click.Group):
    """Tells our errors, and the database's, as one line and an exit status."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ClusterUnavailable, DispatcherAway, LedgerUnavailable) as error:
            raise Unavailable(str(error)) from error
        except DaskFacadeError as error:
            raise click.ClickException(str(error)) from error
        except DatabaseError as error:
            raise Unavailable(f"the database does not answer as it should: {error}") from error


@click.group(cls=Root)
@click.option(
    "-A",
    "--app",
    default="",
    envvar="CELERY_APP",
    help="The app, as in -A proj or -A proj.celery:app.",
)
@click.option("-j", "--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("-q", "--quiet", is_flag=True, help="Print the answer alone.")
@click.option("-C", "--no-color", is_flag=True, help="Use no colours.")
@click.option("--workdir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("-b", "--broker", hidden=True)
@click.option("--result-backend", hidden=True)
@click.option("--loader", hidden=True)
@click.option("--config", hidden=True)
@click.option("--skip-checks", is_flag=True, hidden=True)
@click.version_option(package_name="dask_facade", message="dask_facade %(version)s")
@click.pass_context
def root(
    ctx: click.Context,
    /,
    app: str,
    as_json: bool,
    quiet: bool,
    no_color: bool,
    workdir: Path | None,
    **passed_over: Any,
) -> None:
    """Ask and steer the jobs of a project, in the shape of Celery's command line."""
    output = Output(quiet=quiet)
    output.as_json = as_json
    ctx.obj = Invocation(app, output)
    if no_color or os.environ.get("NO_COLOR"):
        ctx.color = False
    if workdir is not None:
        os.chdir(workdir)
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for option, words in PASSED_OVER.items():
        if passed_over[option]:
            output.warn(f"passed over: {words}")


for _command in (call, control, inspect, purge, report, result, shell, status):
    root.add_command(_command)
for _name in WORDS:
    root.add_command(elsewhere(_name))
