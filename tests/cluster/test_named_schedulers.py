"""Named jobs on several schedulers at once: beside the dispatcher's, another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dask
import pytest
from distributed import LocalCluster

from dask_facade import AsyncResult, DaskFacade, job_manager, schedulers
from dask_facade.cluster.connection import close_all
from dask_facade.exceptions import DaskJobException, ResultLost
from dask_facade.job_manager import DaskJob
from dask_facade.named.statuses import TERMINAL
from dask_facade.schedulers import DaskScheduler
from dask_facade.states import SUCCESS
from tests.cluster import named_functions as functions
from tests.cluster import tasks
from tests.cluster.bare import left_of
from tests.cluster.processes import wait_for

pytestmark = pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module")

USER = "7"


@pytest.fixture(scope="module")
def ours(app: DaskFacade, address: str) -> DaskScheduler:
    return schedulers.create_scheduler("ours", host=address)


@pytest.fixture(scope="module")
def other() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster
        close_all()


@pytest.fixture(scope="module")
def theirs(ours: DaskScheduler, other: LocalCluster) -> DaskScheduler:
    return schedulers.create_scheduler("theirs", host=other.scheduler_address)


def named(name: str, scheduler: DaskScheduler, **fields: Any) -> DaskJob:
    return job_manager.create_job(name, USER, scheduler=scheduler, **fields)


def ended(job: DaskJob) -> DaskJob:
    wait_for(lambda: job.status in TERMINAL, f"the end of {job}")
    found = job_manager.get_job(job.pk)
    assert found is not None
    return found


def test_each_job_runs_on_its_own_scheduler(ours: DaskScheduler, theirs: DaskScheduler) -> None:
    jobs = [named("here", ours), named("there", theirs)]
    for job in jobs:
        job.execute(dask.delayed(functions.where)(job.name))

    found = [ended(job) for job in jobs]

    assert [job.status for job in found] == ["Complete", "Complete"]
    assert [job.result for job in found] == [ours.host, theirs.host]
    assert all(job.execute_time <= job.start_time <= job.completion_time for job in found)
    assert [AsyncResult(job.ledger_id).state for job in found] == [SUCCESS, SUCCESS]


def test_a_future_of_its_scheduler_is_adopted_and_the_results_function_is_called(
    theirs: DaskScheduler,
) -> None:
    job = named("dollars", theirs, process_results_function=functions.convert_to_dollar_sign)

    job.execute(functions.distributed_job(theirs.client))

    assert (ended(job).status, job.result) == ("Complete", "$15")


def test_leaves_are_on_it_and_a_failing_one_spares_the_others(theirs: DaskScheduler) -> None:
    job = named("leaves", theirs)

    job.execute([dask.delayed(functions.inc)(1), dask.delayed(functions.fail)(2)])

    assert ended(job).status == "Various-Complete"
    assert [leaf.status for leaf in job.leaves.order_by("id")] == ["Complete", "Error"]
    assert job.leaves.order_by("id")[0].result == 2


def test_what_runs_there_is_stopped(theirs: DaskScheduler) -> None:
    job = named("long", theirs)
    job.execute(dask.delayed(functions.nap)(5, job.name))
    wait_for(lambda: job.status == "Running", "its start")

    job.stop()

    assert ended(job).status == "Aborted"


def test_its_result_goes_on_to_calls_which_run_on_the_dispatchers_cluster(
    theirs: DaskScheduler, app: DaskFacade
) -> None:
    graph = app.compute(dask.delayed(str.ljust)("x", 200_000), user=USER, scheduler=theirs.host)

    total = tasks.sizes.delay([graph])

    assert total.get(timeout=30) == [200_000]
    assert (graph.state, len(graph.get(timeout=30))) == (SUCCESS, 200_000)


def test_its_future_is_known_there_until_it_is_deleted(theirs: DaskScheduler) -> None:
    client = theirs.client
    job = named("known", theirs)
    job.execute(client.submit(functions.inc, 41, key="a-future-of-theirs"))
    ledger_id = ended(job).ledger_id

    assert job.future.client is client
    assert job.future.result(timeout=10) == 42
    assert left_of(client, [ledger_id])
    job.delete()

    wait_for(lambda: not left_of(client, [ledger_id, "a-future-of-theirs"]), "nothing of it")


def test_a_result_too_large_for_the_ledger_stays_there(theirs: DaskScheduler) -> None:
    job = named("large", theirs)
    job.execute(dask.delayed(bytes)(17 * 2**20))

    found = ended(job)

    assert (found.status, len(found.result)) == ("Results-Ready", 17 * 2**20)
    taken = tasks.sizes.delay([AsyncResult(found.ledger_id)])
    with pytest.raises(ResultLost):
        taken.get(timeout=60)
    job.delete()


def test_a_future_of_another_scheduler_than_its_own_is_refused(
    ours: DaskScheduler, theirs: DaskScheduler
) -> None:
    job = named("mistaken", theirs)

    with pytest.raises(DaskJobException, match="another scheduler"):
        job.execute(ours.client.submit(functions.inc, 1))

    assert job.status == "Error"


def test_a_scheduler_that_no_other_process_can_reach_is_refused(ours: DaskScheduler) -> None:
    with LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster:
        row = schedulers.create_scheduler("inproc", host=cluster.scheduler_address)
        job = named("unreachable", row)
        with pytest.raises(DaskJobException, match="no other process can reach it"):
            job.execute(functions.delayed_job())
        row.client.close()

    assert job.status == "Error"
