"""What happens to a site. Each returns the monotonic time from which it may recover."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from dask_facade.states import PENDING
from tests.chaos.ground import PARTS
from tests.chaos.mix import RELEASED, Kind, kind_of
from tests.chaos.services import Service
from tests.chaos.site import DATABASE, DISPATCHER, LEASE, Site
from tests.chaos.waiting import comes, wait_for

WORK = 10  # calls that begin before it is sure that something goes on
GIVEN = 1.0  # seconds for a call to be given to a worker that has none
DOWN = 2.0  # seconds for which a scheduler is away
PAUSE = 3.0  # seconds for which a process may be stopped, and nobody minds
FULL = 5.0  # seconds for which a disk is full
CUT = 3.0  # seconds for which lines are reset
SILENCE = LEASE + 3.0  # seconds for which they are silent

Strike = Callable[[Site], float]


def trap(moment: str) -> Strike:
    """Let a process die when it comes to *moment*."""

    def strike(site: Site) -> float:
        site.traps.set(moment)
        wait_for(lambda: not site.traps.is_set(moment), "a call in the trap")
        return time.monotonic()

    return strike


def kill_worker_before_start(site: Site) -> float:
    """Kill a worker that was given a call, and surely has not begun it."""
    worker = site.process_of(site.workers[0])
    wait_for(lambda: _is_given_a_call(site, worker), "a claim for a worker that is stopped")
    worker.kill()
    return time.monotonic()


def _is_given_a_call(site: Site, worker: psutil.Process) -> bool:
    """Stop a worker; tell whether a call is claimed for it then, or let it go on."""
    worker.suspend()
    stopped = time.time()
    addresses = ", ".join(f"'{address}'" for address in site.addresses_of(worker))
    claimed = (
        f"SELECT 1 FROM dask_facade_job WHERE worker IN ({addresses})"
        f" AND {site.ledger.epoch('claimed')} > {stopped}"
    )
    if comes(lambda: site.ledger.rows(claimed), GIVEN):
        return True
    worker.resume()  # it was in the middle of another call
    return False


def kill_nanny(site: Site) -> float:
    """Kill the nanny of a worker, which ends with it."""
    site.workers[1].signal(signal.SIGKILL)
    return time.monotonic()


def kill_scheduler(site: Site) -> float:
    """Kill the scheduler; another comes to its place."""
    site.scheduler.kill()
    pause(DOWN)
    site.scheduler.start()
    return time.monotonic()


def kill_scheduler_in_a_chord(site: Site) -> float:
    """Kill the scheduler while the headers of a chord run."""
    before = len(site.trace.steps())
    wait_for(
        lambda: any(
            kind_of(step.id) is Kind.CHORD and "." in step.id
            for step in site.trace.steps()[before:]
        ),
        "a chord",
    )
    return kill_scheduler(site)


def kill_leader(site: Site) -> float:
    """Kill the dispatcher that leads."""
    site.leader().signal(signal.SIGKILL)
    return time.monotonic()


def kill_dispatchers(site: Site) -> float:
    """Kill all dispatchers."""
    for dispatcher in site.dispatchers:
        dispatcher.signal(signal.SIGKILL)
    return time.monotonic()


def kill_submitter(site: Site) -> float:
    """Kill who submits right after a commit; another submits the same again."""
    submitter = site.submit_part(PARTS - 1, "--die")
    submitter.wait()
    return time.monotonic()


def stop_worker(site: Site) -> float:
    """Stop a worker until Dask takes it for gone, and let it go on then."""
    worker = site.process_of(site.workers[0])
    addresses = site.addresses_of(worker)
    worker.suspend()
    since = time.monotonic()
    site.wait_for_the_loss_of(addresses)
    with suppress(psutil.NoSuchProcess):  # where its nanny has killed it
        worker.resume()
    return since


def pause_worker(site: Site) -> float:
    """Stop a worker for so short a time that nobody minds."""
    worker = site.process_of(site.workers[0])
    worker.suspend()
    pause(PAUSE)
    worker.resume()
    return time.monotonic()


def stop_leader(site: Site) -> float:
    """Stop the dispatcher that leads until another one does, and let it go on then."""
    leader = site.leader()
    leader.signal(signal.SIGSTOP)
    return _outlive(site, leader, lambda: leader.signal(signal.SIGCONT))


def stop_leader_in_a_transaction(site: Site) -> float:
    """Stop the dispatcher that leads while it holds the lock on the lease."""
    leader = site.leader()
    with site.ledger.locked(
        f"SELECT id FROM dask_facade_job WHERE state = '{PENDING}'"
        " AND id IN (SELECT child_id FROM dask_facade_edge)"
    ) as is_awaited:
        wait_for(is_awaited, "a transaction that waits for a row")
        leader.signal(signal.SIGSTOP)
    return _outlive(site, leader, lambda: leader.signal(signal.SIGCONT))


def silence_database_of_leader(site: Site) -> float:
    """Let nothing arrive between the dispatcher that leads and the database; others reach it."""
    leader = site.leader()
    site.proxies[DATABASE].silence()
    return _outlive(site, leader, site.proxies[DATABASE].mend)


def _outlive(site: Site, leader: Service, mend: Callable[[], None]) -> float:
    since, pid = time.monotonic(), leader.pid
    wait_for(lambda: site.leader_pid() != pid, "another leader")
    site.wait_for_work(WORK)
    mend()
    wait_for(lambda: leader.pid != pid, "the end of the leader that was outrun")
    return since


def stop_database(site: Site) -> float:
    """Stop the database for a while."""
    site.server.stop()
    pause(site.away)
    site.server.start()
    return time.monotonic()


def drain_worker(site: Site) -> float:
    """Tell a worker to end."""
    site.workers[1].signal(signal.SIGTERM)
    return time.monotonic()


def drain_leader(site: Site) -> float:
    """Tell the dispatcher that leads to end."""
    site.leader().signal(signal.SIGTERM)
    return time.monotonic()


def reset(line: str, *roles: str) -> Strike:
    """Reset the connections of a line for a while."""

    def strike(site: Site) -> float:
        site.proxies[line].reset(roles)
        pause(CUT)
        site.proxies[line].mend()
        return time.monotonic()

    return strike


def silence(line: str, *roles: str, seconds: float = SILENCE) -> Strike:
    """Let nothing arrive on the connections of a line for a while."""

    def strike(site: Site) -> float:
        site.proxies[line].silence(roles)
        pause(seconds)
        site.proxies[line].mend()
        return time.monotonic()

    return strike


def repeat_messages(site: Site) -> float:
    """Let what clients and runners say arrive twice, from now on."""
    site.proxies[DISPATCHER].repeat()
    return time.monotonic()


def fill_disk(site: Site) -> float:
    """Let the disk of the ledger be full for a while."""
    site.ledger.fill()
    pause(FULL)
    site.ledger.empty()
    return time.monotonic()


def jump(seconds: int) -> Strike:
    """Let the wall clock of all processes but the database jump."""

    def strike(site: Site) -> float:
        site.clock.set_wrong_by(seconds)
        return time.monotonic()

    return strike


def deploy(site: Site) -> float:
    """Start workers and dispatchers anew with a release in which a task has another name."""
    (site.folder / RELEASED).touch()
    for service in (*site.workers, *site.dispatchers):
        service.stop()
        service.start()
    return time.monotonic()


def pause(seconds: float) -> None:
    """Let a fault last."""
    time.sleep(seconds)
