"""Graphs on another scheduler than the dispatcher's, when one of the two goes away."""

from __future__ import annotations

import asyncio
from pathlib import Path

import dask
import pytest
from distributed import LocalCluster

from dask_facade import DaskFacade
from dask_facade.cluster.connection import close_all
from dask_facade.cluster.neighbours import Neighbours
from dask_facade.dispatcher.adoption import Adoption
from dask_facade.elsewhere import queue_at
from dask_facade.messages import Hand, Message, Report
from dask_facade.serialization import load_exception
from dask_facade.states import FAILURE, RECEIVED
from tests.cluster import named_functions as functions
from tests.cluster.processes import DispatcherProcess, wait_for
from tests.cluster.test_adoption import graph_call


@pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")
def test_what_runs_there_outlives_the_dispatcher(
    app: DaskFacade, environment: dict[str, str], cluster: LocalCluster, tmp_path: Path
) -> None:
    first = DispatcherProcess(["--workers", "1"], **environment)
    first.wait_until_ready()
    graph = app.compute(
        dask.delayed(functions.wait_for_file)(str(tmp_path / "go")),
        scheduler=cluster.scheduler_address,
    )
    wait_for(lambda: app.store.fetch([graph.id])[graph.id].state == RECEIVED, "its adoption")
    first.kill()

    second = DispatcherProcess(["--workers", "1"], **environment)
    try:
        second.wait_until_ready()
        (tmp_path / "go").touch()
        assert graph.get(timeout=30) == "went"
    finally:
        second.stop()
        close_all()


def reported(scheduler: str, *, insecure: bool = False) -> str:
    """Let a graph on a scheduler be adopted; return the type of the error that it ends with."""

    async def adopt() -> str:
        told: asyncio.Queue[Message] = asyncio.Queue()
        neighbours = Neighbours(lambda: None, insecure=insecure, gone=1.0)
        adoption = Adoption(neighbours, told.put_nowait, inline_limit=1, store_limit=1)
        adoption.receive(Hand([graph_call("'a'")._replace(queue=queue_at(scheduler))]))
        report = await asyncio.wait_for(told.get(), 20)
        adoption.close()
        await neighbours.close()
        assert isinstance(report, Report)
        (outcome,) = report.outcomes
        assert outcome.state == FAILURE
        return repr(load_exception(outcome.result or b""))

    return asyncio.run(adopt())


def test_graphs_of_a_scheduler_that_is_gone_for_long_are_lost() -> None:
    assert "ResultLost" in (said := reported("tcp://127.0.0.1:1"))
    assert "does not answer" in said


def test_a_scheduler_beyond_this_machine_must_be_allowed() -> None:
    assert "ALLOW_INSECURE_CLUSTER" in reported("tcp://192.0.2.1:8786")
