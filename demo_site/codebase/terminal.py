"""The main job in a terminal: a progress bar, and the ranking as tables."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from codebase.ranking import Ranking

SHOWN = 10


class RateColumn(ProgressColumn):
    """Files per second."""

    def render(self, task: Task) -> Text:
        """Return the speed, once there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} files/s" if speed else "", style="progress.data.speed")


def progress_bar(console: Console) -> Progress:
    """Return a bar with files done and in all, rate, time so far and time to go."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
    )


def print_ranking(console: Console, ranking: Ranking) -> None:
    """Print the figures and the leading files and packages."""
    totals = ranking.totals
    console.print(
        f"\n{totals.functions:,} functions and {totals.classes:,} classes in {totals.code:,} lines "
        f"of code, complexity {totals.complexity:,}; {totals.unparsable:,} files do not parse.",
        highlight=False,
        soft_wrap=True,
    )
    console.print(files_table(ranking))
    console.print(packages_table(ranking))


def files_table(ranking: Ranking) -> Table:
    """Return the most complex files."""
    table = ranked_table("Most complex files", "File")
    for row in ranking.files[:SHOWN]:
        table.add_row(row.name, f"{row.complexity:,}", f"{row.functions:,}", f"{row.lines:,}")
    return table


def packages_table(ranking: Ranking) -> Table:
    """Return the most complex packages."""
    table = ranked_table("Most complex packages", "Package")
    for row in ranking.packages[:SHOWN]:
        table.add_row(row.name, f"{row.complexity:,}", f"{row.functions:,}", f"{row.lines:,}")
    return table


def ranked_table(title: str, noun: str) -> Table:
    """Return an empty table of names and figures."""
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    table.add_column(noun, overflow="fold", min_width=24)
    for heading in ("Complexity", "Functions", "Lines"):
        table.add_column(heading, justify="right", no_wrap=True)
    return table
