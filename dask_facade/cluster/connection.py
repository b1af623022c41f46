"""The only Dask client of a process."""

from __future__ import annotations

import asyncio
import atexit
import ipaddress
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from urllib.parse import urlsplit

from distributed import Client
from distributed.client import ClosedClientError, _set_global_client

from dask_facade.exceptions import ClusterUnavailable, ImproperlyConfigured

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT = 3.0  # seconds; Dask's own would block a request for 30
CLOSE_TIMEOUT = 2.0  # seconds
GRACE = 0.5  # seconds beyond a timeout, in which Dask itself may say why it failed

_attempts: dict[str, Future[Client]] = {}  # to connect, which go on; by the scheduler's address
_clients: dict[str, Client] = {}  # by the scheduler's address
_inherited: list[Client] = []  # the parent's, in a forked process: not to be closed here
_lock = threading.Lock()  # of these; who has it waits for nobody


async def connect(address: str, timeout: float) -> Client:
    """Return a client of the scheduler at *address*, on the running loop.

    Raises ClusterUnavailable if none answers within *timeout* seconds.
    """
    client = Client(address, asynchronous=True, timeout=timeout, set_as_default=False)
    try:
        # Dask itself waits for ever for one that takes the connection and says nothing.
        await asyncio.wait_for(client, timeout + GRACE)
    except (OSError, ValueError) as error:
        await client.close(timeout=CLOSE_TIMEOUT)
        raise ClusterUnavailable(address, str(error) or f"not within {timeout} s") from error
    except asyncio.CancelledError:
        await client.close(timeout=CLOSE_TIMEOUT)
        raise
    return client


async def leave(client: Client) -> None:
    """Close a client that `connect` returned, within seconds."""
    try:
        await asyncio.wait_for(client.close(timeout=1), 3)
    except OSError:
        logger.debug("the client did not close in time")


def client_of(
    address: str, timeout: float = CONNECT_TIMEOUT, heartbeat: int | None = None
) -> Client:
    """Return this process's client of the scheduler at *address*; it is never made the default.

    It is made at the first call, and anew where Dask has closed it or is trying to reconnect; who
    asks for it meanwhile waits for the same attempt, and nobody else does. *heartbeat* is in
    milliseconds. Raises ClusterUnavailable if no scheduler answers within *timeout* seconds.
    """
    with _lock:
        client = _clients.get(address)
        if client is not None and client.status == "running":
            return client
        attempt = _attempts.get(address)
        if attempt is None:
            attempt = _attempts[address] = Future()
            # In a thread: Dask waits for ever for a scheduler that is there and says nothing.
            threading.Thread(
                target=_connect,
                args=(attempt, address, timeout, heartbeat),
                name="dask-facade-connecting",
                daemon=True,
            ).start()
    try:
        return attempt.result(timeout + GRACE)
    except (OSError, ValueError) as error:
        raise ClusterUnavailable(address, str(error) or f"not within {timeout} s") from error


def _connect(attempt: Future[Client], address: str, timeout: float, heartbeat: int | None) -> None:
    """Make the client of *address*, and let *attempt* tell how that went."""
    try:
        _close_ended(address)
        client = Client(
            address, timeout=timeout, heartbeat_interval=heartbeat, set_as_default=False
        )
    except (ImportError, OSError, ValueError) as error:
        _end(attempt, address)
        attempt.set_exception(error)
    except BaseException as error:
        _end(attempt, address)
        attempt.set_exception(error)
        raise
    else:
        _end(attempt, address, client)
        attempt.set_result(client)


def _end(attempt: Future[Client], address: str, client: Client | None = None) -> None:
    """Let others begin anew, or have *client*."""
    with _lock:
        if _attempts.get(address) is attempt:
            del _attempts[address]
        if client is not None:
            _clients[address] = client


def _close_ended(address: str) -> None:
    """Let go of clients that are of no use any more: that of *address*, and those that closed."""
    with _lock:
        ended = [
            _clients.pop(each)
            for each, client in list(_clients.items())
            if each == address or client.status == "closed"
        ]
    for client in ended:
        _close(client)


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
    _attempts.clear()
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
