"""``python -m tests.conformance``: Celery's own tests, unmodified, with this package as Celery."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conformance import suite
from tests.conformance.tiers import EXCLUDED, Tiers

REPORT = suite.ROOT / "build" / "conformance.json"
FILE_TIMEOUT = 3600.0  # seconds
PASSED = "passed"


def main() -> int:
    """Run what is asked for; return 0 if it is as good as it has to be."""
    arguments = _parsed()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended on the way
    tiers = Tiers.read()
    files = arguments.files or list(tiers.files)
    python = suite.prepare()
    ends: dict[str, dict[str, str]] = {}
    with suite.Redis(), tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        for file in files:
            items = _collected(python, file, Path(folder))
            if wrong := tiers.unmatched(file, items):
                raise SystemExit(f"tiers.toml names what {file} does not have: {wrong}")
            counted = [item for item in items if tiers.tier_of(item) != EXCLUDED]
            chosen = counted[arguments.shard[0] - 1 :: arguments.shard[1]]
            once = [item for item in chosen if tiers.is_known_to_fail(item)]
            print(f"{file}: {len(chosen)} of {len(items)} items", flush=True)
            ends[file] = _run(python, file, chosen, once, Path(folder))
    _report(tiers, ends)
    whole = arguments.shard == (1, 1) and not arguments.files
    return _verdict(tiers, ends, whole=whole)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--shard", type=_shard, default=(1, 1), metavar="I/N")
    parser.add_argument("--files", type=str.split, default=[], metavar="'FILE FILE'")
    return parser.parse_args()


def _shard(text: str) -> tuple[int, int]:
    number, _, count = (text or "1/1").partition("/")
    if not 1 <= int(number) <= int(count):
        raise argparse.ArgumentTypeError(f"{text!r} is no shard: say 1/4, 2/4 ...")
    return int(number), int(count)


def _pytest(python: Path, file: str, *more: str) -> list[str]:
    plugins = ["-p", "celery.contrib.pytest", "-p", "conformance_plugin", "-p", "no:cacheprovider"]
    return [str(python), "-m", "pytest", *plugins, "-q", file, *more]


def _collected(python: Path, file: str, folder: Path) -> list[str]:
    found = folder / "found"
    found.unlink(missing_ok=True)
    done = subprocess.run(
        _pytest(python, file, "--collect-only"),
        cwd=suite.PLACE,
        env=suite.environment(CONFORMANCE_FOUND=str(found)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{file} cannot be collected:\n{done.stdout}\n{done.stderr}")
    return list(json.loads(found.read_text()))


def _item_timeout(file: str) -> int:
    """Return how many seconds an item may take that says nothing of it."""
    return 60 if file.startswith("t/unit/") else 300


def _run(
    python: Path, file: str, chosen: Sequence[str], once: Sequence[str], folder: Path
) -> dict[str, str]:
    """Run items of a file in one process; return how each ended. A lost one has not passed."""
    ends, choice = folder / "ends", folder / "choice"
    ends.write_text("")
    choice.write_text(json.dumps({"run": list(chosen), "once": list(once)}))
    environment = suite.environment(CONFORMANCE_CHOSEN=str(choice), CONFORMANCE_ENDS=str(ends))
    log = suite.PLACE / f"{file.removesuffix('.py').replace('/', '-')}.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            _pytest(python, file, "-rf", "--tb=short", "--timeout", str(_item_timeout(file))),
            cwd=suite.PLACE,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(FILE_TIMEOUT)
        except subprocess.TimeoutExpired:
            print(f"{file}: ended after {FILE_TIMEOUT} seconds", flush=True)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    told = dict(json.loads(line) for line in ends.read_text().splitlines())
    return {item: told.get(item, "the run ended before it") for item in chosen}


def _report(tiers: Tiers, ends: Mapping[str, Mapping[str, str]]) -> None:
    """Write the figures, and say what failed."""
    figures: dict[str, dict[str, dict[str, int]]] = {}
    for file, items in ends.items():
        of_file = figures.setdefault(file, {})
        for item, end in items.items():
            of_tier = of_file.setdefault(tiers.tier_of(item), {PASSED: 0, "failed": 0})
            of_tier[PASSED if end == PASSED else "failed"] += 1
            if end != PASSED:
                known = "known to fail" if tiers.is_known_to_fail(item) else "FAILED"
                print(f"{known}: {item}: {end}")
            elif tiers.is_known_to_fail(item):
                print(f"passes, although it is listed as a known failure: {item}")
    REPORT.write_text(json.dumps(figures, indent=1) + "\n")
    for file, of_file in figures.items():
        for tier, counts in of_file.items():
            print(f"{file} ({tier}): {counts[PASSED]} passed, {counts['failed']} failed")


def _verdict(tiers: Tiers, ends: Mapping[str, Mapping[str, str]], *, whole: bool) -> int:
    """Say the sum. A whole run must reach the minima; a part may fail in known places alone."""
    passed = Counter(
        tiers.tier_of(item)
        for items in ends.values()
        for item, end in items.items()
        if end == PASSED
    )
    failed = [item for items in ends.values() for item, end in items.items() if end != PASSED]
    if whole:
        short = {tier: least for tier, least in tiers.minima.items() if passed[tier] < least}
        for tier, least in short.items():
            print(f"{tier}: {passed[tier]} passed, fewer than {least}")
        good = not short
    else:
        good = all(map(tiers.is_known_to_fail, failed))
    print(f"{passed.total()} passed, {len(failed)} failed", flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
