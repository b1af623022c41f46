"""A dispatcher's listening end in a thread, for tests of those who dial it."""

from __future__ import annotations

import asyncio
import queue
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Any, TypeVar

from dask_facade.exceptions import LineRefused
from dask_facade.line import FRAME_LIMIT, AcceptedLine, frame, is_token
from dask_facade.messages import VERSION, Hello, Message, Welcome

SECRET = b"the ledger's secret"
DEADLINE = 10.0  # seconds that anything may take which should happen at once

T = TypeVar("T")


def soon(news: queue.Queue[T] | queue.SimpleQueue[T]) -> T:
    """Return the next of *news*, which must come before the deadline."""
    try:
        return news.get(timeout=DEADLINE)
    except queue.Empty:
        raise AssertionError(f"nothing came within {DEADLINE} s") from None


class Line(AcceptedLine):
    """A line whose transport a test can lay its hands on."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        super().connection_made(transport)


class Listener:
    """Greets whoever has a token, and keeps what it hears. It says what it is told to."""

    def __init__(
        self, host: str = "127.0.0.1", *, lease: float = 60.0, unread_limit: int = FRAME_LIMIT
    ) -> None:
        self.ends: queue.Queue[bool] = queue.Queue()  # whether each was whole
        self.heard: queue.Queue[Message] = queue.Queue()
        self.hellos: queue.Queue[Hello] = queue.Queue()
        self.reads: queue.Queue[Sequence[Message]] = queue.Queue()
        self.refusal = ""
        self._lease = lease
        self._lines: list[Line] = []
        self._last: Line | None = None
        self._unread_limit = unread_limit
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="listener")
        self._thread.start()
        try:
            self._server = self._do(self._listen(host))
        except OSError:
            self._end_thread()
            raise
        name = self._server.sockets[0].getsockname()
        self.address = f"[{name[0]}]:{name[1]}" if ":" in host else f"{name[0]}:{name[1]}"

    def hears(self) -> Message:
        """Return the next message that it was told."""
        return soon(self.heard)

    def says(self, *messages: Message) -> None:
        """Send *messages* in one piece to who dialled last."""
        self.sends(b"".join(map(frame, messages)))

    def sends(self, data: bytes) -> None:
        """Send bytes to who dialled last."""
        self._do(self._call("send", data))

    def hang_up(self) -> None:
        """End the line as a dispatcher in order does."""
        self._do(self._call("close"))

    def reset(self) -> None:
        """End the line as a dispatcher whose machine lost power does."""
        self._do(self._reset())

    def pause_reading(self) -> None:
        """Leave unread what is sent from now on."""
        self._do(self._transport("pause_reading"))

    def resume_reading(self) -> None:
        """Read again."""
        self._do(self._transport("resume_reading"))

    def close(self) -> None:
        """End the line and the listening, and the thread."""
        if self._thread.is_alive():
            self._do(self._close())
            self._end_thread()

    def _end_thread(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(DEADLINE)
        self._loop.close()

    # As the host of lines

    def greet(self, hello: Hello) -> Welcome:
        if self.refusal:
            raise LineRefused(self.refusal)
        if hello.version != VERSION:
            raise LineRefused(f"it speaks version {hello.version}")
        if not is_token(SECRET, hello):
            raise LineRefused("its token is not of this ledger")
        return Welcome(VERSION, 1, self._lease)

    def opened(self, line: AcceptedLine, hello: Hello) -> None:
        assert isinstance(line, Line)
        self._last = line
        self.hellos.put(hello)

    def received(self, line: AcceptedLine, messages: Sequence[Message]) -> None:
        self.reads.put(messages)
        for message in messages:
            self.heard.put(message)

    def ended(self, line: AcceptedLine, whole: bool) -> None:
        self.ends.put(whole)

    # On its loop

    def _do(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(DEADLINE)

    async def _listen(self, host: str) -> asyncio.Server:
        return await self._loop.create_server(self._make_line, host, 0)

    def _make_line(self) -> Line:
        self._lines.append(Line(self, unread_limit=self._unread_limit))
        return self._lines[-1]

    async def _call(self, method: str, *arguments: Any) -> None:
        getattr(self._last, method)(*arguments)

    async def _transport(self, method: str) -> None:
        assert self._last is not None
        getattr(self._last.transport, method)()

    async def _reset(self) -> None:
        assert self._last is not None
        connection = self._last.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._last.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        for line in self._lines:
            line.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
