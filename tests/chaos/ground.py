"""What a round is played on, whichever system runs the jobs: services, and who submits."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psutil

from tests.chaos.evidence import Evidence, Move, Row
from tests.chaos.mix import Submission, draw
from tests.chaos.services import Keeper, Service, below
from tests.chaos.trace import Trace
from tests.chaos.traps import Traps
from tests.chaos.waiting import wait_for
from tests.cluster.processes import command

PARTS = 3  # of the mix: before, during and after what happens


@dataclass(frozen=True, slots=True)
class Scale:
    """How much happens in a round."""

    seed: int
    jobs: int
    away: float  # seconds for which a database is stopped


class Ground(ABC):
    """The processes of one round, with their logs and traces in *folder*, within the block."""

    server: Service  # what keeps the jobs
    submitter_options: Sequence[str] = ()
    workers: Sequence[Service]

    def __init__(self, folder: Path, scale: Scale) -> None:
        self.away = scale.away
        self.ending = ExitStack()
        self.folder = folder
        self.submitters: list[Service] = []
        self.trace = Trace(folder / "trace")
        self.traps = Traps(folder)
        self._scale = scale

    @abstractmethod
    def services(self) -> Sequence[Service]:
        """Return what is kept running, in the order in which it is started."""

    @abstractmethod
    def environment(self) -> Mapping[str, str]:
        """Return what makes a process one of this ground."""

    @abstractmethod
    def unended(self) -> int:
        """Return how many jobs have not ended."""

    @abstractmethod
    def rows(self) -> Mapping[str, Row]:
        """Return what is known of each job."""

    @abstractmethod
    def moves(self) -> Sequence[Move]:
        """Return the states that jobs came to be in, in their order."""

    @abstractmethod
    def remains(self) -> list[str]:
        """Tell what is kept beside the jobs, and should not be."""

    @abstractmethod
    def shut_down(self) -> list[str]:
        """End all in order; tell what did not, and what is left running."""

    def evidence(self, causes: Collection[str]) -> Evidence:
        """Return what is known by now; jobs may have failed with *causes*."""
        submitted, got = set(self._lines("submitted")), self._lines("got")
        return Evidence(
            submissions=[each for each in self.mix() if each.id in submitted],
            rows=self.rows(),
            moves=self.moves(),
            steps=list(self.trace.steps()),
            got=dict(map(json.loads, got)),
            causes=causes,
        )

    def mix(self) -> Sequence[Submission]:
        """Return what is to be submitted."""
        return draw(self._scale.seed, self._scale.jobs)

    def _lines(self, name: str) -> Sequence[str]:
        """Return what submitters have written to a file."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else ()

    def __enter__(self) -> Self:
        services = self.services()
        try:
            for service in services:
                self.ending.callback(service.close)
                service.start()
            self.ending.enter_context(Keeper(services))
        except BaseException:
            self.ending.close()
            raise
        return self

    def __exit__(self, *raised: object) -> None:
        for submitter in self.submitters:
            submitter.close()
        self.ending.close()

    def submit_part(self, part: int, *options: str, over: float = 0.5) -> Service:
        """Let a process submit a part of the mix in *over* seconds."""
        scale = self._scale
        submitter = Service(
            f"submitter-{len(self.submitters)}",
            [sys.executable, "-m", "tests.chaos.submitter"]
            + [str(each) for each in (scale.seed, scale.jobs, part, PARTS, over)]
            + [*options, *self.submitter_options],
            self.environment(),
            self.folder,
            ready="submits",
        )
        self.submitters.append(submitter)
        submitter.start()
        return submitter

    def process_of(self, worker: Service) -> psutil.Process:
        """Return the process in which a worker runs calls: below its nanny, where it has one."""
        found = [each for each in below(worker.pid) if "spawn_main" in " ".join(command(each))]
        return found[0] if found else psutil.Process(worker.pid)

    def worker_pids(self) -> frozenset[int]:
        """Return the processes in which calls run, or may run."""
        return frozenset(
            process.pid for worker in self.workers for process in below(worker.pid)
        ) | {worker.pid for worker in self.workers}

    def wait_for_work(self, calls: int) -> None:
        """Return when so many more calls have begun."""
        before = len(list(self.trace.begun()))
        wait_for(lambda: len(list(self.trace.begun())) >= before + calls, f"{calls} more calls")
