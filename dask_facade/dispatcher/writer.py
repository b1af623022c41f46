"""The leader's one way to the ledger: one transaction at a time, patient, and never half done."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from dask_facade.exceptions import LedgerBusy, LedgerRefused, LedgerUnavailable
from dask_facade.jobs import Batch, Claim, Release, Written
from dask_facade.ledger.store import Desk
from dask_facade.messages import Outcome
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
        self.epoch = epoch
        self.desk = desk
        self._doubt = False  # the database went away, perhaps between a commit and its answer
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dask-facade-ledger")

    def write_at_once(self, batch: Batch) -> Written | None:
        """Write a small batch without leaving the loop; None where that cannot be done now."""
        if len(batch) > SMALL or self._lock.locked():
            return None
        try:
            return self.desk.write(self.epoch, batch)
        except (LedgerBusy, LedgerRefused):
            return None  # nothing is written
        except LedgerUnavailable as error:
            logger.warning("the ledger is away: %s", error)
            self._doubt = True
            return None

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
                try:
                    result = await loop.run_in_executor(self._thread, transaction)
                except LedgerBusy:
                    await asyncio.sleep(BUSY_PAUSE)
                except LedgerUnavailable as error:
                    self._doubt = True
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
        claim that stands in the row is ours all the same; what was released or became ready is
        taken up again.
        """
        written = await self.run(lambda: self.desk.write(self.epoch, batch))
        if not self._doubt:
            return written
        self._doubt = False
        await self.run(lambda: self.desk.forget_taken(self.epoch))
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
