"""A project as a whole: looks through its files, and renames its imports."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dask_facade.porting.commands import commands_in
from dask_facade.porting.edits import Left
from dask_facade.porting.finding import may_use, uses_in
from dask_facade.porting.judging import judge
from dask_facade.porting.rewriting import rename, write
from dask_facade.porting.sources import (
    Source,
    Unparsable,
    files_in,
    is_python,
    may_start_programs,
    read_python,
    read_text,
)
from dask_facade.porting.survey import survey
from dask_facade.porting.uses import Kind, Place, Use, Verdict


@dataclass(frozen=True, slots=True)
class Report:
    """What a project uses, and which of its files could not be read or written, with the reason."""

    places: list[Place] = field(default_factory=list)
    broken: list[Unparsable] = field(default_factory=list)
    renamed: dict[str, int] = field(default_factory=dict)  # places by file
    left: list[tuple[str, Left]] = field(default_factory=list)

    def is_clean(self) -> bool:
        """Tell whether nothing is refused, and every file could be read and written."""
        refused = any(place.judgement.verdict is Verdict.REFUSED for place in self.places)
        return not (refused or self.broken)


def look_through(path: Path) -> tuple[Report, list[Source]]:
    """Return what a project uses of Celery, and its Python files that may do so."""
    report = Report()
    sources: list[Source] = []
    found: list[tuple[str, Use]] = []
    for file in files_in(path, partial(_miss, report)):
        try:
            if is_python(file):
                source = read_python(file)
                if may_use(source):
                    sources.append(source)
            elif may_start_programs(file):
                found += ((str(file), use) for use in commands_in(read_text(file)))
        except Unparsable as error:
            report.broken.append(error)
    known = survey(sources)
    for source in sources:
        try:
            found += ((str(source.path), use) for use in uses_in(source, known))
        except RecursionError:
            report.broken.append(Unparsable(source.path, 1, 1, "it is nested too deeply"))
    report.places.extend(_judged(found))
    report.places.sort(key=lambda place: (place.file, place.use.line, place.use.column))
    return report, sources


def rename_imports(report: Report, sources: Iterable[Source]) -> None:
    """Rename what a project imports of Celery; add to its report what was done and what was not.

    A file that cannot be written stays as it was, and the others are written all the same.
    """
    for source in sources:
        try:
            renamed = rename(source)
            if renamed.count:
                write(source, renamed.text)
                report.renamed[str(source.path)] = renamed.count
        except (OSError, SyntaxError, ValueError) as error:
            why = f"not written: {type(error).__name__}: {error}"
            report.broken.append(Unparsable(source.path, 1, 1, why))
        else:
            report.left.extend((str(source.path), left) for left in renamed.left)


def _miss(report: Report, error: OSError) -> None:
    report.broken.append(Unparsable(Path(error.filename), 1, 1, f"not read: {error.strerror}"))


def _judged(found: list[tuple[str, Use]]) -> Iterator[Place]:
    """Judge the uses. A time without a zone is refused unless a setting says what it means."""
    zoned = any(use.kind is Kind.SETTING and use.name == "timezone" for _, use in found)
    for file, use in found:
        name = "eta_in_zone" if zoned and use.name == "naive_eta" else use.name
        yield Place(file, replace(use, name=name), judge(use.kind, name))
