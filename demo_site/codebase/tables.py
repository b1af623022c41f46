"""Tables that a link sorts: their columns, and their rows in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic
from urllib.parse import urlencode

from codebase.ranking import LEADERS, FileRow, PackageRow, Ranking, Row, ordered

FILE_COLUMNS = {
    "complexity": "Complexity",
    "worst": "Hardest function",
    "functions": "Functions",
    "lines": "Lines",
}
PACKAGE_COLUMNS = {
    "complexity": "Complexity",
    "files": "Files",
    "functions": "Functions",
    "lines": "Lines",
}


@dataclass(frozen=True)
class Column:
    """A heading; *query* is the link that sorts by it, *active* whether the rows are so."""

    label: str
    query: str
    active: bool


@dataclass(frozen=True)
class Table(Generic[Row]):
    """The first `LEADERS` rows by the active column."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Tables:
    """The two tables of a ranking."""

    files: Table[FileRow]
    packages: Table[PackageRow]


def tables_of(ranking: Ranking, query: Mapping[str, str]) -> Tables:
    """Sort both tables as the query says (`files=lines&packages=files`); else by complexity."""
    order = {
        "files": chosen(query.get("files"), FILE_COLUMNS),
        "packages": chosen(query.get("packages"), PACKAGE_COLUMNS),
    }
    return Tables(
        files=table("files", FILE_COLUMNS, order, ranking.files),
        packages=table("packages", PACKAGE_COLUMNS, order, ranking.packages),
    )


def chosen(figure: str | None, columns: Mapping[str, str]) -> str:
    """Return the figure if there is such a column, else complexity."""
    return figure if figure is not None and figure in columns else "complexity"


def table(
    name: str, columns: Mapping[str, str], order: Mapping[str, str], rows: Sequence[Row]
) -> Table[Row]:
    """Return one table; its links keep the order of the other."""
    return Table(
        columns=tuple(
            Column(
                label=label,
                query=f"?{urlencode({**order, name: figure})}#{name}",
                active=figure == order[name],
            )
            for figure, label in columns.items()
        ),
        rows=tuple(ordered(rows, order[name])[:LEADERS]),
    )
