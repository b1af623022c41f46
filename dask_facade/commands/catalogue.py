"""The commands that workers can be told and asked by name, and the arguments of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import signature
from typing import Any

import click

from dask_facade.control import Control
from dask_facade.worker.commands import Meta, Panel

INSPECT = "inspect"
CONTROL = "control"


def _meta(kind: str, help: str, words: str | None = None, **more: Any) -> Meta:
    named = {"alias": None, "args": None, "variadic": None, **more}
    return Meta(type=kind, visible=True, default_timeout=1.0, help=help, signature=words, **named)


ANSWERED: Mapping[str, Meta] = {
    "active": _meta(INSPECT, "Tell the calls that run."),
    "query_task": _meta(INSPECT, "Tell of calls by their ids.", "<id> [...]", variadic="ids"),
    "reserved": _meta(INSPECT, "Tell the calls that workers have, and that have not begun."),
    "revoked": _meta(INSPECT, "Tell the ids of which it was last asked that they are revoked."),
    "scheduled": _meta(INSPECT, "Tell the calls that wait for their time."),
}
"""What the dispatcher answers for all workers."""

ASKED: Mapping[str, Meta] = {
    "pause_queue": _meta(
        CONTROL, "Let nothing more of a queue begin.", "<queue>", args=[("queue", str)]
    ),
    "resume_queue": _meta(
        CONTROL, "Let the calls of a queue begin again.", "<queue>", args=[("queue", str)]
    ),
    "revoke": _meta(CONTROL, "Let jobs never begin.", "<id> [...]", variadic="task_id"),
    "revoke_by_stamped_headers": _meta(
        CONTROL,
        "Let no call begin that is stamped so.",
        "<name=value> [...]",
        variadic="headers",
    ),
    "terminate": _meta(
        CONTROL,
        "Let jobs never begin, and end those that run; all signals are one.",
        "<signal> <id> [...]",
        args=[("signal", str)],
        variadic="task_id",
    ),
}
"""What is asked of the dispatcher by rows of the ledger, with the methods of `Control`."""


def commands(kind: str) -> dict[str, Meta]:
    """Return the commands of a kind that are known in this process, by name."""
    known = {**Panel.meta, **ANSWERED, **ASKED}
    return {
        name: known[name]
        for name in sorted(known)
        if known[name].type == kind and known[name].visible and name != known[name].alias
    }


def find(kind: str, name: str) -> Meta | None:
    """Return a command of a kind by its name or alias, or None."""
    found = ANSWERED.get(name) or ASKED.get(name) or Panel.meta.get(name)
    return found if found is not None and found.type == kind else None


def arguments_of(name: str, meta: Meta, words: Sequence[str]) -> dict[str, Any]:
    """Return the arguments that *words* say; raise click.UsageError where they do not fit."""
    declared = list(meta.args or ())
    if len(words) > len(declared) and not meta.variadic:
        raise click.UsageError(f"too many arguments: {_usage(name, meta)}")
    arguments: dict[str, Any] = {}
    for (argument, kind), word in zip(declared, words, strict=False):
        try:
            arguments[argument] = word if kind is None else kind(word)
        except ValueError as error:
            raise click.UsageError(f"{argument} {word!r}: {error}; {_usage(name, meta)}") from error
    if meta.variadic and (rest := list(words[len(declared) :])):
        arguments[meta.variadic] = rest
    _require(name, meta, arguments)
    return arguments


def _require(name: str, meta: Meta, arguments: Mapping[str, Any]) -> None:
    """Raise click.UsageError where an argument is missing without which nothing can be done."""
    if name in ANSWERED:
        missing = name == "query_task" and not arguments
    else:
        command = getattr(Control, name) if name in ASKED else Panel.data[name]
        try:
            signature(command).bind(None, **arguments)
            missing = False
        except TypeError:
            missing = True
    if missing:
        raise click.UsageError(f"arguments are missing: {_usage(name, meta)}")


def _usage(name: str, meta: Meta) -> str:
    return f"{name} takes {meta.signature or 'none'}"
