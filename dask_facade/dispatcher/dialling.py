"""How a process with a ledger finds the leading dispatcher."""

from __future__ import annotations

import logging

from dask_facade.exceptions import LineClosed, LineRefused
from dask_facade.ledger.store import JobStore, Lease
from dask_facade.line import DialledLine, dial, token
from dask_facade.messages import VERSION, Hello

logger = logging.getLogger(__name__)


def dial_leader(
    store: JobStore, role: str, identity: str, *, node: str = "", pid: int = 0
) -> DialledLine | None:
    """Dial who holds the lease; return the line, or None where nobody answers or wants it.

    The thread's connection to the database is closed.
    """
    lease = _lease(store)
    if lease is None or not lease.addresses:
        return None
    said = token(lease.secret, role, identity)
    try:
        return dial(lease.addresses, Hello(VERSION, role, identity, said, node=node, pid=pid))
    except LineRefused as error:
        logger.error("the dispatcher refuses the line: %s (it is that of %s)", error, identity)
    except LineClosed as error:
        logger.debug("%s", error)
    return None


def leads(store: JobStore, line: DialledLine) -> bool:
    """Tell whether no other dispatcher leads than the one that *line* was dialled to.

    The thread's connection to the database is closed.
    """
    lease = _lease(store)
    return lease is None or lease.epoch == line.welcome.epoch


def _lease(store: JobStore) -> Lease | None:
    """Return the lease, or None where it cannot be read."""
    try:
        return store.lease()
    except Exception as error:  # a database's own errors: it may be away, too
        logger.debug("the lease cannot be read: %s", error)
        return None
    finally:
        store.disconnect()
