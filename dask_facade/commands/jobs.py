"""``call``, ``result`` and ``purge``: jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from dask_facade.commands.absence import require_leader
from dask_facade.commands.invocation import Invocation
from dask_facade.commands.parameters import (
    JSON_ARRAY,
    JSON_OBJECT,
    MOMENT,
    MOMENT_OR_SECONDS,
    NAMES,
    json_option,
)
from dask_facade.exceptions import JobNotFound
from dask_facade.states import PROPAGATE_STATES


@click.command()
@click.argument("name")
@click.option("-a", "--args", type=JSON_ARRAY, default="[]", help="Arguments, as in '[1, 2]'.")
@click.option("-k", "--kwargs", type=JSON_OBJECT, default="{}", help="As in '{\"x\": 1}'.")
@click.option("--eta", type=MOMENT, help="Not before, as in 2030-01-31T12:00+00:00.")
@click.option("--countdown", type=float, help="Not before, in seconds from now.")
@click.option("--expires", type=MOMENT_OR_SECONDS, help="Not after: a time, or seconds from now.")
@click.option("--serializer", help="'json' is strict (default: whatever takes the arguments).")
@click.option("--queue", help="The queue (default: as the task's routes say).")
@click.option("--exchange", hidden=True)
@click.option("--routing-key", hidden=True)
@json_option
@click.pass_obj
def call(invocation: Invocation, /, name: str, **said: Any) -> None:
    """Submit a job by the name of its task, and print its id."""
    options = {option: value for option, value in said.items() if value is not None}
    try:
        id = invocation.app.send_task(name, **options).id
    except ValueError as error:  # a time without a zone, say
        raise click.UsageError(str(error)) from error
    if invocation.output.as_json:
        invocation.output.document({"task_id": id})
    else:
        invocation.output.line(id)


@click.command()
@click.argument("task_id")
@click.option("-t", "--task", expose_value=False, help="The task's name; it is not needed.")
@click.option(
    "--traceback", is_flag=True, help="Print the traceback instead, and wait for nothing."
)
@json_option
@click.pass_obj
def result(invocation: Invocation, task_id: str, traceback: bool) -> None:
    """Wait for a job, and print what it returned.

    The exit status is 1 if it failed, or was revoked.
    """
    app, output = invocation.app, invocation.output
    found = app.AsyncResult(task_id)
    if not found.exists():
        raise click.ClickException(str(JobNotFound(task_id)))
    if traceback:
        told = found.traceback
        if output.as_json:
            output.document({"task_id": task_id, "traceback": told})
        else:
            output.line(told or "")
        return
    value = found.get(propagate=False)
    failed = found.state in PROPAGATE_STATES
    if output.as_json:
        output.document(_document(found, value))
        if failed:
            raise click.exceptions.Exit(1)
    elif failed:
        raise click.ClickException(f"{found.state}: {type(value).__name__}: {value}")
    else:
        output.line(str(value))


def _document(found: Any, value: Any) -> dict[str, Any]:
    """Return what is printed of a job that has ended, in the words of Celery's results."""
    done: datetime | None = found.date_done
    if isinstance(value, BaseException):
        kind = type(value)
        value = {
            "exc_type": kind.__name__,
            "exc_module": kind.__module__,
            "exc_message": str(value),
        }
    return {
        "task_id": found.id,
        "name": found.name,
        "status": found.state,
        "result": value,
        "traceback": found.traceback,
        "date_done": done,
    }


@click.command()
@click.option("-f", "--force", is_flag=True, help="Do not ask whether that is meant.")
@click.option("-Q", "--queues", type=NAMES, help="Of these queues alone, as in -Q mail,slow.")
@click.option(
    "-X", "--exclude-queues", type=NAMES, help="Not of these; of the others that the settings name."
)
@json_option
@click.pass_obj
def purge(
    invocation: Invocation,
    force: bool,
    queues: list[str] | None,
    exclude_queues: list[str] | None,
) -> None:
    """Revoke all calls that wait for nothing but a worker, or their time.

    There is no undo; a job can be tried again by hand.
    """
    app, output = invocation.app, invocation.output
    require_leader(app)
    chosen = _chosen(list(app.amqp.queues), queues, exclude_queues)
    where = _named(chosen)
    if not force:
        click.confirm(
            f"{click.style('WARNING', fg='red')}: this revokes all waiting calls of {where} "
            "(-f does so without this question). Are you sure?",
            abort=True,
            err=True,
        )
    count = app.control.purge(queues=chosen)
    if output.as_json:
        output.document({"purged": count})
    else:
        output.line(f"Purged {count} {'job' if count == 1 else 'jobs'} of {where}.")


def _named(queues: list[str] | None) -> str:
    if queues is None:
        return "all queues"
    if not queues:
        raise click.UsageError("no queue is left")
    return f"{'queue' if len(queues) == 1 else 'queues'} {', '.join(queues)}"


def _chosen(
    known: list[str], queues: list[str] | None, excluded: list[str] | None
) -> list[str] | None:
    """Return the queues to be purged; None: all, whether they are known or not."""
    if queues is None and excluded is None:
        return None
    return sorted(set(known if queues is None else queues) - set(excluded or ()))
