"""Let one fault after another happen to a site, print what held, write build/chaos.json."""

from __future__ import annotations

import argparse
import logging
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.benchmarks.processes import ROOT, PeerFailed
from tests.chaos import report
from tests.chaos.database import Postgres
from tests.chaos.faults import FAULTS, OF_CELERY, Fault, faults_of
from tests.chaos.ground import Scale
from tests.chaos.rounds import Verdict, play, play_celery

REPORT = ROOT / "build" / "chaos.json"
PLAYED = "played to the end"
SEED = 1
TODAY = "today"
FAULT_HELP = f"names; {TODAY!r}: some that always count, and a share of the others; none: all"
OURS, CELERY, CELERY_LATE = "dask_facade", "celery", "celery-acks-late"

Play = Callable[[Fault, Scale, Path], Verdict]


def main(arguments: Sequence[str]) -> int:
    """Run the rounds; return the exit status."""
    given = _parse(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, stop)
    folder = Path(tempfile.mkdtemp(prefix="dask-facade-chaos-"))
    folder.chmod(0o711)  # the database's user passes through
    found: report.Report = {}
    names = given.fault or [name for name in FAULTS if given.system == OURS or name in OF_CELERY]
    try:
        with _player(given.system, folder) as play:
            for name in names:
                for number in range(given.rounds):
                    scale = Scale(SEED + number, given.jobs, given.away)
                    verdict = _tell(name, play, scale, folder / f"{name}-{number + 1}")
                    key = name if given.system == OURS else f"{given.system}/{name}"
                    report.add(found, key, verdict)
                    report.merge(found, REPORT)
    finally:
        if found and all(map(report.is_clean, found.values())):
            shutil.rmtree(folder)
        else:
            print(f"logs are in {folder}")
    report.print_table(found)
    passed = sum(map(report.is_clean, found.values()))
    print(f"{passed} passed, {len(found) - passed} failed")
    return 0 if passed == len(found) else 1


def stop(*_: object) -> None:
    """End, so that all is cleaned up, and let no second signal break that off."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit("stopped")


@contextmanager
def _player(system: str, folder: Path) -> Iterator[Play]:
    """Yield what plays a round for a system."""
    if system != OURS:
        yield partial(play_celery, acks_late=system == CELERY_LATE)
        return
    postgres = Postgres(folder)
    try:
        postgres.service.start()
        yield partial(play, postgres=postgres)
    finally:
        postgres.service.close()


def _tell(name: str, play: Play, scale: Scale, folder: Path) -> Verdict:
    """Play a round and print what was found."""
    begun = time.monotonic()
    folder.mkdir()
    try:
        verdict = play(FAULTS[name], scale, folder)
    except Exception as error:  # a round that breaks off is a finding, and the others go on
        if not isinstance(error, PeerFailed):
            traceback.print_exc()
        verdict = Verdict({PLAYED: [str(error) or repr(error)]}, None)
    recovery = "" if verdict.recovery is None else f"recovery {verdict.recovery:.1f} s, "
    print(
        f"{folder.name}: {'clean' if verdict.is_clean else 'VIOLATED'},"
        f" {recovery}{time.monotonic() - begun:.0f} s in all",
        flush=True,
    )
    for invariant, violations in verdict.violations.items():
        for violation in violations[:10]:
            print(f"  {invariant}: {violation}", flush=True)
    return verdict


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--fault", type=_faults, default="", help=FAULT_HELP)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--away", type=float, default=30.0, help="seconds without a database")
    parser.add_argument("--system", choices=[OURS, CELERY, CELERY_LATE], default=OURS)
    return parser.parse_args(arguments)


def _faults(text: str) -> list[str]:
    names = text.replace(",", " ").split()
    if names == [TODAY]:
        return faults_of(datetime.now(UTC).toordinal())
    if unknown := sorted(set(names).difference(FAULTS)):
        raise argparse.ArgumentTypeError(f"unknown: {unknown}; known: {', '.join(FAULTS)}")
    return names


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
