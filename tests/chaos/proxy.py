"""Lines that can be cut: TCP connections that go by way of a port of the driver's."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Collection, Coroutine
from typing import Any

from dask_facade.exceptions import MalformedMessage
from dask_facade.line import Frames
from dask_facade.messages import Hello

CHUNK = 2**16  # bytes
LATE = 0.05  # seconds after which a message is said again
HOST = "127.0.0.1"
TIMEOUT = 10.0  # seconds for the proxy's own thread
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closed by a reset
_HEAD = struct.Struct(">I")

Wanted = Callable[[str], bool]


class Proxy:
    """Forwards connections to *port* of this machine until it is closed.

    A cut concerns the connections of some roles, as they say hello on a dispatcher's line, or all.
    What is reset ends, and so does each new connection. What is silent stays up, but nothing
    arrives. What is repeated arrives a second time, after what was said meanwhile.
    """

    def __init__(self, port: int) -> None:
        self._connections: set[_Connection] = set()
        self._loop = asyncio.new_event_loop()
        self._target = port
        self._thread = threading.Thread(target=self._loop.run_forever, name="chaos-proxy")
        self._thread.start()
        self.is_reset, self.is_silent, self.is_repeated = _nobody, _nobody, _nobody
        self._server = self._do(asyncio.start_server(self._serve, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def reset(self, roles: Collection[str] = ()) -> None:
        """End the connections of *roles* (none: of all), and those that follow."""
        self._do(self._change(resets=_those_of(roles)))

    def silence(self, roles: Collection[str] = ()) -> None:
        """Let nothing arrive on the connections of *roles* (none: of all)."""
        self._do(self._change(silences=_those_of(roles)))

    def repeat(self, roles: Collection[str] = ()) -> None:
        """Let what these roles say arrive twice (none: all)."""
        self._do(self._change(repeats=_those_of(roles)))

    def mend(self) -> None:
        """Forward again; what was said in silence arrives."""
        self._do(self._change())

    def close(self) -> None:
        """End all connections and the thread."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, action: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(TIMEOUT)

    async def _change(
        self,
        resets: Wanted | None = None,
        silences: Wanted | None = None,
        repeats: Wanted | None = None,
    ) -> None:
        self.is_reset = resets or _nobody
        self.is_silent = silences or _nobody
        self.is_repeated = repeats or _nobody
        for connection in list(self._connections):
            connection.change()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            others = await asyncio.open_connection(HOST, self._target)
        except OSError:
            _reset(writer)
            return
        connection = _Connection(self, writer, others[1])
        self._connections.add(connection)
        try:
            await asyncio.gather(
                connection.forward(reader, others[1], connection.dialled),
                connection.forward(others[0], writer, connection.answered),
            )
        finally:
            self._connections.discard(connection)
            writer.close()
            others[1].close()

    async def _end(self) -> None:
        self._server.close()
        for connection in list(self._connections):
            connection.reset()
        while self._connections:
            await asyncio.sleep(0.01)


class _Connection:
    """Two halves, of who has dialled *writer* and of whom the proxy has dialled."""

    def __init__(
        self, proxy: Proxy, writer: asyncio.StreamWriter, other: asyncio.StreamWriter
    ) -> None:
        self._flows = asyncio.Event()
        self._proxy = proxy
        self._role: str | None = None  # unknown; "": it is no line
        self._unsaid = bytearray()  # the begin of a message
        self._writers = (writer, other)
        self.change()

    def change(self) -> None:
        """Do as the proxy does now."""
        role = self._role or ""
        if self._proxy.is_reset(role):
            self.reset()
        if self._proxy.is_silent(role):
            self._flows.clear()
        else:
            self._flows.set()

    def reset(self) -> None:
        """End both halves as a host does that knows nothing of them."""
        for writer in self._writers:
            _reset(writer)
        self._flows.set()

    async def forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        say: Callable[[asyncio.StreamWriter, bytes], None],
    ) -> None:
        """Forward one direction to its end, which is told as it came."""
        try:
            while data := await reader.read(CHUNK):
                if self._role is None:
                    self._role = _role_in(data)
                    self.change()
                await self._flows.wait()
                say(writer, data)
                await writer.drain()
            await self._flows.wait()
            writer.write_eof()
        except OSError:
            self.reset()

    def answered(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Say what came from the listening end."""
        writer.write(data)

    def dialled(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        """Say what came from the dialling end: message by message where it is a line."""
        if not self._role:
            writer.write(data)
            return
        self._unsaid += data
        for message in _whole(self._unsaid):
            writer.write(message)
            if self._proxy.is_repeated(self._role) and not isinstance(_first(message), Hello):
                asyncio.get_running_loop().call_later(LATE, _say_again, writer, message)


def _say_again(writer: asyncio.StreamWriter, message: bytes) -> None:
    if not writer.is_closing():
        writer.write(message)


def _nobody(role: str) -> bool:
    return False


def _those_of(roles: Collection[str]) -> Wanted:
    return lambda role: not roles or role in roles


def _reset(writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    if not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()


def _whole(buffer: bytearray) -> list[bytes]:
    """Take the whole frames out of *buffer*."""
    frames = []
    while len(buffer) >= _HEAD.size:
        stop = _HEAD.size + _HEAD.unpack_from(buffer)[0]
        if len(buffer) < stop:
            break
        frames.append(bytes(buffer[:stop]))
        del buffer[:stop]
    return frames


def _first(data: bytes) -> Any:
    """Return the first message in *data*, or None where there is none."""
    try:
        return next(iter(Frames().feed(data)), None)
    except MalformedMessage:
        return None


def _role_in(data: bytes) -> str:
    hello = _first(data)
    return hello.role if isinstance(hello, Hello) else ""
