"""What is told of a project: aligned lines for people, JSON for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence

from dask_facade.porting.project import Report
from dask_facade.porting.uses import Kind, Verdict

_WORDS = {
    Verdict.WORKS: "works as it is",
    Verdict.DIFFERS: "works, but differs",
    Verdict.REFUSED: "refused or not there",
}
_NOUNS = {
    Kind.IMPORT: "imports",
    Kind.APP: "the app",
    Kind.CALL: "calls",
    Kind.OPTION: "options of calls",
    Kind.TASK: "options of tasks",
    Kind.RETRY: "options of retries",
    Kind.SETTING: "settings",
    Kind.COMMAND: "commands",
}


def as_text(report: Report) -> str:
    """Return the report for people; it ends with a line break."""
    parts = [_aligned(_places(report)), _aligned(_others(report)), _aligned(_summary(report))]
    text = "\n".join(f"{part}\n" for part in parts if part)
    return text.encode(errors="backslashreplace").decode()  # names of files are any bytes


def as_json(report: Report) -> str:
    """Return the report for programs; it ends with a line break."""
    said = {
        "places": [
            {
                "file": place.file,
                "line": place.use.line,
                "column": place.use.column,
                "what": place.use.what,
                "kind": place.use.kind.value,
                "verdict": place.judgement.verdict.value,
                "says": place.judgement.says,
            }
            for place in report.places
        ],
        "broken": [
            {"file": str(each.path), "line": each.line, "column": each.column, "why": each.why}
            for each in report.broken
        ],
        "left": [
            {
                "file": file,
                "line": left.line,
                "column": left.column,
                "what": left.what,
                "why": left.why,
            }
            for file, left in report.left
        ],
        "renamed": report.renamed,
        "summary": {
            verdict.value: sum(place.judgement.verdict is verdict for place in report.places)
            for verdict in Verdict
        },
    }
    return json.dumps(said, indent=2) + "\n"


def _places(report: Report) -> Iterator[tuple[str, ...]]:
    for place in report.places:
        where = f"{place.file}:{place.use.line}:{place.use.column}"
        yield where, _WORDS[place.judgement.verdict], place.use.what, place.judgement.says


def _others(report: Report) -> Iterator[tuple[str, ...]]:
    for error in report.broken:
        yield f"{error.path}:{error.line}:{error.column}", "passed over", error.why
    for file, left in report.left:
        yield f"{file}:{left.line}:{left.column}", "not renamed", f"{left.what}: {left.why}"
    for file, count in report.renamed.items():
        yield file, "renamed", f"{count} place{'s' if count > 1 else ''}"


def _summary(report: Report) -> Iterator[tuple[str, ...]]:
    counts = Counter((place.use.kind, place.judgement.verdict) for place in report.places)
    yield "", *_WORDS.values()
    for kind, noun in _NOUNS.items():
        if any(counts[kind, verdict] for verdict in Verdict):
            yield noun, *(str(counts[kind, verdict]) for verdict in Verdict)
    totals = Counter(place.judgement.verdict for place in report.places)
    yield "all", *(str(totals[verdict]) for verdict in Verdict)


def _aligned(rows: Iterator[tuple[str, ...]]) -> str:
    """Return rows as lines whose columns begin one below the other."""
    lines = list(rows)
    widths = _widths(lines)
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]
