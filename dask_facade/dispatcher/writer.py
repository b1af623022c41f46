"""The leader's one way to the ledger: one transaction at a time, patient, and never half done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from dask_facade.exceptions import LedgerBusy, LedgerRefused, LedgerUnavailable
from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.ledger.store import Desk
from dask_facade.messages import INVALID, Outcome, Spawn, Spawned, Update
from dask_facade.serialization import dump_exception, preview
from dask_facade.states import FAILURE

logger = logging.getLogger(__name__)

BUSY_PAUSE = 0.0005  # seconds between two attempts to become SQLite's writer
AWAY_PAUSE = 0.5  # seconds between two attempts to reach a database that is away
SMALL = 40  # rows up to which a commit costs less than the hop to a thread

T = TypeVar("T")


class LedgerWriter:
    """Runs the transactions of a `Desk` one after another, on the loop or in one thread."""

    def __init__(self, desk: Desk, epoch: int) -> None:
        self.answers_lost = 0  # how often the database went away, perhaps after a commit
        self.epoch = epoch
        self.desk = desk
        self._doubt = False  # it did, and what was being written may stand
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dask-facade-ledger")

    def write_at_once(self, batch: Batch) -> Written | None:
        """Write a small batch without leaving the loop; None where that cannot be done now."""
        if len(batch) > SMALL:
            return None
        return self._at_once(lambda: self.desk.write(self.epoch, batch))

    def spawn_at_once(self, spawns: Sequence[Spawn]) -> Sequence[Spawned] | None:
        """Insert a few jobs without leaving the loop; None where that cannot be done now."""
        if sum(len(spawn.jobs) for spawn in spawns) > SMALL:
            return None
        return self._at_once(lambda: self.desk.spawn(self.epoch, spawns))

    def update_at_once(self, updates: Sequence[Update]) -> bool:
        """Write a few updates without leaving the loop; False where that cannot be done now."""
        if len(updates) > SMALL:
            return False

        def transaction() -> bool:
            self.desk.update(self.epoch, updates)
            return True

        return self._at_once(transaction) is True

    def _at_once(self, transaction: Callable[[], T]) -> T | None:
        if self._lock.locked():
            return None
        try:
            return transaction()
        except (LedgerBusy, LedgerRefused):
            return None  # nothing is written
        except LedgerUnavailable as error:
            logger.warning("the ledger is away: %s", error)
            self._lose_answer()
            return None

    def _lose_answer(self) -> None:
        self._doubt = True
        self.answers_lost += 1

    async def spawn(self, spawns: Sequence[Spawn]) -> Sequence[Spawned]:
        """Insert what running calls submit; what the database refuses is answered with INVALID.

        Raises LeadershipLost.
        """
        try:
            return await self.run(lambda: self.desk.spawn(self.epoch, self._doubtful(spawns)))
        except LedgerRefused as error:
            if len(spawns) > 1:
                middle = len(spawns) // 2
                first = await self.spawn(spawns[:middle])
                return [*first, *await self.spawn(spawns[middle:])]
            logger.error("the ledger refuses what job %r submits: %s", spawns[0].parent_id, error)
            return [Spawned(spawns[0].number, 0.0, INVALID, str(error))]

    def _doubtful(self, spawns: Sequence[Spawn]) -> Sequence[Spawn]:
        """Let the ledger know where it may have these jobs, and its answer was lost."""
        return [spawn._replace(again=True) for spawn in spawns] if self._doubt else spawns

    async def update(self, updates: Sequence[Update]) -> None:
        """Write what running calls say of their state, without what the database refuses.

        Raises LeadershipLost.
        """
        try:
            await self.run(lambda: self.desk.update(self.epoch, updates))
        except LedgerRefused as error:
            if len(updates) > 1:
                middle = len(updates) // 2
                await self.update(updates[:middle])
                await self.update(updates[middle:])
            else:
                logger.error("the ledger refuses what job %r says: %s", updates[0].id, error)

    async def write(self, batch: Batch) -> Written:
        """Write *batch*, waiting for a busy or absent database.

        What the database refuses is found by halving; an outcome that it refuses becomes FAILURE
        with the reason, and what it refuses even so moves nothing. Raises LeadershipLost.
        """
        try:
            return await self._write_surely(batch)
        except LedgerRefused as error:
            if len(batch) > 1:
                first, second = _halves(batch)
                return _joined(await self.write(first), await self.write(second))
            return await self._write_reason(batch, error)

    async def _write_reason(self, batch: Batch, error: LedgerRefused) -> Written:
        """Write why a batch of one was refused, where that can be written."""
        for outcome in batch.outcomes:
            logger.error("the ledger refuses the outcome of job %r: %s", outcome.id, error)
            try:
                return await self._write_surely(Batch([_refused(outcome, error)]))
            except LedgerRefused as again:
                error = again
        # What a client offers or a runner reports may be none that a row can be found by.
        parts: list[Outcome | Release | Claim]
        parts = [*batch.outcomes, *batch.releases, *batch.claims]
        for part in parts:
            logger.error("the ledger refuses for good to write of job %r: %s", part.id, error)
        return Written((), (), (), (), ())

    async def run(self, transaction: Callable[[], T]) -> T:
        """Run *transaction* in the ledger's thread, again while the database is busy or away."""
        loop = asyncio.get_running_loop()
        away = False
        async with self._lock:
            while True:
                running = loop.run_in_executor(self._thread, transaction)
                try:
                    result = await asyncio.shield(running)
                except asyncio.CancelledError:
                    await asyncio.wait([running])  # the desk is its, until it is done
                    raise
                except LedgerBusy:
                    await asyncio.sleep(BUSY_PAUSE)
                except LedgerUnavailable as error:
                    self._lose_answer()
                    if not away:
                        logger.error("the ledger is away, nothing is handed out: %s", error)
                        away = True
                    await asyncio.sleep(AWAY_PAUSE)
                else:
                    if away:
                        logger.warning("the ledger is back")
                    return result

    async def _write_surely(self, batch: Batch) -> Written:
        """Write *batch*; where the database went away meanwhile, find out what it had committed.

        The commit may have been made and its answer lost: the same batch then moves nothing. A
        claim that stands in the row is ours all the same; the sweep takes up again what was
        released or became ready.
        """
        written = await self.run(lambda: self.desk.write(self.epoch, batch))
        if not self._doubt:
            return written
        self._doubt = False
        found = await self.run(self.desk.in_flight)
        standing = {(each.call.id, each.call.hand, each.runner) for each in found}
        claimed = [(c.id, c.hand) for c in batch.claims if (c.id, c.hand, c.runner) in standing]
        return replace(written, claimed=tuple(claimed))

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._thread.shutdown()


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    """Split a batch in two, keeping outcomes before releases before claims."""
    middle = len(batch) // 2
    first, second = Batch(), Batch()
    at = 0
    for outcome in batch.outcomes:
        (first if at < middle else second).outcomes.append(outcome)
        at += 1
    for release in batch.releases:
        (first if at < middle else second).releases.append(release)
        at += 1
    for claim in batch.claims:
        (first if at < middle else second).claims.append(claim)
        at += 1
    for id in batch.left:
        (first if at < middle else second).left.append(id)
        at += 1
    return first, second


def _joined(first: Written, second: Written) -> Written:
    return Written(
        outcomes=first.outcomes + second.outcomes,
        failed=first.failed + second.failed,
        released=first.released + second.released,
        claimed=first.claimed + second.claimed,
        ready=first.ready + second.ready,
    )


def _refused(outcome: Outcome, error: LedgerRefused) -> Outcome:
    return outcome._replace(
        state=FAILURE,
        result=dump_exception(error),
        preview=preview(error),
        traceback=f"{type(error).__module__}.{type(error).__qualname__}: {error}\n",
    )
