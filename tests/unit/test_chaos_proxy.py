"""What the proxy of the chaos suite does to connections."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from dask_facade.line import frame
from dask_facade.messages import CLIENT, RUNNER, VERSION, Hello, Message, Nudge
from tests.chaos.proxy import LATE, Proxy

DEADLINE = 5.0  # seconds


class Ends:
    """A listener, the proxy before it, and the connections that go through."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(DEADLINE)
        self.proxy = Proxy(self.listener.getsockname()[1])
        self.opened: list[socket.socket] = []

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new connection."""
        dialled = socket.create_connection(("127.0.0.1", self.proxy.port), timeout=DEADLINE)
        accepted, _ = self.listener.accept()
        accepted.settimeout(DEADLINE)
        self.opened += [dialled, accepted]
        return dialled, accepted

    def greet(self, role: str) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a line on which somebody of that role has said hello."""
        dialled, accepted = self.connect()
        say(dialled, Hello(VERSION, role, "somebody", "a token"))
        read(accepted, frame(Hello(VERSION, role, "somebody", "a token")))
        return dialled, accepted

    def close(self) -> None:
        """Close all of it."""
        self.proxy.close()
        for each in (self.listener, *self.opened):
            each.close()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


def say(connection: socket.socket, message: Message) -> None:
    connection.sendall(frame(message))


def read(connection: socket.socket, expected: bytes) -> None:
    """Read exactly *expected*."""
    data = b""
    while len(data) < len(expected):
        data += connection.recv(len(expected) - len(data))
    assert data == expected


def is_silent(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    return False


def test_bytes_and_their_end_go_both_ways(ends: Ends) -> None:
    dialled, accepted = ends.connect()

    dialled.sendall(b"there")
    read(accepted, b"there")
    accepted.sendall(b"back")
    read(dialled, b"back")
    dialled.shutdown(socket.SHUT_WR)

    assert accepted.recv(1) == b""


def test_a_reset_ends_the_connections_of_a_role_alone(ends: Ends) -> None:
    client, _ = ends.greet(CLIENT)
    runner, accepted = ends.greet(RUNNER)

    ends.proxy.reset([CLIENT])
    say(runner, Nudge())

    with pytest.raises(ConnectionResetError):
        client.recv(1)
    read(accepted, frame(Nudge()))


def test_what_is_said_in_silence_arrives_after_it(ends: Ends) -> None:
    dialled, accepted = ends.greet(RUNNER)
    ends.proxy.silence()

    say(dialled, Nudge())
    assert is_silent(accepted, 0.2)
    ends.proxy.mend()

    accepted.settimeout(DEADLINE)
    read(accepted, frame(Nudge()))


def test_a_message_is_repeated_after_what_follows_it(ends: Ends) -> None:
    dialled, accepted = ends.greet(RUNNER)
    other = Hello(VERSION, RUNNER, "another message", "no hello where it stands")
    ends.proxy.repeat()

    say(dialled, Nudge())
    say(dialled, other)

    read(accepted, frame(Nudge()) + frame(other) + frame(Nudge()))
    assert is_silent(accepted, 2 * LATE)
