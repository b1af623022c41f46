"""``status``, ``inspect`` and ``control``: what workers are asked and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from dask_facade.app import DaskFacade
from dask_facade.commands.absence import no_answer
from dask_facade.commands.answers import show
from dask_facade.commands.catalogue import (
    ASKED,
    CONTROL,
    INSPECT,
    arguments_of,
    commands,
    find,
)
from dask_facade.commands.invocation import Invocation
from dask_facade.commands.parameters import remote_options
from dask_facade.inspecting import flatten_reply
from dask_facade.worker.commands import Meta

PAUSES = ("pause_queue", "resume_queue")
Replies = Sequence[Mapping[str, Any]]


@click.command()
@remote_options
@click.pass_obj
def status(invocation: Invocation, timeout: float, destination: list[str] | None) -> None:
    """Show which workers are online."""
    output = invocation.output
    replies = invocation.app.control.ping(destination, timeout)
    if not replies:
        raise no_answer(invocation.app, timeout, is_asked=False)
    nodes = flatten_reply(replies)
    if output.as_json:
        output.document(nodes)
        return
    for node in sorted(nodes):
        output.line(_heading(node, nodes[node]))
    _count(invocation, len(nodes))


def _list_option(kind: str) -> Callable[[Any], Any]:
    def tell(ctx: click.Context, param: click.Parameter, value: bool) -> None:
        if not value:
            return
        if ctx.obj.is_of_a_project:
            ctx.obj.app.loader.import_default_modules()  # the project's own ones are there, too
        formatter = click.HelpFormatter()
        with formatter.section(f"{kind.capitalize()} Commands"):
            formatter.write_dl(
                [
                    (" ".join(filter(None, (name, meta.signature))), meta.help)
                    for name, meta in commands(kind).items()
                ]
            )
        click.echo(formatter.getvalue(), nl=False)
        ctx.exit()

    return click.option(
        "--list",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=tell,
        help="List what can be said, and exit.",
    )


@click.command()
@click.argument("command")
@click.argument("arguments", nargs=-1)
@_list_option(INSPECT)
@remote_options
@click.pass_obj
def inspect(
    invocation: Invocation,
    command: str,
    arguments: tuple[str, ...],
    timeout: float,
    destination: list[str] | None,
) -> None:
    """Ask workers COMMAND, as in: inspect active."""
    app, output = invocation.app, invocation.output
    said = arguments_of(command, _known(app, INSPECT, command), arguments)
    replies = app.control.broadcast(
        command, said, destination=destination, reply=True, timeout=timeout
    )
    if not replies:
        raise no_answer(app, timeout, is_asked=False)
    nodes = flatten_reply(replies)
    if output.as_json:
        output.document(nodes)
        return
    _show(invocation, command, nodes)
    _count(invocation, len(nodes))


@click.command()
@click.argument("command")
@click.argument("arguments", nargs=-1)
@_list_option(CONTROL)
@remote_options
@click.pass_obj
def control(
    invocation: Invocation,
    command: str,
    arguments: tuple[str, ...],
    timeout: float,
    destination: list[str] | None,
) -> None:
    """Tell workers COMMAND, as in: control rate_limit shop.tasks.mail 10/m."""
    app, output = invocation.app, invocation.output
    said = arguments_of(command, _known(app, CONTROL, command), arguments)
    if command in PAUSES:
        getattr(app.control, command)(**said)
        if output.as_json:
            output.document({"asked": command, **said})
        else:
            output.line(f"The dispatcher is asked to {command} {said['queue']}.")
        return
    options: dict[str, Any] = {"destination": destination, "reply": True, "timeout": timeout}
    if command in ASKED:
        replies = _ask(app, command, said, options)
    else:
        replies = app.control.broadcast(command, said, **options)
    if not replies:
        raise no_answer(app, timeout, is_asked=command in ASKED)
    if output.as_json:
        output.document(replies)
    else:
        _show(invocation, command, flatten_reply(replies))


def _ask(
    app: DaskFacade, command: str, said: Mapping[str, Any], options: Mapping[str, Any]
) -> Replies:
    for each in said.get("headers", ()):
        if "=" not in each:
            raise click.UsageError(f"{each!r} is no stamp: say name=value")
    replies: Replies = getattr(app.control, command)(**said, **options)
    return replies


def _known(app: DaskFacade, kind: str, command: str) -> Meta:
    """Return a command, one of the project's own if none of ours has the name."""
    found = find(kind, command)
    if found is None:
        app.loader.import_default_modules()
        found = find(kind, command)
    if found is None:
        names = ", ".join(commands(kind))
        raise click.UsageError(
            f"Command {command} not recognized. Available {kind} commands: {names}"
        )
    return found


def _show(invocation: Invocation, command: str, nodes: Mapping[str, Any]) -> None:
    for node in sorted(nodes):
        invocation.output.line(_heading(node, nodes[node]))
        show(invocation.output, command, nodes[node])


def _heading(node: str, answer: Any) -> str:
    failed = isinstance(answer, Mapping) and "error" in answer and "ok" not in answer
    word = click.style("ERROR", fg="red") if failed else click.style("OK", fg="green")
    return f"->  {click.style(node, fg='cyan', bold=True)}: {word}"


def _count(invocation: Invocation, nodes: int) -> None:
    invocation.output.remark(f"\n{nodes} {'node' if nodes == 1 else 'nodes'} online.")
