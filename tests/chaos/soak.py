"""Let small jobs run for a while and see that memory does not grow with them."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import psutil

from tests.benchmarks.processes import ROOT
from tests.chaos.__main__ import stop
from tests.chaos.database import Postgres
from tests.chaos.ground import Scale
from tests.chaos.services import Service
from tests.chaos.site import Shape, Site
from tests.chaos.waiting import comes

REPORT = ROOT / "build" / "soak.json"
LOOK_EVERY = 5.0  # seconds
MEBI = 2**20
GROWTH = 1.05  # that the last fifth of the time may have over the second fifth
SLACK = 5.0  # MiB that it may have besides
PATIENCE = 60.0  # seconds for the last jobs to end

Samples = dict[str, list[float]]


def main(arguments: Sequence[str]) -> int:
    """Soak; return the exit status."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=200.0, help="jobs a second")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, stop)
    folder = Path(tempfile.mkdtemp(prefix="dask-facade-soak-"))
    folder.chmod(0o711)  # the database's user passes through
    postgres = Postgres(folder)
    try:
        postgres.service.start()
        place = folder / "site"
        place.mkdir()
        ledger = postgres.make("soak")
        with Site(place, ledger, postgres.service, shape=Shape(), scale=Scale(1, 0, 0.0)) as site:
            samples, left, seconds = _soak(site, given.rate, 60 * given.minutes)
            ((jobs,),) = ledger.rows("SELECT count(*) FROM dask_facade_job")
            left += site.shut_down()
    finally:
        postgres.service.close()
        shutil.rmtree(folder)
    return _report(samples, jobs, seconds, left)


def _soak(site: Site, rate: float, seconds: float) -> tuple[Samples, list[str], float]:
    """Return samples of each process's memory in MiB, what is left to do, and how long it took."""
    stream = Service(
        "stream",
        [sys.executable, "-m", "tests.chaos.stream", str(rate), str(seconds)],
        site.environment(),
        site.folder,
        ready="submits",
    )
    site.submitters.append(stream)
    begun = time.monotonic()
    stream.start()
    processes = {
        "scheduler": psutil.Process(site.scheduler.pid),
        "dispatcher": psutil.Process(site.dispatchers[0].pid),
        **{worker.name: site.process_of(worker) for worker in site.workers},
    }
    samples: Samples = {name: [] for name in processes}
    while not comes(lambda: stream.has_ended, LOOK_EVERY):
        for name, process in processes.items():
            samples[name].append(process.memory_info().rss / MEBI)
    ended = comes(lambda: not site.unended(), PATIENCE)
    return samples, [] if ended else ["jobs still wait"], time.monotonic() - begun


def _report(samples: Samples, jobs: int, seconds: float, left: Sequence[str]) -> int:
    """Print and write what was seen; return the exit status."""
    told = {name: _ends(each) for name, each in samples.items()}
    print(f"{jobs} jobs in {seconds:.0f} s, {jobs / seconds:.0f} a second")
    failed = len(left)
    for problem in left:
        print(f"FAILED: {problem}")
    for name, (early, late) in told.items():
        grown = late > early * GROWTH + SLACK
        failed += grown
        print(f"{name}: {early:.1f} MiB, then {late:.1f} MiB{': it grows' if grown else ''}")
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps(_as_json(samples, jobs, seconds), indent=2) + "\n")
    print(f"{len(told) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


def _ends(samples: Sequence[float]) -> tuple[float, float]:
    """Return the medians of the second fifth, when all is warm, and of the last."""
    fifth = max(len(samples) // 5, 1)
    return median(samples[fifth : 2 * fifth] or samples), median(samples[-fifth:])


def _as_json(samples: Samples, jobs: int, seconds: float) -> Mapping[str, object]:
    rounded = {name: [round(each, 1) for each in seen] for name, seen in samples.items()}
    return {"jobs": jobs, "seconds": round(seconds), "look_every": LOOK_EVERY, "mebibytes": rounded}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
