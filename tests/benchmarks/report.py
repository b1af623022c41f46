"""What is made of a run: a table for people, and build/bench.json."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.peers import BASELINE, PEERS
from tests.benchmarks.rounds import Cell, Cells
from tests.benchmarks.workloads import WORKLOADS, more_is_better

LEFT_OUT = Cell(lacks="left out of this run")
UNITS = {key: unit for workload in WORKLOADS for key, unit in workload.units.items()}
WIDTH = 150  # of the table where no terminal says its own


def as_json(cells: Cells) -> dict[str, Any]:
    """Return, by key, the unit and each peer's figure; the rounds of each; reasons for nulls."""
    return {
        key: {
            "unit": UNITS[key],
            **{peer.name: _figure(cells.get((key, peer.name), LEFT_OUT)) for peer in PEERS},
            "rounds": {name: cells[key, name].rounds for name in _names(cells)},
            "reasons": {
                peer.name: cell.failed or cell.lacks
                for peer in PEERS
                if _figure(cell := cells.get((key, peer.name), LEFT_OUT)) is None
            },
        }
        for key in _keys(cells)
    }


def write_json(cells: Cells, path: Path) -> None:
    """Write the report to *path*."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(as_json(cells), indent=2) + "\n")


def print_table(cells: Cells, *, title: str) -> None:
    """Print it; in each cell the median, the spread of the rounds, the ratio to the baseline."""
    table = Table("figure", "unit", show_lines=True)
    for name in _names(cells):
        table.add_column(name, justify="right")
    for key in _keys(cells):
        baseline = cells.get((key, BASELINE), LEFT_OUT)
        shown = (_text(cells[key, name], baseline, UNITS[key]) for name in _names(cells))
        table.add_row(key, UNITS[key], *shown)
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)
    console.print(title, _machine(), sep="\n")


def _figure(cell: Cell) -> float | None:
    """Return the median of the rounds; None where one failed or there are none."""
    return None if cell.failed or not cell.rounds else median(cell.rounds)


def _keys(cells: Cells) -> list[str]:
    measured = {key for key, _ in cells}
    return [key for key in UNITS if key in measured]


def _names(cells: Cells) -> list[str]:
    measured = {name for _, name in cells}
    return [peer.name for peer in PEERS if peer.name in measured]


def _text(cell: Cell, baseline: Cell, unit: str) -> str:
    figure, compared = _figure(cell), _figure(baseline)
    if figure is None:
        return "failed" if cell.failed else "-"
    lines = [_shown(figure)]
    if len(cell.rounds) > 1:
        lines.append(f"{_shown(min(cell.rounds))}..{_shown(max(cell.rounds))}")
    if compared is not None and cell is not baseline:
        better = figure / compared if more_is_better(unit) else compared / figure
        lines.append(f"{_shown(better)}x")
    return "\n".join(lines)


def _shown(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux
    load = " ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} x {model}, {platform.system()}, Python {platform.python_version()};"
        f" load at the end: {load}"
    )
