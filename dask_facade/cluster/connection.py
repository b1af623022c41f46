"""The only Dask client of a process."""

from __future__ import annotations

import atexit
import ipaddress
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from distributed import Client
from distributed.client import ClosedClientError, _set_global_client

from dask_facade.exceptions import ClusterUnavailable, ImproperlyConfigured

CONNECT_TIMEOUT = 3.0  # seconds; Dask's own would block a request for 30
CLOSE_TIMEOUT = 2.0  # seconds

_clients: dict[str, Client] = {}  # by the scheduler's address
_inherited: list[Client] = []  # the parent's, in a forked process: not to be closed here
_lock = threading.Lock()


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


def client_of(
    address: str, timeout: float = CONNECT_TIMEOUT, heartbeat: int | None = None
) -> Client:
    """Return this process's client of the scheduler at *address*; it is never made the default.

    It is made at the first call, and anew where Dask has closed it or is trying to reconnect.
    *heartbeat* is in milliseconds. Raises ClusterUnavailable if no scheduler answers within
    *timeout* seconds.
    """
    with _lock:
        client = _clients.get(address)
        if client is not None and client.status == "running":
            return client
        for other in [each for each, known in _clients.items() if known.status != "running"]:
            _close(_clients.pop(other))
        try:
            client = Client(
                address, timeout=timeout, heartbeat_interval=heartbeat, set_as_default=False
            )
        except (OSError, ValueError) as error:
            raise ClusterUnavailable(address, str(error)) from error
        _clients[address] = client
        return client


def serve_as_default(client: Client) -> None:
    """Let what asks Dask for a client get *client*, where nobody else's is there to be had."""
    try:
        Client.current()
    except ValueError:
        _set_global_client(client)


@contextmanager
def reaching(client: Client) -> Iterator[None]:
    """Raise ClusterUnavailable where the scheduler goes away or does not answer in time.

    So does a *client* that closes meanwhile, or was closed: a worker's does, with its worker.
    """
    address = "" if client.scheduler is None else str(client.scheduler.address)
    try:
        yield
    except (OSError, ClosedClientError) as error:  # TimeoutError among them
        why = str(error) or "not in time"
        raise ClusterUnavailable(address, why) from error
    except (AttributeError, RuntimeError, UnboundLocalError) as error:
        if client.status == "running":
            raise
        # Which of them Dask raises says how far it had come in closing the client, no more.
        raise ClusterUnavailable(address, "the client has closed") from error


def _close(client: Client) -> None:
    try:
        client.close(timeout=CLOSE_TIMEOUT)
    except (OSError, AssertionError):  # in time it is closed all the same
        client.status = "closed"


def close_all() -> None:
    """Close this process's clients; done when it exits, too."""
    with _lock:
        clients = list(_clients.values())
        _clients.clear()
    for client in clients:
        _close(client)


def _start_anew() -> None:
    """Forget the clients of the parent of this forked process: their threads stayed there."""
    global _lock
    _lock = threading.Lock()
    for client in _clients.values():
        client.status = "closed"  # or its end would wait for a thread that is not here
    _inherited.extend(_clients.values())
    _clients.clear()


atexit.register(close_all)
os.register_at_fork(after_in_child=_start_anew)


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
