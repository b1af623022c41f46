"""Measure dask_facade beside its peers, print a table, write build/bench.json."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.benchmarks import report
from tests.benchmarks.peers import BASELINE, PEERS
from tests.benchmarks.processes import ROOT
from tests.benchmarks.rounds import Cells, run
from tests.benchmarks.workloads import SHORTENED, WORKLOADS

REPORT = ROOT / "build" / "bench.json"
SHORT_REPORT = ROOT / "build" / "bench-short.json"  # never in the place of figures to be quoted


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark; return the exit status."""
    given = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # so that all is cleaned up
    peers = [peer for peer in PEERS if peer.name in given.peers]
    workloads = [each for each in WORKLOADS if not given.only.isdisjoint(each.units)]
    with tempfile.TemporaryDirectory(prefix="dask-facade-bench-") as folder:
        cells = run(peers, workloads, rounds=given.rounds, short=given.short, folder=Path(folder))
    wanted = {place: cell for place, cell in cells.items() if place[0] in given.only}
    report.write_json(wanted, SHORT_REPORT if given.short else REPORT)
    title = f"median of {given.rounds}, lowest..highest, times better than {BASELINE}"
    if given.short:
        title += f"; {SHORTENED} times smaller than due: not to be quoted"
    report.print_table(wanted, title=title)
    return _count(wanted)


def _count(cells: Cells) -> int:
    """Print the reasons of failures and the counts; return the exit status."""
    failed: dict[tuple[str, str], list[str]] = {}
    for (key, peer), cell in cells.items():
        if cell.failed:
            failed.setdefault((peer, cell.failed), []).append(key)
    for (peer, reason), keys in failed.items():
        print(f"FAILED {', '.join(keys)} of {peer}: {reason}")
    passed = sum(bool(cell.rounds) and not cell.failed for cell in cells.values())
    print(f"{passed} passed, {sum(map(len, failed.values()))} failed")
    return 1 if failed else 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    keys = [key for workload in WORKLOADS for key in workload.units]
    names = [peer.name for peer in PEERS]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", type=_choice(keys), default=set(keys), help="figures, by key")
    parser.add_argument("--peers", type=_choice(names), default=set(names), help="peers, by name")
    parser.add_argument("--rounds", type=_positive, default=5)
    parser.add_argument("--short", action="store_true", help="small sizes: does it work at all?")
    return parser.parse_args(arguments)


def _choice(known: Sequence[str]) -> Callable[[str], set[str]]:
    def choose(text: str) -> set[str]:
        chosen = set(text.replace(",", " ").split())
        if unknown := sorted(chosen.difference(known)):
            raise argparse.ArgumentTypeError(f"unknown: {unknown}; known: {', '.join(known)}")
        return chosen or set(known)

    return choose


def _positive(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
