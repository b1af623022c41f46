"""Horizontal bars as plain figures; the template draws them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PITCH = 36
LABEL = 38


@dataclass(frozen=True)
class Bar:
    """One bar: the full name, what fits beside it, its length in per cent and its height in px."""

    name: str
    label: str
    value: int
    width: str
    top: int


@dataclass(frozen=True)
class BarChart:
    """Bars, the longest of which fills the width. *slug* names the chart in the page."""

    slug: str
    title: str
    description: str
    height: int
    bars: tuple[Bar, ...]


def bar_chart(slug: str, title: str, rows: Sequence[tuple[str, int]]) -> BarChart:
    """Return a chart of named values in their order."""
    largest = max((value for _, value in rows), default=0) or 1
    bars = tuple(
        Bar(
            name=name,
            label=shortened(name),
            value=value,
            width=f"{100 * value / largest:.2f}%",
            top=index * PITCH,
        )
        for index, (name, value) in enumerate(rows)
    )
    return BarChart(slug, title, described(rows), len(bars) * PITCH, bars)


def described(rows: Sequence[tuple[str, int]]) -> str:
    """Say in a sentence what the chart shows, for those who do not see it."""
    if not rows:
        return "There is nothing to show."
    (first, most), (last, least) = rows[0], rows[-1]
    return (
        f"{len(rows)} horizontal bars, from {first} with {most:,} to {last} with {least:,}. "
        "The table has the same figures."
    )


def shortened(name: str) -> str:
    """Return a name of at most `LABEL` characters; a path keeps its end, which tells it apart."""
    if len(name) <= LABEL:
        return name
    end = name[1 - LABEL :]
    return f"…{end[max(end.find('/'), 0) :]}"
