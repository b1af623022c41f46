"""Messages between a runner and its child process: tuples of plain values over a socket."""

from __future__ import annotations

import socket
import struct
from typing import Any

import msgpack

_HEAD = struct.Struct(">Q")
_READ_SIZE = 256 * 1024  # bytes


class Pipe:
    """One end of a pair of connected sockets. One thread at a time sends, and one receives."""

    def __init__(self, connection: socket.socket) -> None:
        self._buffer = bytearray()
        self._connection = connection

    def send(self, *message: Any) -> None:
        """Write a message; raise OSError when the other end is gone."""
        body = msgpack.packb(message)
        self._connection.settimeout(None)
        self._connection.sendall(_HEAD.pack(len(body)) + body)

    def receive(self, timeout: float | None = None) -> list[Any]:
        """Return the next message; raise TimeoutError, and EOFError when the other end is gone."""
        self._connection.settimeout(timeout)
        while (message := self._whole()) is None:
            try:
                data = self._connection.recv(_READ_SIZE)
            except ConnectionError:
                data = b""
            if not data:
                raise EOFError("the other end is gone")
            self._buffer += data
        return message

    def close(self) -> None:
        """Close this end."""
        self._connection.close()

    def _whole(self) -> list[Any] | None:
        """Return the message at the beginning of what was received, if all of it is there."""
        if len(self._buffer) < _HEAD.size:
            return None
        (length,) = _HEAD.unpack_from(self._buffer)
        stop = _HEAD.size + length
        if len(self._buffer) < stop:
            return None
        with memoryview(self._buffer) as buffer:
            message: list[Any] = msgpack.unpackb(buffer[_HEAD.size : stop])
        del self._buffer[:stop]
        return message
