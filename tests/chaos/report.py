"""What is made of a run: a table for people, and build/chaos.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.chaos.rounds import IN_TIME, Verdict

RECOVERY = "recovery_seconds"
WIDTH = 200  # of the table where no terminal says its own

Report = dict[str, dict[str, Any]]


def add(report: Report, fault: str, verdict: Verdict) -> None:
    """Count a round in."""
    found = report.setdefault(fault, {})
    for name, violations in verdict.violations.items():
        counted = found.setdefault(name, {"rounds": 0, "violations": 0})
        counted["rounds"] += 1
        counted["violations"] += len(violations)
    if IN_TIME in verdict.violations:
        recovery = verdict.recovery
        found.setdefault(RECOVERY, []).append(recovery and round(recovery, 2))


def merge(report: Report, path: Path) -> None:
    """Write *report* to *path*; what it does not have of faults stays as it is there."""
    path.parent.mkdir(exist_ok=True)
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **report}, indent=2) + "\n")


def print_table(report: Report) -> None:
    """Print each fault's rounds and violations, by invariant, and its seconds of recovery."""
    names = list(dict.fromkeys(name for found in report.values() for name in found))
    names.sort(key=RECOVERY.__eq__)  # what is no invariant comes last
    table = Table("fault")
    for number, name in enumerate(names, 1):
        table.add_column("recovery, s" if name == RECOVERY else str(number), justify="right")
    for fault, found in report.items():
        table.add_row(fault, *(_text(name, found.get(name)) for name in names))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    console.print(table)
    console.print("In each cell: rounds in which it held, or violations in rounds. They are:")
    invariants = (name for name in names if name != RECOVERY)
    console.print("; ".join(f"{number} {name}" for number, name in enumerate(invariants, 1)))


def _text(name: str, found: Any) -> str:
    if found is None:
        return ""
    if name == RECOVERY:
        return " ".join("never" if each is None else f"{each:.1f}" for each in found)
    if found["violations"]:
        return f"{found['violations']} in {found['rounds']}"
    return str(found["rounds"])


def is_clean(found: Mapping[str, Any]) -> bool:
    """Tell whether a fault violated nothing."""
    return not any(each["violations"] for name, each in found.items() if name != RECOVERY)
