"""Results that are to be kept on a cluster whose scheduler does not answer."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from dask_facade import DaskFacade
from dask_facade.exceptions import PayloadTooLarge, WorkerLostError
from dask_facade.states import STARTED
from tests.cluster import tasks
from tests.cluster.processes import DispatcherProcess, wait_for

STORED, TOO_LARGE = 2**20, 20 * 2**20  # bytes


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
