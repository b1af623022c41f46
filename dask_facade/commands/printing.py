"""What commands print: lines and tables for people, one JSON document for machines."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from dask_facade.serialization import preview
from dask_facade.worker.commands import sayable

INDENT = 4
UNLIMITED = 100_000  # columns of what is no terminal: nothing is folded for a program


class Output:
    """Where a command prints; *quiet* leaves out what is said beside the answer."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.as_json = False
        self.quiet = quiet

    def document(self, value: Any) -> None:
        """Print the answer as JSON, in one line; times as ISO 8601."""
        click.echo(json.dumps(sayable(value), default=_plain))

    def line(self, text: str = "") -> None:
        """Print a line."""
        click.echo(text)

    def remark(self, text: str) -> None:
        """Print a line beside the answer."""
        if not self.quiet and not self.as_json:
            click.echo(text)

    def warn(self, text: str) -> None:
        """Print a line that is no part of the answer, on standard error."""
        if not self.quiet:
            click.echo(text, err=True)

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print rows under the names of their columns, indented."""
        table = _table(show_header=True)
        for column in columns:
            table.add_column(column, overflow="fold", no_wrap=column == "id")  # to be copied
        for row in rows:
            table.add_row(*(words_of(each) for each in row))
        self._print(table)

    def pairs(self, values: Mapping[str, object]) -> None:
        """Print names and values, indented; what is in a mapping under a name with a dot."""
        table = _table(show_header=False)
        table.add_column(style="bold", overflow="fold")
        table.add_column(overflow="fold")
        for name, value in _flat(values):
            table.add_row(name, words_of(value))
        self._print(table)

    def _print(self, table: Table) -> None:
        width = None if sys.stdout.isatty() else UNLIMITED
        console = Console(width=width, markup=False, highlight=False, emoji=False)
        with console.capture() as printed:
            console.print(Padding(table, (0, 0, 0, INDENT), expand=False))
        for line in printed.get().splitlines():
            click.echo(line.rstrip())


def words_of(value: object) -> str:
    """Return a value as it stands in a table; nothing for None."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, default=_plain)


def _table(*, show_header: bool) -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=show_header)


def _flat(values: Mapping[str, object], above: str = "") -> Iterable[tuple[str, object]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, date) else preview(value)
