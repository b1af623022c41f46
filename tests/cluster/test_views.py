"""Calls from views: under ASGI, in transactions, from threads."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from dask_facade import AsyncResult, DaskFacade
from dask_facade.states import FAILURE, PENDING
from tests.cluster import tasks
from tests.cluster.processes import ROOT, wait_for

pytestmark = pytest.mark.usefixtures("dispatcher")


class Site:
    """A web server under ASGI."""

    def __init__(self, port: int) -> None:
        self.port = port

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=30) as said:
                return said.status, json.load(said)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, None


@pytest.fixture(scope="module")
def site(app: DaskFacade, environment: dict[str, str]) -> Iterator[Site]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--port", str(port), "tests.cluster.site:application"],
        cwd=ROOT,
        env={
            **os.environ,
            **environment,
            "DJANGO_SETTINGS_MODULE": "tests.cluster.site_settings",
        },
    )
    site = Site(port)
    try:
        wait_for(site.answers, "the web server")
        yield site
    finally:
        server.terminate()
        server.wait(20)


def test_an_async_view_calls(site: Site) -> None:
    status, said = site.get("delay/")

    assert status == 200
    assert AsyncResult(said["id"]).get(timeout=20) == 3


def test_an_async_view_gets(site: Site) -> None:
    assert site.get("get/") == (200, {"value": 3})


def test_an_async_view_awaits(site: Site) -> None:
    status, said = site.get("awaited/")

    assert (status, said["value"]) == (200, 3)


def test_aget_raises_what_the_task_raised(site: Site) -> None:
    assert site.get("aget/") == (200, {"error": "in the view", "state": FAILURE})


def test_a_hundred_waiters_do_not_take_a_thread_each(site: Site) -> None:
    status, said = site.get("many/")

    assert (status, said["values"]) == (200, [0.01] * 100)
    assert said["threads"] < 20


def test_a_view_that_is_rolled_back_has_called_nothing(site: Site, app: DaskFacade) -> None:
    assert site.get("rolled-back/in-vain/")[0] == 500

    assert app.store.fetch(["in-vain"]) == {}


def test_a_view_in_a_transaction_calls_when_it_commits(site: Site) -> None:
    assert site.get("called/committed/") == (200, {"state": PENDING})

    assert AsyncResult("committed").get(timeout=20) == 3


def test_getting_what_the_open_transaction_called_is_refused_at_once(site: Site) -> None:
    status, said = site.get("got-own/")

    assert status == 200
    assert said["runtime"]
    assert "transaction" in said["error"]


def test_a_transaction_gets_what_others_called(
    site: Site, app: DaskFacade, environment: dict[str, str]
) -> None:
    result = tasks.nap.delay(0.5)

    if environment["DASK_FACADE_TEST_DB"] == "postgres":
        assert site.get(f"got-others/{result.id}/") == (200, {"value": 0.5})
    else:  # on SQLite the open transaction keeps the dispatcher from writing
        result.get(timeout=20)
        assert site.get(f"got-others/{result.id}/") == (200, {"value": 0.5})


def test_threads_call_and_wait_beside_each_other() -> None:
    values: dict[int, Any] = {}

    def call(number: int) -> None:
        values[number] = [tasks.add.delay(number, n).get(timeout=30) for n in range(20)]
        connections.close_all()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert values == {number: [number + n for n in range(20)] for number in range(8)}
