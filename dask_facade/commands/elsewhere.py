"""Commands of Celery's that are something else here: they say what, and do nothing."""

from __future__ import annotations

from collections.abc import Mapping

import click

WORDS: Mapping[str, str] = {
    "amqp": "there is no message broker: calls are rows of the database, which the admin shows",
    "beat": "the leading dispatcher runs the schedule: start it (manage.py dask_dispatcher), and "
    "no beat beside it",
    "events": "there is no stream of events yet: the admin shows what happens, and `inspect` what "
    "workers do",
    "flower": "the admin shows jobs, revokes them and tries them again",
    "graph": "there are no bootsteps to be drawn; AsyncResult(id).graph tells what followed",
    "list": "there are no bindings: `inspect active_queues` tells which queues workers take",
    "logtool": "Django's LOGGING says how workers log, so their files have the form that you chose",
    "migrate": "there is no message broker whose tasks could be moved to another one",
    "multi": "one dispatcher starts as many workers as you say: manage.py dask_dispatcher "
    "--workers N, or manage.py dask_worker -c N beside it",
    "upgrade": "settings are read under Celery's new names and under those of Celery 3",
    "worker": "start manage.py dask_dispatcher --workers N (celery worker -c N), which leads and "
    "serves all queues, and beside it manage.py dask_worker -Q NAMES -c N for queues of their own",
}


class Elsewhere(click.ClickException):
    """A command that is not to be had here."""

    exit_code = 2


def elsewhere(name: str) -> click.Command:
    """Return a command that takes whatever Celery's does, and says what does that here."""

    def say(words: tuple[str, ...]) -> None:
        raise Elsewhere(f"{name} is no command here: {WORDS[name]}")

    return click.Command(
        name,
        callback=say,
        params=[click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        short_help="Say what does that here.",
        hidden=True,
    )
