"""The only Dask client of a process."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from distributed import Client

from dask_facade.exceptions import ClusterUnavailable, ImproperlyConfigured


async def connect(address: str, timeout: float) -> Client:
    """Return a client of the scheduler at *address*, on the running loop.

    Raises ClusterUnavailable if none answers within *timeout* seconds.
    """
    try:
        client: Client = await Client(
            address, asynchronous=True, timeout=timeout, set_as_default=False
        )
    except (OSError, ValueError) as error:
        raise ClusterUnavailable(address, str(error)) from error
    return client


def require_loopback(address: str, setting: str) -> None:
    """Raise ImproperlyConfigured for an address beyond this machine.

    *address* is "tcp://host:port" or "host:port"; *setting* is what the message names.
    """
    split = urlsplit(address if "://" in address else f"tcp://{address}")
    host = split.hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise ImproperlyConfigured(
            f"{setting} {address!r} is not on this machine: whoever reaches a Dask scheduler can "
            "run code there. On a network that only your own machines reach, set "
            "DASK_FACADE['ALLOW_INSECURE_CLUSTER'] = True"
        )
