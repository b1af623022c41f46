"""How jobs ended, read from the ledger beside the leader's own transactions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

from dask_facade.jobs import Job, end_of
from dask_facade.ledger.store import JobStore
from dask_facade.messages import Outcome

logger = logging.getLogger(__name__)

IDS = 32  # rows that are read at a time: their results may be large
BYTES = 8 * 2**20  # of results that are told in one answer, unless one alone is larger


class LedgerReader:
    """Reads rows in a thread of its own, with a connection of its own."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dask-facade-reader")

    async def ends(self, ids: Sequence[str]) -> tuple[list[Outcome], list[str]]:
        """Return how these jobs ended, and the ids for which whoever asked must look by itself.

        Those are the ones whose results are too much to be told with the others, all that come
        after them, and all while the ledger cannot be read. Of the others, jobs that have not ended
        are in neither.
        """
        ends: list[Outcome] = []
        untold: list[str] = []
        size = 0
        for start in range(0, len(ids), IDS):
            jobs = await self._fetch(ids[start : start + IDS]) if size <= BYTES else None
            if jobs is None:
                return ends, [*untold, *ids[start:]]
            for job in jobs:
                size += len(job.result or b"")
                if job.ready and (size <= BYTES or not ends):
                    ends.append(end_of(job))
                elif job.ready:
                    untold.append(job.id)
        return ends, untold

    async def known(self, ids: Sequence[str]) -> dict[str, str | None] | None:
        """Return the ids that rows have, and `Job.future_at` of each.

        None while the ledger cannot be read.
        """
        known: dict[str, str | None] = {}
        for start in range(0, len(ids), IDS):
            jobs = await self._fetch(ids[start : start + IDS])
            if jobs is None:
                return None
            known.update((job.id, job.future_at) for job in jobs)
        return known

    async def jobs(self, ids: Sequence[str]) -> list[Job]:
        """Return the rows of jobs, as far as the ledger can be read."""
        found: list[Job] = []
        for start in range(0, len(ids), IDS):
            found += await self._fetch(ids[start : start + IDS]) or ()
        return found

    def leave(self) -> None:
        """Close the connection that code of others has opened in this thread."""
        self._store.disconnect()

    async def arguments(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the previews of jobs' arguments, as far as the ledger can be read."""
        found: dict[str, str] = {}
        for start in range(0, len(ids), IDS):
            jobs = await self._fetch(ids[start : start + IDS])
            found.update((job.id, job.arguments) for job in jobs or ())
        return found

    def close(self) -> None:
        """End the thread after what it is doing."""
        self._thread.shutdown()

    async def _fetch(self, ids: Sequence[str]) -> Collection[Job] | None:
        """Return rows; None while the ledger cannot be read."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._fetch_here, ids)
        except Exception as error:  # a database's own errors: it may be away
            logger.warning("the ledger cannot be read: %s", error)
            return None

    def _fetch_here(self, ids: Sequence[str]) -> Collection[Job]:
        try:
            return self._store.fetch(ids).values()
        finally:
            self._store.disconnect()
