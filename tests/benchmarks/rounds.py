"""The run: rounds of each peer in turn."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.peers import Peer
from tests.benchmarks.processes import Client, PeerFailed
from tests.benchmarks.workloads import TIMEOUT, Workload

ANSWER_TIMEOUT = 3 * TIMEOUT  # seconds for one workload


@dataclass(slots=True)
class Cell:
    """What became of one figure with one peer: its rounds, or why there are none."""

    rounds: list[float] = field(default_factory=list)
    failed: str = ""
    lacks: str = ""


Cells = Mapping[tuple[str, str], Cell]  # by the figure's key and the peer's name


def run(
    peers: Sequence[Peer], workloads: Sequence[Workload], *, rounds: int, short: bool, folder: Path
) -> Cells:
    """Measure all of it. A workload that failed with a peer is not tried there again."""
    cells = {
        (key, peer.name): Cell()
        for workload in workloads
        for key in workload.units
        for peer in peers
    }
    with ExitStack() as stack:
        environments: dict[str, Mapping[str, str]] = {}
        for peer in peers:
            try:
                environments[peer.name] = stack.enter_context(peer.store(folder))
            except PeerFailed as error:
                _fail(cells, peer, workloads, str(error))
        for number in range(rounds):
            turn = number % len(peers)
            for peer in (*peers[turn:], *peers[:turn]):
                left = [each for each in workloads if not _ended(cells, peer, each)]
                if left:
                    start = time.monotonic()
                    _round(cells, peer, left, environments[peer.name], short=short, folder=folder)
                    print(
                        f"round {number + 1} of {rounds}: {peer.name},"
                        f" {time.monotonic() - start:.1f} s, load {os.getloadavg()[0]:.1f}",
                        flush=True,
                    )
    return cells


def _round(
    cells: Cells,
    peer: Peer,
    workloads: Sequence[Workload],
    environment: Mapping[str, str],
    *,
    short: bool,
    folder: Path,
) -> None:
    """Run *workloads* once with *peer*, after a warm-up of all of them."""
    left = list(workloads)
    try:
        with peer.up(environment, folder) as client:
            for workload in workloads:
                if not _ask(cells, peer, workload, client, size=workload.short_size, keep=False):
                    left.remove(workload)
            for workload in list(left):
                size = workload.short_size if short else workload.size
                _ask(cells, peer, workload, client, size=size, keep=True)
                left.remove(workload)
    except PeerFailed as error:
        _fail(cells, peer, left, str(error))


def _ask(
    cells: Cells, peer: Peer, workload: Workload, client: Client, *, size: int, keep: bool
) -> bool:
    """Run one workload and *keep* its figures; tell whether it went well."""
    answer = client.ask(workload.name, size, ANSWER_TIMEOUT)
    for key in workload.units:
        cell = cells[key, peer.name]
        cell.lacks = answer.get("lacks", "")
        cell.failed = answer.get("error", "")
        if keep and "figures" in answer:
            cell.rounds.append(answer["figures"][key])
    return "figures" in answer


def _ended(cells: Cells, peer: Peer, workload: Workload) -> bool:
    return any(
        cells[key, peer.name].failed or cells[key, peer.name].lacks for key in workload.units
    )


def _fail(cells: Cells, peer: Peer, workloads: Sequence[Workload], reason: str) -> None:
    for workload in workloads:
        for key in workload.units:
            cells[key, peer.name].failed = reason
