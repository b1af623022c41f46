"""Measures and rankings as plain JSON, the form in which they travel between jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from codebase.analysis import Function, Measure, Unparsable
from codebase.ranking import FileRow, ImportRow, PackageRow, Ranking, Totals


def measure_record(measure: Measure | Unparsable) -> dict[str, Any]:
    """Return a measure as JSON; only one of an unparsable file has the key `error`."""
    match measure:
        case Unparsable():
            return asdict(measure)
        case Measure():
            return {**asdict(measure), "imports": list(measure.imports)}


def read_measure(record: Mapping[str, Any]) -> Measure | Unparsable:
    """Return the measure that `measure_record` wrote."""
    if "error" in record:
        return Unparsable(**record)
    worst = record["worst"]
    return Measure(
        **{
            **record,
            "worst": None if worst is None else Function(**worst),
            "imports": tuple(record["imports"]),
        }
    )


def ranking_record(ranking: Ranking) -> dict[str, Any]:
    """Return a ranking as JSON."""
    return {
        "totals": asdict(ranking.totals),
        "files": [asdict(row) for row in ranking.files],
        "packages": [asdict(row) for row in ranking.packages],
        "imports": [asdict(row) for row in ranking.imports],
        "unparsable": [asdict(row) for row in ranking.unparsable],
    }


def read_ranking(record: Mapping[str, Any]) -> Ranking:
    """Return the ranking that `ranking_record` wrote."""
    return Ranking(
        totals=Totals(**record["totals"]),
        files=tuple(FileRow(**row) for row in record["files"]),
        packages=tuple(PackageRow(**row) for row in record["packages"]),
        imports=tuple(ImportRow(**row) for row in record["imports"]),
        unparsable=tuple(Unparsable(**row) for row in record["unparsable"]),
    )
