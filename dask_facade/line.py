"""Lines: framed messages over TCP between those who dial and the dispatcher that listens.

A frame is its length in four bytes, big endian, and that many bytes. The dialling end is a blocking
socket that the calling thread writes to, with one thread that reads: each hop between threads that
is saved is time off every call. The listening end is an asyncio protocol.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dask_facade.exceptions import LineClosed, LineRefused, MalformedMessage
from dask_facade.messages import (
    Hand,
    Hello,
    Look,
    Message,
    Offer,
    Push,
    Refusal,
    Report,
    Unsure,
    Unwait,
    Wait,
    Welcome,
)
from dask_facade.packing import pack, unpack

logger = logging.getLogger(__name__)

FRAME_LIMIT = 64 * 2**20
POST_LIMIT = 64 * 2**20
HANDSHAKE_TIMEOUT = 5.0  # seconds
SILENCE = 30.0  # seconds without an answer from the other machine after which a line is gone
LULL = 0.5  # seconds without a message after which who reads is asked whether to wait on
_HEAD = struct.Struct(">I")
_LISTS = (Hand, Look, Offer, Push, Report, Unsure, Unwait, Wait)  # that may go in several frames
_TIME = struct.Struct("ll")  # as the system has it: seconds, microseconds
_READ_SIZE = 64 * 1024  # bytes; larger buffers come from and go to the system each time


def token(secret: bytes, role: str, identity: str) -> str:
    """Return what proves that who dials was told so by the ledger or by a dispatcher."""
    return hmac.new(secret, f"{role}:{identity}".encode(), hashlib.sha256).hexdigest()


def is_token(secret: bytes, hello: Hello) -> bool:
    """Tell whether the token in *hello* was made with *secret*."""
    made = token(secret, hello.role, hello.identity)
    return hmac.compare_digest(made.encode(), hello.token.encode())


def frame(message: Message) -> bytes:
    """Return *message* as it stands on a line."""
    body = pack(message)
    if len(body) > FRAME_LIMIT:
        raise MalformedMessage(f"{type(message).__name__} of {len(body):,} bytes is too long")
    return _HEAD.pack(len(body)) + body


def frames(message: Message) -> bytes:
    """Return *message* as it stands on a line: in several frames where one is too small for it."""
    try:
        return frame(message)
    except MalformedMessage:
        if not isinstance(message, _LISTS) or len(message[0]) < 2:
            raise
        kind: Callable[[Any], Message] = type(message)
        (parts,) = message
        middle = len(parts) // 2
        return frames(kind(parts[:middle])) + frames(kind(parts[middle:]))


def _tune(connection: socket.socket) -> None:
    """Send at once, and notice when the other machine is gone: it says no goodbye."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", SILENCE / 3),
        ("TCP_KEEPINTVL", SILENCE / 6),
        ("TCP_KEEPCNT", 4),
        ("TCP_USER_TIMEOUT", SILENCE * 1000),  # milliseconds
    ):
        if hasattr(socket, option):  # not every system has each
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), int(value))


class Frames:
    """Bytes in, messages out."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes | memoryview) -> list[Message]:
        """Take in *data* and return the messages that are whole; raise MalformedMessage."""
        buffer = self._buffer
        buffer += data
        messages = []
        start, end = 0, len(buffer)
        while end - start >= _HEAD.size:
            (length,) = _HEAD.unpack_from(buffer, start)
            if length > FRAME_LIMIT:
                raise MalformedMessage(f"a frame of {length:,} bytes")
            stop = start + _HEAD.size + length
            if stop > end:
                break
            messages.append(unpack(buffer[start + _HEAD.size : stop]))
            start = stop
        del buffer[:start]
        return messages


class DialledLine:
    """The dialling end. Any thread may write to it; one thread of its own reads."""

    def __init__(self, connection: socket.socket, welcome: Welcome, address: str) -> None:
        self.address = address  # as it was dialled
        self.welcome = welcome
        self._connection = connection
        self._flushing = False
        self._frames = Frames()
        self._gone = False
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._unsent = bytearray()

    def start(
        self,
        receive: Callable[[Sequence[Message]], None],
        ended: Callable[[], None],
        waits_on: Callable[[], bool] | None = None,
    ) -> None:
        """Begin to read: *receive* gets the messages of one read, on the reader's thread.

        *ended* is called there, once, when the line is gone for whatever reason. Each time that
        nothing has come for LULL seconds, *waits_on* tells there whether the line goes on.
        """
        if waits_on is not None:
            lull = _TIME.pack(int(LULL), int(LULL % 1 * 1_000_000))
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, lull)
        with self._lock:  # so that who closes it meanwhile waits for a thread that runs
            self._reader = threading.Thread(
                target=self._read,
                args=(receive, ended, waits_on),
                name="dask-facade-line",
                daemon=True,
            )
            self._reader.start()

    def send(self, *messages: Message) -> None:
        """Write *messages* in one piece; raise LineClosed. Blocks while the other end is slow."""
        data = b"".join(map(frames, messages))
        with self._lock:
            try:
                self._connection.sendall(data)
            except OSError as error:
                self._shut()
                raise LineClosed(f"the line is gone: {error}") from error

    def post(self, message: Message) -> bool:
        """Write *message* without ever blocking; what does not fit leaves by a thread, in order.

        False, and nothing is sent, when POST_LIMIT bytes are waiting already. Raises LineClosed.
        A line is either sent to or posted to, not both.
        """
        data = frames(message)
        with self._lock:
            if self._gone:
                raise LineClosed("the line is gone")
            if self._flushing:
                if len(self._unsent) + len(data) > POST_LIMIT:
                    return False
                self._unsent += data
                return True
            try:
                sent = self._connection.send(data, socket.MSG_DONTWAIT)
            except BlockingIOError:
                sent = 0
            except OSError as error:
                self._shut()
                raise LineClosed(f"the line is gone: {error}") from error
            if sent < len(data):
                self._unsent += data[sent:]
                self._flushing = True
                threading.Thread(target=self._flush, name="dask-facade-post", daemon=True).start()
        return True

    def _flush(self) -> None:
        while True:
            with self._lock:
                data, self._unsent = self._unsent, bytearray()
                if not data:
                    self._flushing = False
                    return
            try:
                self._connection.sendall(data)
            except OSError:
                with self._lock:
                    self._shut()
                return

    def close(self) -> None:
        """End the line; all that was sent arrives."""
        with self._lock:
            self._shut()
            reader = self._reader
        if reader is None:
            self._connection.close()
        elif reader is not threading.current_thread():
            reader.join(HANDSHAKE_TIMEOUT)

    def abandon(self) -> None:
        """Let go of the line without ending it: in a forked child, it is the parent's."""
        self._connection.close()

    def _shut(self) -> None:
        self._gone = True
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            logger.debug("the line was shut already")

    def _read(
        self,
        receive: Callable[[Sequence[Message]], None],
        ended: Callable[[], None],
        waits_on: Callable[[], bool] | None,
    ) -> None:
        chunk = memoryview(bytearray(_READ_SIZE))
        try:
            while size := self._recv_into(chunk, waits_on):
                messages = self._frames.feed(chunk[:size])
                if messages:
                    receive(messages)
        except (OSError, MalformedMessage) as error:
            logger.debug("a line ended: %s", error)
        finally:
            with self._lock:
                self._shut()
            self._connection.close()
            ended()

    def _recv_into(self, chunk: memoryview, waits_on: Callable[[], bool] | None) -> int:
        """Return how many bytes have come; none: the line is over."""
        while True:
            try:
                return self._connection.recv_into(chunk)
            except BlockingIOError:
                if waits_on is None or not waits_on():
                    return 0


def dial(
    addresses: Sequence[str], hello: Hello, *, timeout: float = HANDSHAKE_TIMEOUT
) -> DialledLine:
    """Connect to the first of *addresses* ("host:port") that answers; start the line to read it.

    Raises LineRefused if one says no, LineClosed if none answers within *timeout* seconds each.
    """
    failures = []
    for address in addresses:
        host, _, port = address.rpartition(":")
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=timeout)
        except (OSError, ValueError) as error:
            failures.append(f"{address}: {error}")
            continue
        try:
            return _shake_hands(connection, hello, address)
        except LineRefused:
            connection.close()
            raise
        except (OSError, MalformedMessage) as error:
            connection.close()
            failures.append(f"{address}: {error}")
    raise LineClosed("no dispatcher answers at " + ("; ".join(failures) or "any address"))


def _shake_hands(connection: socket.socket, hello: Hello, address: str) -> DialledLine:
    _tune(connection)
    connection.sendall(frame(hello))
    head = _read_exactly(connection, _HEAD.size)
    (length,) = _HEAD.unpack(head)
    match Frames().feed(head + _read_exactly(connection, min(length, FRAME_LIMIT))):
        case [Welcome() as welcome]:
            connection.settimeout(None)
            return DialledLine(connection, welcome, address)
        case [Refusal(reason)]:
            raise LineRefused(reason)
        case _:
            raise MalformedMessage("something else where a welcome belongs")


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise LineClosed("closed before it said welcome")
        data += more
    return data


class Host(Protocol):
    """Who listens: what a line tells it."""

    def greet(self, hello: Hello) -> Welcome:
        """Return the answer to *hello*, or raise LineRefused."""

    def opened(self, line: AcceptedLine, hello: Hello) -> None:
        """The Welcome is on its way; messages may follow it."""

    def received(self, line: AcceptedLine, messages: Sequence[Message]) -> None:
        """These messages came in one read."""

    def ended(self, line: AcceptedLine, whole: bool) -> None:
        """The line is gone; *whole*: by EOF, so that all that was sent has arrived."""


class _Chunk(threading.local):
    """What a loop reads into: its lines share it, since what is read is taken at once."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_READ_SIZE))


_chunk = _Chunk()


class AcceptedLine(asyncio.BufferedProtocol):
    """The listening end; dropped when its peer leaves more than *unread_limit* bytes unread."""

    def __init__(self, host: Host, *, unread_limit: int = FRAME_LIMIT) -> None:
        self.hello: Hello | None = None
        self._frames = Frames()
        self._host = host
        self._patience: asyncio.TimerHandle | None = None  # with who has not said hello
        self._transport: asyncio.Transport | None = None
        self._unread_limit = unread_limit
        self._whole = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _tune(transport.get_extra_info("socket"))
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(HANDSHAKE_TIMEOUT, self._lose_patience)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _chunk.view

    def buffer_updated(self, nbytes: int) -> None:
        try:
            messages = self._frames.feed(_chunk.view[:nbytes])
            if messages and self.hello is None:
                self._open(messages.pop(0))
        except (MalformedMessage, LineRefused) as error:
            logger.warning("the line of %s ends: %s", self._peer, error)
            if self.hello is None:
                self.send(frame(Refusal(str(error))))
            self.close()
            return
        if messages:
            self._host.received(self, messages)

    def eof_received(self) -> None:
        self._whole = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._patience is not None:
            self._patience.cancel()
        if self.hello is not None:
            self._host.ended(self, self._whole and exc is None)

    @property
    def unread(self) -> int:
        """How many bytes wait here until the other end reads."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    def send(self, data: bytes) -> None:
        """Write frames."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(data)
        if self.unread > self._unread_limit:
            logger.warning("%s does not read: its line ends", self._peer)
            self._transport.abort()

    def close(self) -> None:
        """End the line after what was sent has left."""
        if self._transport is not None:
            self._transport.close()

    def _lose_patience(self) -> None:
        if self.hello is None and self._transport is not None:
            logger.warning("%s does not say hello: its line ends", self._peer)
            self._transport.abort()

    @property
    def _peer(self) -> str:
        return "an unknown peer" if self.hello is None else self.hello.identity

    def _open(self, message: Message) -> None:
        if not isinstance(message, Hello):
            raise MalformedMessage(f"{type(message).__name__} where a hello belongs")
        welcome = self._host.greet(message)
        self.hello = message
        if self._patience is not None:
            self._patience.cancel()
        self.send(frame(welcome))
        self._host.opened(self, message)
