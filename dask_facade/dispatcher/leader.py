"""Leadership: which of several dispatchers may move states."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence

from dask_facade.exceptions import LedgerUnavailable
from dask_facade.ledger.store import Desk, Lease

logger = logging.getLogger(__name__)

BEAT_EVERY = 1.0  # seconds
LOOK_EVERY = 0.5  # seconds


async def take_lease(
    desk: Desk,
    holder: str,
    addresses: Sequence[str],
    lease_seconds: float,
    clock: Callable[[], float],
) -> Lease:
    """Wait until no other dispatcher leads, then lead.

    Another one leads as long as its beat moves; it is given *lease_seconds* on our own clock from
    when the beat was first seen to stand still. One that resigned is followed at once.
    """
    seen, since = None, clock()
    told = False
    while True:
        try:
            lease = desk.lease()
            if lease is None or not lease.holder:
                taken = desk.lead(holder, addresses, secrets.token_bytes(32), lease)
            elif seen is None or (lease.epoch, lease.beat) != (seen.epoch, seen.beat):
                seen, since, taken = lease, clock(), None
            elif clock() - since >= lease_seconds:
                taken = desk.lead(holder, addresses, secrets.token_bytes(32), lease)
            else:
                taken = None
        except LedgerUnavailable as error:
            logger.debug("the lease cannot be had yet: %s", error)
            taken = None
        if taken is not None:
            return taken
        if not told and seen is not None:
            logger.warning("dispatcher %s leads; standing by", seen.holder)
            told = True
        await asyncio.sleep(LOOK_EVERY)
