"""What options and arguments are read as, and the options that several commands have."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


class Names(click.ParamType):  # type: ignore[type-arg]  # in older releases it takes none
    """Names between commas."""

    name = "names"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[str]:
        """Return them."""
        said = value.split(",") if isinstance(value, str) else value
        names = [name for each in said if (name := each.strip())]
        return names or self.fail("no name is said", param, ctx)


class Json(click.ParamType):  # type: ignore[type-arg]  # in older releases it takes none
    """A value of one kind, as JSON."""

    def __init__(self, name: str, kind: type) -> None:
        self.name = name
        self._kind = kind

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return it."""
        if isinstance(value, self._kind):
            return value
        try:
            read = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON: {error}", param, ctx)
        if not isinstance(read, self._kind):
            self.fail(f"{value!r} is no {self.name}", param, ctx)
        return read


class Moment(click.ParamType):  # type: ignore[type-arg]  # in older releases it takes none
    """A time as ISO 8601 has it."""

    name = "time"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return it; one without a zone as it is."""
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no time as in 2030-01-31T12:00+00:00", param, ctx)


class MomentOrSeconds(Moment):
    """A time, or a number of seconds."""

    name = "time or seconds"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """Return a datetime or a float."""
        try:
            return float(value)
        except ValueError:
            return super().convert(value, param, ctx)


NAMES = Names()
JSON_ARRAY = Json("JSON array", list)
JSON_OBJECT = Json("JSON object", dict)
MOMENT = Moment()
MOMENT_OR_SECONDS = MomentOrSeconds()


def _want_json(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.obj.output.as_json = True


def json_option(command: Command) -> Command:
    """Let a command take ``--json``, too, which may also stand before it."""
    return click.option(
        "-j",
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_want_json,
        help="Print one JSON document.",
    )(command)


def remote_options(command: Command) -> Command:
    """Let a command take what all have that ask workers."""
    timeout = click.option(
        "-t",
        "--timeout",
        type=click.FloatRange(min=0, min_open=True),
        default=1.0,
        show_default=True,
        help="Seconds to wait for answers.",
    )
    destination = click.option(
        "-d", "--destination", type=NAMES, help="Ask these workers alone, as in -d a@host,b@host."
    )
    return timeout(destination(json_option(command)))
