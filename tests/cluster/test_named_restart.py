"""What is left of a named job when dispatcher and cluster end is done by the next ones."""

from __future__ import annotations

from pathlib import Path

import dask
import pytest

from dask_facade import AsyncResult, DaskFacade, job_manager
from dask_facade.cluster.connection import close_all
from dask_facade.named.statuses import TERMINAL
from tests.cluster import named_functions as functions
from tests.cluster.processes import DispatcherProcess, wait_for

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")


def test_a_results_function_runs_once_also_after_a_restart(
    app: DaskFacade, environment: dict[str, str], tmp_path: Path
) -> None:
    path = str(tmp_path / "runs")
    first = DispatcherProcess(["--workers", "1"], **environment)
    first.wait_until_ready()
    job = job_manager.create_job("restarted", "7")
    job.process_results_function = functions.note
    job.execute(dask.delayed(functions.late)(path))
    work = AsyncResult(job.ledger_id, app=app)
    wait_for(lambda: job.status == "Running", "its adoption")
    app.control.pause_queue("celery")
    wait_for(work.ready, "the end of its work")
    assert job.status == "Running"  # its results function is still to be called

    close_all()
    first.stop()
    second = DispatcherProcess(["--workers", "1"], **environment)
    try:
        second.wait_until_ready()
        app.control.resume_queue("celery")
        wait_for(lambda: job.status in TERMINAL, "its end", 40)
    finally:
        close_all()
        second.stop()

    assert (job.status, job.result) == ("Complete", path)
    assert Path(path).read_text() == "ran\n"
