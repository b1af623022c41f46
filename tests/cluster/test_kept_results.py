"""Results that are to be kept on a cluster whose scheduler does not answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from distributed import Client, Variable, get_client, get_worker
from distributed.client import default_client

from dask_facade import DaskFacade
from dask_facade.cluster.futures import variable_name
from dask_facade.exceptions import ClusterUnavailable, PayloadTooLarge, ResultLost, WorkerLostError
from dask_facade.states import STARTED
from dask_facade.worker.data import WorkerData, client_here, key_of
from tests.cluster import tasks
from tests.cluster.deployment import Deployment
from tests.cluster.processes import DispatcherProcess, wait_for

STORED, TOO_LARGE = 2**20, 20 * 2**20  # bytes
ON_ONE_DATABASE = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


@pytest.fixture
def scheduler(app: DaskFacade, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """That of a dispatcher's own cluster."""
    dispatcher = DispatcherProcess(["--workers", "2"], **environment)
    try:
        dispatcher.wait_until_ready()
        (scheduler,) = (each for each in dispatcher.family() if "scheduler" in each.cmdline())
        yield scheduler
    finally:
        if scheduler.is_running():
            scheduler.resume()
        dispatcher.stop()


@ON_ONE_DATABASE
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_result_that_cannot_be_kept_is_stored_or_fails_its_call(
    how: signal.Signals, scheduler: psutil.Process, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    stored = tasks.text_when.delay(str(go), STORED)
    too_large = tasks.text_when.delay(str(go), TOO_LARGE)
    wait_for(lambda: stored.state == too_large.state == STARTED, "their start")

    scheduler.send_signal(how)
    go.touch()

    value = stored.get(timeout=60, propagate=False)
    assert value == "x" * STORED or isinstance(value, WorkerLostError)
    with pytest.raises((PayloadTooLarge, WorkerLostError)):
        too_large.get(timeout=60)


@pytest.mark.parametrize("when", ["before", "while it asks"])
def test_a_worker_whose_client_closes_knows_that_the_cluster_is_away(
    when: str, deployment: Deployment
) -> None:
    comes_of_it = {
        "keep": ClusterUnavailable.__name__,
        "take": ResultLost.__name__,
        "emit": "None",
        "dispatcher": "()",
    }

    with Client(deployment.address, timeout=20, set_as_default=False) as client:
        for what, answer in comes_of_it.items():
            asked = client.submit(_ask_as_it_closes, what, when, deployment.scheduler_pid)

            assert asked.result(timeout=30) == answer


def _ask_as_it_closes(what: str, when: str, scheduler: int) -> str:
    """Return what a worker's data answers, or the name of what that raises."""
    worker = get_worker()
    client = Client(worker.scheduler.address, loop=worker.loop, set_as_default=False)
    data = WorkerData(worker, client)
    ask = {
        "keep": lambda: data.keep("job", 1, "value"),
        "take": lambda: data.take("job", "nowhere"),
        "emit": lambda: data.emit("job", "value"),
        "dispatcher": data.dispatcher,
    }[what]
    if when == "before":
        client.close()
    else:
        os.kill(scheduler, signal.SIGSTOP)  # so that it cannot answer before
        threading.Thread(target=_close_soon, args=(client,)).start()
    try:
        return str(ask())
    except Exception as error:
        return type(error).__name__
    finally:
        os.kill(scheduler, signal.SIGCONT)


def test_what_a_worker_keeps_while_its_client_is_made_is_let_go_of(deployment: Deployment) -> None:
    with Client(deployment.address, timeout=20, set_as_default=False) as client:
        kept = client.submit(_keep_with_a_new_client, deployment.scheduler_pid).result(timeout=30)

        wait_for(lambda: key_of(kept) in _held(client), "the keeping", 5)
        Variable(variable_name("job"), client=client).set(None)
        wait_for(lambda: key_of(kept) not in _held(client), "its end")


def _keep_with_a_new_client(scheduler: int) -> str:
    """Keep a value while another thread makes the worker's client; return its key."""
    os.kill(scheduler, signal.SIGSTOP)
    making = threading.Thread(target=get_client, args=(get_worker().scheduler.address,))
    making.start()
    wait_for(_has_client, "a client in the making")
    threading.Timer(0.2, os.kill, (scheduler, signal.SIGCONT)).start()
    return WorkerData(get_worker(), client_here()).keep("job", 1, "value")


def _has_client() -> bool:
    try:
        return bool(default_client())
    except ValueError:
        return False


def _held(client: Client) -> list[Any]:
    return client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))


def _close_soon(client: Client) -> None:
    time.sleep(0.2)
    client.loop.add_callback(client._close, fast=True)
