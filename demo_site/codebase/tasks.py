"""The tasks: measure one file, rank them all."""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from typing import Any

from codebase.analysis import Unparsable, measure_source
from codebase.files import measure_file
from codebase.ranking import rank_files
from codebase.records import measure_record, ranking_record, read_measure
from dask_facade import shared_task


@shared_task(acks_late=True)
def measure(path: str) -> dict[str, Any]:
    """Measure one Python file. Never raises: an unparsable file gives {"path", "error"}."""
    return measure_record(measure_file(path))


@shared_task(expose=True)
def measure_text(source: str, name: str = "program.py") -> dict[str, Any]:
    """Measure a program that is sent along: what the API lets anybody run who is logged in."""
    try:
        return measure_record(measure_source(name, source, size=len(source.encode())))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return measure_record(Unparsable(name, f"{type(error).__name__}: {error}"))


@shared_task(acks_late=True)
def rank(measures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compare all measures: totals, leading files and packages, imports, unparsable files."""
    ranking = rank_files(
        [read_measure(record) for record in measures], sysconfig.get_path("stdlib")
    )
    return ranking_record(ranking)
