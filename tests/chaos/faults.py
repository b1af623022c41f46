"""The faults, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dask_facade.exceptions import NotRegistered
from dask_facade.messages import CLIENT, RUNNER
from tests.chaos.checks import LOST
from tests.chaos.moments import AFTER_A_CHILD, AFTER_A_CLAIM, AFTER_AN_OUTCOME
from tests.chaos.site import DATABASE, DISPATCHER, LEASE, SCHEDULER, WORKER_TTL, Shape
from tests.chaos.strikes import (
    Strike,
    deploy,
    drain_leader,
    drain_worker,
    fill_disk,
    jump,
    kill_dispatchers,
    kill_leader,
    kill_nanny,
    kill_scheduler,
    kill_scheduler_in_a_chord,
    kill_submitter,
    kill_worker_before_start,
    pause_worker,
    repeat_messages,
    reset,
    silence,
    silence_database_of_leader,
    stop_database,
    stop_leader,
    stop_leader_in_a_transaction,
    stop_worker,
    trap,
)
from tests.chaos.traps import (
    AFTER_THE_SIDE_EFFECT,
    BEFORE_THE_RESULT_IS_STORED,
    IN_THE_MIDDLE,
)

START = 8.0  # seconds that a process may take to start on a machine that has much to do
DETECTED = 5.0  # seconds from a worker's death, as Dask sees it, to calls in its successor
IDLE = 1.0  # seconds after which PostgreSQL ends a transaction in which nothing is said
NANNY = 10.0  # seconds that it may take a nanny to end with its worker
HOUR = 3600  # seconds
# Dask looks once in that time.
SILENT = 2 * WORKER_TTL + NANNY  # seconds after which a silent worker surely has a successor


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens.

    *strike* does it and returns the monotonic time from which recovery counts: calls are handed
    out again *within* so many seconds; where *anew*, in a process that was not there before.
    Jobs may fail with *causes*, such as the death of a worker that ran them. *idle*: it strikes
    when nothing runs.
    """

    strike: Strike
    within: float
    anew: bool = False
    causes: tuple[str, ...] = ()
    idle: bool = False
    shape: Shape = field(default_factory=Shape)


def _by(line: str, dispatchers: int = 1) -> Shape:
    return Shape(dispatchers=dispatchers, by_proxy=frozenset({line}))


TWO = Shape(dispatchers=2)
BARE = Shape(nannies=False)

FAULTS: Mapping[str, Fault] = {
    "worker-killed-before-start": Fault(
        kill_worker_before_start, START + DETECTED, anew=True, causes=LOST, idle=True
    ),
    "worker-killed-in-the-middle": Fault(
        trap(IN_THE_MIDDLE), START + DETECTED, anew=True, causes=LOST
    ),
    "worker-killed-after-the-side-effect": Fault(
        trap(AFTER_THE_SIDE_EFFECT), START + DETECTED, anew=True, causes=LOST
    ),
    "worker-killed-before-the-result-is-stored": Fault(
        trap(BEFORE_THE_RESULT_IS_STORED), START + DETECTED, anew=True, causes=LOST
    ),
    "worker-killed-at-a-fixed-port": Fault(
        trap(IN_THE_MIDDLE),
        START + DETECTED,
        anew=True,
        causes=LOST,
        shape=Shape(fixed_ports=True),
    ),
    "nanny-killed": Fault(kill_nanny, START + DETECTED, anew=True, causes=LOST),
    "scheduler-killed-idle": Fault(kill_scheduler, 15.0, anew=True, idle=True),
    "scheduler-killed-loaded": Fault(kill_scheduler, 15.0, anew=True, causes=LOST),
    "scheduler-killed-in-a-chord": Fault(kill_scheduler_in_a_chord, 15.0, anew=True, causes=LOST),
    "dispatcher-killed": Fault(kill_leader, START + LEASE + 2.0),
    "dispatcher-killed-with-a-standby": Fault(kill_leader, LEASE + 2.0, shape=TWO),
    "dispatchers-killed": Fault(kill_dispatchers, START + LEASE + 2.0, shape=TWO),
    "web-process-killed-after-commit": Fault(kill_submitter, 2.0),
    "worker-stopped": Fault(stop_worker, SILENT + START + DETECTED, anew=True, causes=LOST),
    "worker-stopped-without-a-nanny": Fault(
        stop_worker, SILENT + START + DETECTED, anew=True, causes=LOST, shape=BARE
    ),
    "worker-paused": Fault(pause_worker, DETECTED),
    "leader-stopped": Fault(stop_leader, LEASE + 2.0, shape=TWO),
    "leader-stopped-in-a-transaction": Fault(
        stop_leader_in_a_transaction, LEASE + 2.0 + IDLE, shape=TWO
    ),
    "database-stopped": Fault(stop_database, DETECTED),
    "worker-drained": Fault(drain_worker, START + DETECTED, anew=True),
    "dispatcher-drained": Fault(drain_leader, START + DETECTED),
    "dispatcher-drained-with-a-standby": Fault(drain_leader, DETECTED, shape=TWO),
    "client-dispatcher-reset": Fault(reset(DISPATCHER, CLIENT), DETECTED, shape=_by(DISPATCHER)),
    "client-dispatcher-silent": Fault(silence(DISPATCHER, CLIENT), DETECTED, shape=_by(DISPATCHER)),
    "worker-dispatcher-reset": Fault(reset(DISPATCHER, RUNNER), DETECTED, shape=_by(DISPATCHER)),
    "worker-dispatcher-silent": Fault(silence(DISPATCHER, RUNNER), DETECTED, shape=_by(DISPATCHER)),
    "worker-scheduler-reset": Fault(
        reset(SCHEDULER), START + DETECTED + NANNY, shape=_by(SCHEDULER)
    ),
    "worker-scheduler-silent": Fault(
        silence(SCHEDULER, seconds=SILENT), START + DETECTED, shape=_by(SCHEDULER)
    ),
    "dispatcher-database-reset": Fault(reset(DATABASE), DETECTED, shape=_by(DATABASE)),
    "dispatcher-database-silent": Fault(silence(DATABASE), DETECTED, shape=_by(DATABASE)),
    "leader-database-silent": Fault(
        silence_database_of_leader, LEASE + 2.0, shape=_by(DATABASE, 2)
    ),
    "dispatcher-killed-after-a-claim": Fault(trap(AFTER_A_CLAIM), START + LEASE + 2.0),
    "dispatcher-killed-after-an-outcome": Fault(trap(AFTER_AN_OUTCOME), START + LEASE + 2.0),
    "dispatcher-killed-after-a-child": Fault(trap(AFTER_A_CHILD), START + LEASE + 2.0),
    "disk-full": Fault(fill_disk, DETECTED, shape=Shape(on_small_disk=True)),
    "clock-ahead": Fault(jump(HOUR), DETECTED, shape=Shape(own_clock=True)),
    "clock-behind": Fault(jump(-HOUR), DETECTED, shape=Shape(own_clock=True)),
    "task-renamed": Fault(deploy, DETECTED, causes=(NotRegistered.__name__,)),
    "messages-repeated": Fault(repeat_messages, DETECTED, shape=_by(DISPATCHER)),
}

OF_CELERY = (
    "worker-killed-in-the-middle",
    "worker-killed-after-the-side-effect",
    "worker-killed-before-the-result-is-stored",
    "nanny-killed",
    "database-stopped",
    "worker-drained",
)
"""Those that can happen to Celery, too: its nanny is the parent of its pool, its database Redis."""

CORE = (
    "worker-killed-in-the-middle",
    "worker-killed-before-the-result-is-stored",
    "scheduler-killed-loaded",
    "dispatcher-killed",
    "leader-stopped",
    "database-stopped",
)
SHARES = 6


def faults_of(day: int) -> list[str]:
    """Return the faults of a day: the core, and a share of the others that changes."""
    others = [name for name in FAULTS if name not in CORE]
    return [*CORE, *others[day % SHARES :: SHARES]]
