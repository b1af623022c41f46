"""Peers that say nothing, and machines that are gone."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from dask_facade import line as lines
from dask_facade.line import dial
from dask_facade.messages import CLIENT, VERSION, Hello, Unwait
from tests.unit.listening import DEADLINE, SECRET, Listener


def test_who_says_nothing_is_sent_away(
    listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "HANDSHAKE_TIMEOUT", 0.05)
    host, _, port = listen().address.rpartition(":")

    with socket.create_connection((host, int(port)), timeout=DEADLINE) as connection:
        try:
            said = connection.recv(1)
        except ConnectionResetError:
            said = b""

    assert said == b""


def test_who_said_hello_may_be_silent(
    listen: Callable[..., Listener], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "HANDSHAKE_TIMEOUT", 0.2)
    listener = listen()
    made = lines.token(SECRET, CLIENT, "me")
    line = dial([listener.address], Hello(VERSION, CLIENT, "me", made), timeout=DEADLINE)
    host, _, port = listener.address.rpartition(":")

    silent = socket.create_connection((host, int(port)), timeout=DEADLINE)
    with silent, suppress(ConnectionResetError):
        silent.recv(1)  # it came later, and is sent away: the other one has outlasted it
    line.send(Unwait(["a"]))

    assert listener.hears() == Unwait(["a"])
    line.close()


@pytest.mark.parametrize("end", ["dialled", "accepted"])
def test_both_ends_notice_a_machine_that_is_gone(listen: Callable[..., Listener], end: str) -> None:
    listener = listen()
    made = lines.token(SECRET, CLIENT, "me")
    line = dial([listener.address], Hello(VERSION, CLIENT, "me", made))
    listener.hellos.get(timeout=DEADLINE)

    if end == "dialled":
        connection = line._connection
    else:
        assert listener._last is not None
        connection = listener._last.transport.get_extra_info("socket")

    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
    line.close()
