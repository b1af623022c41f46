"""How many files compare: measures in, one frozen ranking out."""

from __future__ import annotations

import os.path
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import PurePath
from typing import TypeVar

from codebase.analysis import Measure, Unparsable

LEADERS = 25
STANDARD_LIBRARY = "standard library"


@dataclass(frozen=True)
class Totals:
    """Sums over all files; every figure but *files* and *unparsable* is of those that parse."""

    files: int
    unparsable: int
    size: int
    lines: int
    code: int
    functions: int
    classes: int
    complexity: int


@dataclass(frozen=True)
class FileRow:
    """One file in the ranking; *name* is its path inside the library that holds it."""

    path: str
    name: str
    package: str
    lines: int
    functions: int
    complexity: int
    worst: int
    worst_name: str


@dataclass(frozen=True)
class PackageRow:
    """One top-level package; the standard library counts as one."""

    name: str
    files: int
    lines: int
    functions: int
    complexity: int


Row = TypeVar("Row", FileRow, PackageRow)


@dataclass(frozen=True)
class ImportRow:
    """A top-level module and how many files import it."""

    name: str
    files: int


@dataclass(frozen=True)
class Ranking:
    """The leaders by each column, most complex first, and every file that does not parse.

    *files* and *packages* hold whatever is among the first `LEADERS` by any of its
    figures, so that a table of `LEADERS` rows is right for each order.
    """

    totals: Totals
    files: tuple[FileRow, ...]
    packages: tuple[PackageRow, ...]
    imports: tuple[ImportRow, ...]
    unparsable: tuple[Unparsable, ...]


@dataclass(frozen=True)
class Place:
    """Where a file belongs: its top-level package, and its path inside the library."""

    package: str
    name: str


def rank_files(measures: Sequence[Measure | Unparsable], stdlib: str) -> Ranking:
    """Compare the files; *stdlib* is the directory of the standard library."""
    parsed = [measure for measure in measures if isinstance(measure, Measure)]
    unparsable = [measure for measure in measures if isinstance(measure, Unparsable)]
    places = places_of([measure.path for measure in parsed], stdlib)
    files = [row_of(measure, places[measure.path]) for measure in parsed]
    return Ranking(
        totals=totals_of(parsed, unparsable=len(unparsable)),
        files=leaders(files, ("complexity", "lines", "functions", "worst")),
        packages=leaders(packages_of(files), ("complexity", "files", "lines", "functions")),
        imports=imports_of(parsed),
        unparsable=tuple(sorted(unparsable, key=attrgetter("path"))),
    )


def totals_of(parsed: Sequence[Measure], *, unparsable: int) -> Totals:
    """Add the files up."""
    return Totals(
        files=len(parsed) + unparsable,
        unparsable=unparsable,
        size=sum(measure.size for measure in parsed),
        lines=sum(measure.lines for measure in parsed),
        code=sum(measure.code for measure in parsed),
        functions=sum(measure.functions for measure in parsed),
        classes=sum(measure.classes for measure in parsed),
        complexity=sum(measure.complexity for measure in parsed),
    )


def row_of(measure: Measure, place: Place) -> FileRow:
    """Return the file's row."""
    return FileRow(
        path=measure.path,
        name=place.name,
        package=place.package,
        lines=measure.lines,
        functions=measure.functions,
        complexity=measure.complexity,
        worst=measure.worst.complexity if measure.worst else 0,
        worst_name=measure.worst.name if measure.worst else "",
    )


def packages_of(files: Iterable[FileRow]) -> list[PackageRow]:
    """Add the files of each package up."""
    members: defaultdict[str, list[FileRow]] = defaultdict(list)
    for row in files:
        members[row.package].append(row)
    return [
        PackageRow(
            name=package,
            files=len(rows),
            lines=sum(row.lines for row in rows),
            functions=sum(row.functions for row in rows),
            complexity=sum(row.complexity for row in rows),
        )
        for package, rows in members.items()
    ]


def imports_of(parsed: Iterable[Measure]) -> tuple[ImportRow, ...]:
    """Return the modules that most files import, ties by name."""
    counts = Counter(name for measure in parsed for name in measure.imports)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ImportRow(name, files) for name, files in ranked[:LEADERS])


def leaders(rows: Sequence[Row], figures: Sequence[str]) -> tuple[Row, ...]:
    """Return what is among the first `LEADERS` by any figure, ordered by the first figure."""
    kept = dict.fromkeys(row for figure in figures for row in ordered(rows, figure)[:LEADERS])
    return tuple(ordered(kept, figures[0]))


def ordered(rows: Iterable[Row], figure: str) -> list[Row]:
    """Order rows by a figure, the largest first, ties by name."""
    value: Callable[[Row], int] = attrgetter(figure)
    return sorted(rows, key=lambda row: (-value(row), row.name))


def places_of(paths: Sequence[str], stdlib: str) -> dict[str, Place]:
    """Return where each file belongs.

    A file below a directory `site-packages` belongs to the package there, another one
    below *stdlib* to the standard library; the rest are named from the directory that
    they have in common.
    """
    found = {path: place_in_library(path, stdlib) for path in paths}
    strangers = [path for path, place in found.items() if place is None]
    common = os.path.commonpath([os.path.dirname(path) for path in strangers] or ["/"])
    return {path: place or place_below(path, common) for path, place in found.items()}


def place_in_library(path: str, stdlib: str) -> Place | None:
    """Return a file's place in an installed library, or None for one of another directory."""
    library, site, _ = path.rpartition(f"{os.sep}site-packages{os.sep}")
    if site:
        return place_below(path, library + site)
    if PurePath(path).is_relative_to(stdlib):
        return Place(STANDARD_LIBRARY, os.path.relpath(path, stdlib))
    return None


def place_below(path: str, directory: str) -> Place:
    """Return a file's place when its package is the first name below *directory*."""
    name = os.path.relpath(path, directory)
    return Place(PurePath(name).parts[0].removesuffix(".py"), name)
