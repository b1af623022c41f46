"""Names of workers: ``name@host``."""

from __future__ import annotations

import os
import socket

NODENAME_SEP = "@"
NODENAME_DEFAULT = "celery"


def gethostname() -> str:
    """Return the name of this machine."""
    return socket.gethostname()


def nodename(name: str, hostname: str) -> str:
    """Return ``name@hostname``."""
    return f"{name}{NODENAME_SEP}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return the name of a process that has no other."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> tuple[str | None, str]:
    """Return the name and the host; the name is None where only a host is said."""
    before, separator, host = name.partition(NODENAME_SEP)
    return (before, host) if separator else (None, before)


def default_nodename(hostname: str | None) -> str:
    """Return a whole name for what may lack the name, or the host."""
    name, host = nodesplit(hostname or "")
    return nodename(name or NODENAME_DEFAULT, host or gethostname())
