"""What is measured: the workloads, and the figures that each one yields.

A new workload is one entry here and one method of its name in `calls` and `futures`. A peer's
client that has no such method lacks the workload, and says why in its ``lacks``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TIMEOUT = 120.0  # seconds that a client waits for results
SHORTENED = 20  # times smaller: the warm-up, and `--short`


class WrongResult(Exception):
    """A peer computed something else than was asked."""


@dataclass(frozen=True, slots=True)
class Workload:
    """*size* jobs or calls; *units* of the figures by their keys."""

    name: str
    size: int
    units: Mapping[str, str]

    @property
    def short_size(self) -> int:
        """The size of the warm-up."""
        return max(5, self.size // SHORTENED)


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of one run of a workload, by key, and how many jobs it was."""

    figures: Mapping[str, float]
    jobs: int


WORKLOADS = (
    Workload("lone", 300, {"latency_p50": "ms", "latency_p99": "ms"}),
    Workload("loop", 5_000, {"submit_5k": "jobs/s", "delay_5k": "jobs/s"}),
    Workload("group", 10_000, {"group_10k": "jobs/s"}),
    Workload("chord", 1_000, {"chord_1k": "ms"}),
    Workload("chain", 100, {"chain_100": "ms"}),
)


def more_is_better(unit: str) -> bool:
    """Tell which way a figure of this unit improves."""
    return unit.endswith("/s")


def expect(computed: Any, right: Any) -> None:
    """Raise WrongResult unless both are equal; of lists, name the first difference."""
    if computed == right:
        return
    place = ""
    if isinstance(computed, list) and len(computed) == len(right):
        pairs = zip(computed, right, strict=True)
        number = next(number for number, (one, other) in enumerate(pairs) if one != other)
        computed, right, place = computed[number], right[number], f" as result {number:,}"
    raise WrongResult(f"{computed!r:.100} instead of {right!r:.100}{place}")


def latencies(seconds: Sequence[float]) -> Measured:
    """Return the figures of lone calls that took these times."""
    ordered = sorted(seconds)
    figures = {
        f"latency_p{percent}": 1e3 * ordered[math.ceil(len(ordered) * percent / 100) - 1]
        for percent in (50, 99)
    }
    return Measured(figures, len(ordered))
