"""What workers answer, as people read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from dask_facade.commands.printing import INDENT, Output, words_of

CALL = ("id", "task", "args", "kwargs", "queue", "began")


def show(output: Output, command: str, answer: Any) -> None:
    """Print what one worker answers to a command, below its name."""
    if isinstance(answer, Mapping) and answer.keys() & {"ok", "error"}:
        answer = answer.get("ok", answer.get("error"))
    if command == "query_task" and isinstance(answer, Mapping):
        rows = [(standing, *_call(request)) for standing, request in answer.values()]
        _table(output, ("standing", *CALL), rows)
    elif command in ("active", "reserved"):
        _table(output, CALL, [_call(request) for request in answer])
    elif command == "scheduled":
        rows = [(each["eta"], *_call(each["request"])) for each in answer]
        _table(output, ("eta", *CALL[:-1]), [row[:-1] for row in rows])
    elif command == "active_queues":
        _table(output, ("queue",), [(each["name"],) for each in answer])
    else:
        _any(output, answer)


def _any(output: Output, answer: Any) -> None:
    """Print what any command may answer, a project's own as well."""
    if isinstance(answer, Mapping) and answer:
        output.pairs(answer)
    elif isinstance(answer, Sequence) and not isinstance(answer, str):
        _list(output, answer)
    else:
        for line in words_of(answer).splitlines():
            output.line(" " * INDENT + line)


def _list(output: Output, answer: Sequence[Any]) -> None:
    if answer and all(isinstance(each, Mapping) for each in answer):
        columns = list(dict.fromkeys(name for each in answer for name in each))
        _table(output, columns, [[each.get(name) for name in columns] for each in answer])
        return
    for each in answer:
        output.line(f"{' ' * INDENT}* {words_of(each)}")
    if not answer:
        _empty(output)


def _table(output: Output, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        output.table(columns, rows)
    else:
        _empty(output)


def _empty(output: Output) -> None:
    output.line(f"{' ' * INDENT}- empty -")


def _call(request: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the columns of a call."""
    began = request["time_start"]
    return (
        request["id"],
        request["name"],
        request["args"],
        request["kwargs"],
        request["delivery_info"]["routing_key"],
        None if began is None else datetime.fromtimestamp(began, UTC).isoformat(" ", "seconds"),
    )
