"""One round: a site, a mix of jobs, a fault in the middle, and what is found afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.chaos.celery_ground import CeleryGround
from tests.chaos.checks import CHECKS
from tests.chaos.database import Postgres
from tests.chaos.disk import SmallDisk
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Fault
from tests.chaos.ground import Ground, Scale
from tests.chaos.site import Site
from tests.chaos.strikes import WORK
from tests.chaos.waiting import comes, wait_for

IN_TIME = "runs again in time"
SEEN_FROM_OUTSIDE = (
    "submitted = terminal",
    "early acks: once",
    "success has run",
    "dependencies in order",
    "revoked never begins",
    "failures have a cause",
)
LONGEST = 6.0  # seconds in which the last part of the mix is submitted, mostly
COUNT_EVERY = 0.25  # seconds; the database has better things to do
STRUCK = "struck"  # the file that says that something has happened
PATIENCE = 60.0  # seconds for the jobs to end, and as many again for each thousand of them


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found: by invariant, its violations; seconds until calls ran again."""

    violations: Mapping[str, Sequence[str]]
    recovery: float | None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was violated."""
        return not any(self.violations.values())


def play(fault: Fault, scale: Scale, folder: Path, postgres: Postgres) -> Verdict:
    """Run a round in *folder*; raise PeerFailed where the fault cannot be had."""
    ledger = SmallDisk(folder) if fault.shape.on_small_disk else postgres.make(folder.name)
    try:
        with Site(folder, ledger, postgres.service, shape=fault.shape, scale=scale) as site:
            evidence, since, known = _strike(fault, scale, site)
    finally:
        ledger.drop()
    violations = {name: list(check(evidence)) for name, check in CHECKS.items()}
    again = evidence.handed_out_after(since, known if fault.anew else frozenset())
    recovery = None if again is None else max(again - since, 0.0)
    late = recovery is None or recovery > fault.within
    said = "never" if recovery is None else f"after {recovery:.1f} s"
    violations[IN_TIME] = [f"{said}, not within {fault.within} s"] if late else []
    return Verdict(violations, recovery)


def play_celery(fault: Fault, scale: Scale, folder: Path, *, acks_late: bool) -> Verdict:
    """Let the same happen to Celery; what can be seen from outside is judged."""
    with CeleryGround(folder, scale, acks_late=acks_late) as ground:
        evidence, _, _ = _strike(fault, scale, ground)
    return Verdict({name: list(CHECKS[name](evidence)) for name in SEEN_FROM_OUTSIDE}, None)


def _strike(fault: Fault, scale: Scale, ground: Ground) -> tuple[Evidence, float, frozenset[int]]:
    """Submit jobs, let it happen in the middle, wait for their end and shut down.

    Return what is known then, from when calls may run again, and the processes that ran before.
    """
    deadline = PATIENCE * (1 + scale.jobs / 1000)
    # So long that there is work for whom it takes a while to start.
    over = fault.within if fault.anew else min(fault.within, LONGEST)
    ground.submit_part(2, f"--when={STRUCK}", over=over)
    first = ground.submit_part(0)
    if fault.idle:
        first.wait(deadline)
        wait_for(lambda: not ground.unended(), "the end of the first jobs", deadline)
    else:
        ground.wait_for_work(WORK)
    known = ground.worker_pids()
    ground.submit_part(1)
    since = fault.strike(ground)
    (ground.folder / STRUCK).touch()

    left = []
    if not comes(lambda: all(each.has_ended for each in ground.submitters), deadline):
        left.append("a submitter still waits")
    if not comes(lambda: not ground.unended(), deadline, every=COUNT_EVERY):
        left.append("jobs still wait")
    left += ground.remains()
    for submitter in ground.submitters:
        submitter.close()
    evidence = ground.evidence(fault.causes)
    if missing := len(ground.mix()) - len(evidence.submissions):
        left.append(f"{missing} calls were never made")
    return replace(evidence, left=left + ground.shut_down()), since, known
