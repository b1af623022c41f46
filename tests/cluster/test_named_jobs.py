"""Named jobs on a real cluster: what their pages, their owners and restarts see of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import dask
import dask.array
import dask.bag
import dask.dataframe
import dask.threaded
import numpy
import pandas
import pytest
from distributed import Client
from django.db import connections
from django.test.utils import CaptureQueriesContext

from dask_facade import AsyncResult, DaskFacade, job_manager, schedulers
from dask_facade.exceptions import DaskJobException, EncodeError
from dask_facade.job_manager import DaskJob
from dask_facade.named.statuses import TERMINAL
from tests.cluster import named_functions as functions
from tests.cluster import named_views
from tests.cluster.bare import left_of
from tests.cluster.processes import python, wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("address"),
]

USER = "7"


@pytest.fixture(scope="module")
def scheduler(app: DaskFacade, address: str) -> Any:
    return schedulers.create_scheduler("dask_primary", host=address)


@pytest.fixture
def client(scheduler: Any) -> Client:
    found: Client = scheduler.client
    return found


@pytest.fixture
def job(scheduler: Any, request: pytest.FixtureRequest) -> DaskJob:
    return job_manager.create_job(request.node.name, USER, scheduler=scheduler)


def ended(job: DaskJob) -> DaskJob:
    """Wait for the end of a job; return it as it is read anew."""
    wait_for(lambda: job.status in TERMINAL, f"the end of {job}")
    found = job_manager.get_job(job.pk)
    assert found is not None
    return found


def test_a_delayed_object_runs_when_it_is_executed_and_not_before(
    job: DaskJob, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    delayed = dask.delayed(functions.note)(str(path))

    assert (job.status, job.done(), path.exists()) == ("Pending", False, False)
    job.execute(delayed)

    found = ended(job)
    assert (found.status, found.result, found.done()) == ("Complete", str(path), True)
    assert path.read_text() == "ran\n"
    assert found.creation_time <= found.execute_time <= found.start_time <= found.completion_time
    assert found.run_time == found.completion_time - found.start_time


def test_a_future_is_adopted_and_its_results_function_runs_on_the_cluster(
    job: DaskJob, client: Client
) -> None:
    job.process_results_function = functions.convert_to_dollar_sign

    job.execute(functions.distributed_job(client))

    assert (ended(job).status, job.result) == ("Complete", "$15")


@pytest.mark.parametrize(
    ("make", "result"),
    [
        (lambda: dask.bag.from_sequence(range(4), npartitions=2).sum(), 6),
        (lambda: dask.array.ones(4, chunks=2), numpy.ones(4)),
        (
            lambda: dask.dataframe.from_pandas(pandas.DataFrame({"a": [1, 2]}), npartitions=1),
            pandas.DataFrame({"a": [1, 2]}),
        ),
        (lambda: {"sum": functions.delayed_job(), "none": None}, {"sum": 15, "none": None}),
    ],
    ids=["bag", "array", "dataframe", "dict"],
)
def test_collections_are_executed_and_their_results_round_trip(
    job: DaskJob, make: Any, result: Any
) -> None:
    job.execute(make())

    found = ended(job)
    assert found.status == "Complete"
    assert str(found.result) == str(result)
    assert type(found.result) is type(result)


@pytest.mark.parametrize("work", [42, "delayed", None, [], [1, 2], lambda: 1])
def test_anything_else_is_refused_and_the_job_is_an_error(job: DaskJob, work: Any) -> None:
    with pytest.raises(DaskJobException, match=r"Delayed|no graph") as caught:
        job.execute(work)

    found = job_manager.get_job(job.pk)
    assert (found.status, found.status_message) == ("Error", str(caught.value))


def test_a_failed_graph_is_an_error_with_its_reason_and_traceback(job: DaskJob) -> None:
    job.execute(dask.delayed(functions.fail)("x"))

    found = ended(job)
    assert (found.status, found.status_message) == ("Error", "ValueError('no good: x')")
    assert isinstance(found.result, ValueError)
    assert "raise ValueError" in found.get_logs()["Work: traceback"]


def test_a_failed_graph_never_meets_its_results_function(job: DaskJob, app: DaskFacade) -> None:
    job.process_results_function = functions.convert_to_dollar_sign
    job.execute(dask.delayed(functions.fail)("x"))

    assert ended(job).status == "Error"
    wait_for(lambda: AsyncResult(job.results_id, app=app).ready(), "the end of its call")
    assert AsyncResult(job.results_id, app=app).failed()


def test_a_result_that_cannot_be_serialised_is_an_error_and_the_list_still_loads(
    job: DaskJob,
) -> None:
    job.execute(dask.delayed(functions.lock)(1))

    found = ended(job)
    assert (found.status, type(found.result)) == ("Error", EncodeError)
    assert "lock" in found.status_message
    assert found in list(job_manager.list_jobs(user=USER))


def test_what_a_results_function_returns_is_stored_also_none(job: DaskJob) -> None:
    job.process_results_function = "tests.cluster.named_functions.nothing"
    job.execute(dask.delayed(functions.inc)(1))

    assert (ended(job).status, job.result) == ("Complete", None)


def test_a_results_function_that_fails_is_an_error(job: DaskJob) -> None:
    job.process_results_function = functions.fail
    job.execute(dask.delayed(functions.inc)(1))

    found = ended(job)
    assert (found.status, found.status_message) == ("Error", "ValueError('no good: 2')")
    assert "Results function: traceback" in found.get_logs()


def test_results_are_processed_once_however_often_it_is_asked(job: DaskJob, tmp_path: Path) -> None:
    path = str(tmp_path / "runs")
    job.execute(dask.delayed(str)(path))
    ended(job)
    job.process_results_function = functions.note

    threads = [threading.Thread(target=_process, args=(job.pk,)) for _ in range(3)]
    job.save()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    job.update_status()
    job.process_results()

    assert ended(job).result == path
    assert Path(path).read_text() == "ran\n"


def _process(pk: int) -> None:
    found = job_manager.get_job(pk)
    assert found is not None
    found.process_results()
    connections.close_all()


def test_a_result_that_is_to_be_forgotten_is_never_fetched(
    scheduler: Any, client: Client, app: DaskFacade
) -> None:
    job = job_manager.create_job("forget", USER, scheduler=scheduler, forget=True)
    job.process_results_function = functions.convert_to_dollar_sign
    job.execute(functions.delayed_job())

    found = ended(job)
    assert (found.status, found.result, found.results_id) == ("Complete", None, "")
    assert app.store.fetch([found.ledger_id])[found.ledger_id].result is None
    wait_for(lambda: left_of(client, [found.ledger_id]) == [], "the end of its data")


def test_a_job_by_a_process_that_exits_at_once_ends_well(environment: dict[str, str]) -> None:
    script = python(
        "import os, sys\n"
        "from dask_facade import job_manager\n"
        "from tests.cluster import named_functions as functions\n"
        "job = job_manager.create_job('exits', '7')\n"
        "job.process_results_function = functions.convert_to_dollar_sign\n"
        "job.execute(functions.delayed_job())\n"
        "print(job.pk)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)",
        **environment,
    )

    job = job_manager.get_job(script.stdout.strip())
    assert job is not None, script.stderr
    assert (ended(job).status, job.result) == ("Complete", "$15")


def test_a_module_may_have_models_and_what_dask_computes() -> None:
    job = named_views.begin(USER)

    assert (ended(job).status, job.result) == ("Complete", [4, "Group"])


def test_what_had_ended_before_it_is_executed_keeps_its_result(
    scheduler: Any, client: Client
) -> None:
    futures = client.map(functions.inc, range(20), pure=False)
    client.gather(futures)
    jobs = [job_manager.create_job("fast", USER, scheduler=scheduler) for _ in futures]

    for job, future in zip(jobs, futures, strict=True):
        job.execute(future)

    assert [ended(job).result for job in jobs] == list(range(1, 21))


# Leaves


def test_leaves_are_jobs_of_their_own_below_a_parent(job: DaskJob, client: Client) -> None:
    job.process_results_function = functions.convert_to_dollar_sign
    job.execute(functions.multiple_leaf_job(client))

    found = ended(job)
    leaves = list(found.leaves.order_by("id"))
    assert (found.status, found.status_message) == ("Complete", "3 Complete")
    assert [leaf.result for leaf in leaves] == found.result == ["$3", "$5", "$7"]
    assert len({found.pk, *(leaf.pk for leaf in leaves)}) == 4


def test_leaves_of_a_job_with_the_longest_name_have_one_that_tells_them_apart(
    scheduler: Any,
) -> None:
    job = job_manager.create_job("n" * 1024, USER, scheduler=scheduler)
    job.execute([dask.delayed(functions.inc)(1), dask.delayed(functions.inc)(2)])

    found = ended(job)
    assert (found.status, found.result) == ("Complete", [2, 3])
    names = [leaf.name for leaf in found.leaves.order_by("id")]
    assert names == ["n" * 1022 + " 1", "n" * 1022 + " 2"]


def test_a_failing_leaf_spares_the_others(job: DaskJob) -> None:
    job.execute([dask.delayed(functions.inc)(1), dask.delayed(functions.fail)("leaf")])

    found = ended(job)
    assert (found.status, found.status_message) == ("Various-Complete", "1 Complete, 1 Error")
    assert found.result[0] == 2


def test_leaves_share_what_they_have_in_common(job: DaskJob, tmp_path: Path) -> None:
    shared = dask.delayed(functions.note, pure=False)(str(tmp_path / "runs"))

    job.execute([dask.delayed(len)(shared), dask.delayed(str)(shared)])

    assert ended(job).status == "Complete"
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_stopping_one_leaf_keeps_what_others_need(job: DaskJob) -> None:
    shared = dask.delayed(functions.nap, pure=False)(0.7)
    job.execute([dask.delayed(functions.nap)(30, shared), dask.delayed(functions.add)(1, shared)])
    first, second = job.leaves.order_by("id")
    wait_for(lambda: first.status == "Running", "its adoption")
    assert job.status == "Various"

    first.stop()

    assert (ended(first).status, ended(second).result) == ("Aborted", 1.7)
    assert (job.status, job.status_message) == ("Various-Complete", "1 Complete, 1 Aborted")


# Steering


def long_chain() -> Any:
    chain = dask.delayed(functions.nap)(0.05)
    for _ in range(200):
        chain = dask.delayed(functions.nap)(0.05, chain)
    return chain


def test_stop_ends_what_runs(job: DaskJob, client: Client) -> None:
    job.execute(long_chain())
    wait_for(lambda: job.status == "Running", "its adoption")

    job.stop()

    assert ended(job).status == "Aborted"
    wait_for(lambda: client.run_on_scheduler(functions.naps) == 0, "the end of its tasks")


def test_deleting_a_job_that_runs_leaves_nothing_of_it(
    job: DaskJob, client: Client, app: DaskFacade
) -> None:
    job.execute([long_chain(), dask.delayed(functions.inc)(1)])
    ids = [leaf.ledger_id for leaf in job.leaves.all()]
    wait_for(lambda: job.leaves.first().status == "Running", "its adoption")

    job.delete()

    assert not job_manager.list_jobs(filters={"name__startswith": job.name})
    wait_for(lambda: not app.store.fetch(ids), "the end of its rows")
    wait_for(lambda: client.run_on_scheduler(functions.naps) == 0, "the end of its tasks")
    wait_for(lambda: left_of(client, ids) == [], "the end of its data")


def test_what_runs_cannot_be_paused(job: DaskJob, client: Client) -> None:
    job.execute(client.submit(functions.nap, 1.0, pure=False))
    wait_for(lambda: job.status == "Running", "its adoption")

    with pytest.raises(NotImplementedError, match="cannot interrupt"):
        job.pause()

    assert ended(job).status == "Complete"


def test_a_paused_job_begins_when_it_is_resumed(job: DaskJob, tmp_path: Path) -> None:
    path = tmp_path / "runs"
    job.pause()
    job.execute(dask.delayed(functions.note)(str(path)))

    assert (job.status, path.exists()) == ("Paused", False)
    job.resume()

    assert ended(job).result == str(path)
    with pytest.raises(DaskJobException, match="not paused"):
        job.resume()


def test_a_paused_job_takes_no_future_for_dask_has_begun_with_it(
    job: DaskJob, client: Client
) -> None:
    job.pause()

    with pytest.raises(DaskJobException, match="begun with a future"):
        job.execute(client.submit(functions.inc, 1))

    assert job.status == "Error"


def test_a_submitted_job_is_paused_before_it_is_followed(job: DaskJob, app: DaskFacade) -> None:
    app.control.pause_queue("celery")
    try:
        wait_for(lambda: not app.store.asked("pause", "celery"), "the queue's pause")
        job.execute(functions.delayed_job())
        first = job.ledger_id
        assert job.status == "Submitted"

        job.pause()

        assert job.status == "Paused"
    finally:
        app.control.resume_queue("celery")
    wait_for(lambda: AsyncResult(first, app=app).state == "REVOKED", "its withdrawal")
    assert job.status == "Paused"
    job.resume()
    assert (ended(job).result, job.ledger_id == first) == (15, False)


def test_a_prepared_job_is_executed_without_arguments(job: DaskJob) -> None:
    job.prepare(functions.delayed_job())
    found = job_manager.get_job(job.pk)

    assert found.status == "Pending"
    found.execute()

    assert ended(found).result == 15


def test_a_graph_is_tried_again(job: DaskJob, tmp_path: Path) -> None:
    job.execute(dask.delayed(functions.fail_once)(str(tmp_path / "runs")))
    assert ended(job).status == "Error"

    job.retry()

    assert (ended(job).status, job.result) == ("Complete", "the second time")
    assert (tmp_path / "runs").read_text() == 2 * "ran\n"
    with pytest.raises(DaskJobException, match="nothing of job"):
        job.retry()
    job.resubmit()
    assert ended(job).status == "Complete"
    assert (tmp_path / "runs").read_text() == 3 * "ran\n"


def test_what_was_stopped_before_it_was_executed_runs_when_it_is_submitted_again(
    job: DaskJob,
) -> None:
    job.prepare([dask.delayed(functions.inc)(1), dask.delayed(functions.inc)(2)])
    job.stop()
    assert job.status == "Aborted"

    job.resubmit()

    assert (ended(job).status, job.result, job.leaves.count()) == ("Complete", [2, 3], 2)


def test_what_was_never_given_a_graph_cannot_run_again(job: DaskJob) -> None:
    job.stop()

    for again in (job.resubmit, job.retry):
        with pytest.raises(DaskJobException, match="never executed"):
            again()


def test_a_future_is_tried_again(job: DaskJob, client: Client, tmp_path: Path) -> None:
    job.execute(client.submit(functions.fail_once, str(tmp_path / "runs"), pure=False))
    assert ended(job).status == "Error"

    job.retry()

    assert (ended(job).status, job.result) == ("Complete", "the second time")
    with pytest.raises(DaskJobException, match="cannot run again"):
        job.resubmit()


def test_a_results_function_is_tried_again_alone(job: DaskJob, tmp_path: Path) -> None:
    job.process_results_function = functions.fail_once
    job.execute(dask.delayed(str)(str(tmp_path / "runs")))
    assert ended(job).status == "Error"
    work = job.ledger_id

    job.retry()

    wait_for(lambda: job.status == "Complete", "the second try")
    assert (job.result, job.ledger_id) == ("the second time", work)


def test_one_future_may_be_the_work_of_two_jobs(scheduler: Any, client: Client) -> None:
    future = client.submit(functions.nap, 0.5, pure=False)
    first, second = (job_manager.create_job(name, USER, scheduler=scheduler) for name in "ab")

    first.execute(future)
    second.execute(future)
    wait_for(lambda: first.status == "Running", "its adoption")
    first.stop()

    assert (ended(first).status, ended(second).result) == ("Aborted", 0.5)


def test_words_of_the_projects_own_stand_until_the_end(job: DaskJob) -> None:
    job.status = "Calibrating"
    assert job_manager.get_job(job.pk).status == "Calibrating"

    job.execute(dask.delayed(functions.fail)("x"))

    assert ended(job).status == "Error"
    with pytest.raises(ValueError, match="for the ledger to tell"):
        job.update_status("Complete")


def test_a_job_is_executed_once(job: DaskJob) -> None:
    job.execute(functions.delayed_job())

    with pytest.raises(DaskJobException, match="executed before"):
        job.execute(functions.delayed_job())

    assert ended(job).result == 15


def test_the_future_of_a_job_is_a_working_one(job: DaskJob, client: Client) -> None:
    assert job.future is None
    job.execute(functions.delayed_job())

    assert job.future.result(timeout=20) == 15
    assert job.client is client


# Schedulers


def test_a_scheduler_that_is_away_says_so_within_its_timeout(app: DaskFacade) -> None:
    away = schedulers.create_scheduler("away", host="tcp://127.0.0.1:9", timeout=0.5)
    job = job_manager.create_job("away", USER, scheduler=away)

    with pytest.raises(DaskJobException, match="'away'"):
        _ = away.client
    with pytest.raises(DaskJobException, match="'away'"):
        job.execute(functions.delayed_job())

    assert job.status == "Error"


def test_a_scheduler_without_a_host_is_the_one_that_jobs_run_on(
    app: DaskFacade, client: Client
) -> None:
    assert schedulers.create_scheduler("ours").client is client


# What others do meanwhile


class Meanwhile:
    """A graph that lets something happen when it is looked at, as somebody else may do then."""

    def __init__(self, graph: Any, happens: Callable[[], object]) -> None:
        self._graph = graph
        self._happens = happens

    def __dask_graph__(self) -> Any:
        self._happens()
        return self._graph.__dask_graph__()

    def __dask_keys__(self) -> Any:
        return self._graph.__dask_keys__()

    def __dask_postcompute__(self) -> Any:
        return self._graph.__dask_postcompute__()

    __dask_optimize__ = staticmethod(lambda graph, keys, **said: graph)
    __dask_scheduler__ = staticmethod(dask.threaded.get)

    def __reduce__(self) -> tuple[Any, ...]:
        return copy, (self._graph,)


def test_a_job_that_is_stopped_while_it_is_executed_never_runs(
    job: DaskJob, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    graph = Meanwhile(dask.delayed(functions.note)(str(path)), _found(job).stop)

    with pytest.raises(DaskJobException, match="was stopped"):
        job.execute(graph)

    found = ended(job)
    assert (found.status, found.ledger_id, path.exists()) == ("Aborted", "", False)


def test_a_job_that_is_paused_while_it_is_executed_begins_when_it_is_resumed(
    job: DaskJob, tmp_path: Path
) -> None:
    path = tmp_path / "runs"
    job.execute(Meanwhile(dask.delayed(functions.note)(str(path)), _found(job).pause))

    assert (job.status, job.ledger_id, path.exists()) == ("Paused", "", False)
    job.resume()

    assert (ended(job).result, path.read_text()) == (str(path), "ran\n")


def _found(job: DaskJob) -> DaskJob:
    found = job_manager.get_job(job.pk)
    assert found is not None
    return found


def test_of_several_who_do_the_same_at_once_one_does(job: DaskJob, tmp_path: Path) -> None:
    graph = dask.delayed(functions.note)(str(tmp_path / "runs"))

    for done in (lambda found: found.execute(graph), DaskJob.resubmit):
        refused = _at_once(done, job)
        job.update_status()
        assert (ended(job).status, len(refused)) == ("Complete", 2)

    assert (tmp_path / "runs").read_text() == 2 * "ran\n"


def test_of_several_who_resume_a_job_at_once_one_does(job: DaskJob, tmp_path: Path) -> None:
    job.pause()
    job.execute(dask.delayed(functions.note)(str(tmp_path / "runs")))

    refused = _at_once(DaskJob.resume, job)

    job.update_status()
    assert (ended(job).status, len(refused)) == ("Complete", 2)
    assert (tmp_path / "runs").read_text() == "ran\n"


def _at_once(done: Callable[[DaskJob], object], job: DaskJob) -> list[str]:
    """Do the same about a job in three threads; return why some could not."""
    refused: list[str] = []

    def do() -> None:
        try:
            done(_found(job))
        except DaskJobException as error:
            refused.append(str(error))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=do) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return refused


# How much is read and written


def test_many_leaves_take_as_many_statements_as_few(scheduler: Any, app: DaskFacade) -> None:
    counts = [_statements_of_steps(scheduler, app, leaves) for leaves in (3, 30)]

    assert counts[0] == counts[1]


def _statements_of_steps(scheduler: Any, app: DaskFacade, leaves: int) -> list[int]:
    """Return how many statements it takes to execute, resume and resubmit that many leaves."""
    job = job_manager.create_job("many", USER, scheduler=scheduler, groups=["3", "5"])
    graphs = [dask.delayed(functions.inc)(number) for number in range(leaves)]
    app.control.pause_queue("celery")  # nothing begins
    try:
        wait_for(lambda: not app.store.asked("pause", "celery"), "the queue's pause")
        counts = [_statements(job, lambda: job.execute(graphs))]
        job.pause()
        counts.append(_statements(job, job.resume))
    finally:
        app.control.resume_queue("celery")
    assert ended(job).result == list(range(1, leaves + 1))
    counts.append(_statements(job, job.resubmit))
    assert ended(job).result == list(range(1, leaves + 1))
    assert {tuple(leaf.groups.keys()) for leaf in job.leaves.all()} == {("3", "5")}
    return counts


def _statements(job: DaskJob, done: Callable[[], object]) -> int:
    with CaptureQueriesContext(connections[job._state.db]) as caught:
        done()
    return len(caught)
