"""A dispatcher that cannot begin."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dask_facade.dispatcher.service import Dispatcher, Options
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.ledger.memory import MemoryStore


def test_a_port_that_another_process_has_is_named_with_its_setting():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        with pytest.raises(ImproperlyConfigured, match=rf"127\.0\.0\.1:{port}: .*_PORT'"):
            begin(Options(port=port))


def test_a_host_that_is_not_here_is_named_with_its_setting():
    with pytest.raises(ImproperlyConfigured, match=r"192\.0\.2\.1:0: .*'DISPATCHER_HOST'"):
        begin(Options(host="192.0.2.1"))


def begin(options: Options) -> None:
    asyncio.run(Dispatcher(MemoryStore(), options).run(lambda scheduler: None))
