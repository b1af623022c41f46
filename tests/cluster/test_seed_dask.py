"""What Dask's documents on tasks promise, each once: in a job, and around jobs.

The cluster has one worker of one thread, on which all must take turns.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask.array
import numpy
import pytest
from distributed import Actor, Client, Future

from dask_facade import DaskFacade
from dask_facade.coordination import Event, Lock, Queue, Semaphore, Variable
from dask_facade.pubsub import Pub, Sub
from dask_facade.states import SUCCESS
from tests.cluster import future_tasks
from tests.cluster import seed_programs as programs
from tests.cluster import seed_tasks as tasks
from tests.cluster.processes import ROOT, DispatcherProcess, wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("address"),
]
SOON = 60.0
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def dispatcher(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(["--workers", "1"], **environment) as dispatcher:
        yield dispatcher


@pytest.fixture(params=["in a job", "around"])
def run(request: pytest.FixtureRequest, client: Client) -> Iterator[Run]:
    """Runs a program, and returns what it does."""
    with client.as_current():
        yield in_a_job if request.param == "in a job" else lambda program, *args: program(*args)


def in_a_job(program: Callable[..., Any], *args: Any) -> Any:
    return tasks.run.delay(program.__name__, *args).get(timeout=SOON)


def test_submit_map_gather_scatter(run: Run) -> None:
    assert run(programs.submit_map_gather_scatter) == [1, [1, 2, 3], {"sum": 30}]


def test_futures_as_arguments(run: Run, client: Client) -> None:
    assert run(programs.futures_as_arguments) == [5, 10]
    assert in_a_job(programs.inc, client.submit(programs.inc, 1, pure=False)) == 3


def test_cancel(run: Run) -> None:
    assert run(programs.cancel) == [True, 0.3]


def test_exception_and_traceback(run: Run) -> None:
    error, function, after = run(programs.exception_and_traceback)

    assert "ZeroDivisionError" in error
    assert (function, after) == ("divide", error)


def test_wait(run: Run) -> None:
    assert run(programs.wait_for_all_and_for_one) == [3, 0, True]


def test_as_completed(run: Run) -> None:
    assert run(programs.completed) == [6, 6, 6, [1, 2, 10, 20, 30]]


def test_fire_and_forget(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "written"

    run(programs.fire, str(path))

    wait_for(lambda: path.exists() and path.read_text() == "42", "what nobody waits for")


def test_get_client_with_secede_and_rejoin(client: Client) -> None:
    assert in_a_job(programs.seceding, 3) == 6
    assert client.submit(programs.seceding, 3, pure=False).result(timeout=SOON) == 6


def test_worker_client(client: Client) -> None:
    assert in_a_job(programs.in_context, 3) == 6
    assert client.submit(programs.in_context, 3, pure=False).result(timeout=SOON) == 6


def test_nested_delayed_and_compute(run: Run) -> None:
    assert run(programs.nested, 3) == [6, 3, 1]


def test_queue_variable_lock_event_semaphore() -> None:
    result = tasks.take_turns.delay()
    seat = Semaphore(max_leases=1, name="a seat")
    with Lock("one at a time"):
        Queue("questions").put("what?")
        Event("asked").set()
        wait_for(lambda: Queue("questions").qsize() == 0, "a reader")
        assert not result.ready()

    assert result.get(timeout=SOON) == "locked"
    assert Variable("answer").get(timeout=10) == "WHAT?"
    assert not Lock("one at a time").locked()
    assert seat.acquire(timeout=10)


def test_actors(run: Run) -> None:
    assert run(programs.actors) == [1, 2, 2]


def test_awaiting(address: str) -> None:
    assert asyncio.run(programs.awaiting(address)) == [2, 3, 4, 1, 1]
    assert tasks.run_coroutine.delay("awaiting", address).get(timeout=SOON) == [2, 3, 4, 1, 1]

    async def awaited() -> Any:
        return await tasks.run.delay("inc", 1)

    assert asyncio.run(awaited()) == 2


@pytest.mark.parametrize(
    "fib", [programs.fib_by_hand, programs.fib_in_context, programs.fib_lazily]
)
def test_fib_programs_give_55_on_one_thread(fib: Callable[[int], int]) -> None:
    assert in_a_job(fib, 10) == 55


def test_a_job_may_return_futures_or_actors_which_stay_remote(app: DaskFacade) -> None:
    future, actor, collection = tasks.future.delay(), tasks.actor.delay(), tasks.collection.delay()

    assert isinstance(future.get(timeout=SOON), Future)
    assert future.get().result(timeout=SOON) == 2
    assert isinstance(actor.get(timeout=SOON), Actor)
    assert actor.get().increment().result() == 1
    assert actor.get().increment().result() == 2  # it is the same one
    assert collection.dask(timeout=SOON).sum().compute() == 45
    rows = app.store.fetch([future.id, actor.id, collection.id])
    assert {(row.state, row.result) for row in rows.values()} == {(SUCCESS, None)}


WITHOUT_DJANGO = """
import sys
sys.modules["django"] = None  # nothing may import it
from dask_facade.pools import TaskPool
from tests.cluster import seed_programs as programs, seed_tasks

if __name__ == "__main__":
    with TaskPool("bare") as pool:
        pool.add_task("fib", 1, None, programs.fib_lazily, 5)
        pool.add_task("task", 1, None, seed_tasks.run, "nested", 3)
        pool.add_task("django", 1, None, programs.has_django)
        pool.submit_tasks(dask_ppw=1)
        print(sorted(pool.get_finished_tasks().items()))
"""


def test_task_functions_need_no_django(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_DJANGO)
    environment = {key: each for key, each in os.environ.items() if "DJANGO" not in key}

    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout == "[('django', False), ('fib', 5), ('task', [6, 3, 1])]\n", done.stderr


def test_pubsub() -> None:
    heard = Sub("from jobs")
    result = tasks.echo_topic.delay()
    assert Event("it listens").wait(SOON)

    to_jobs = Pub("to jobs")
    for message in ["a", {"list": [1]}, None]:
        to_jobs.put(message)

    assert [heard.get(timeout=10), heard.get(timeout=10)] == ["a", {"list": [1]}]
    assert result.get(timeout=SOON) is None


def test_graphs_in_the_calls_of_celery(app: DaskFacade, client: Client) -> None:
    result = app.compute(dask.array.ones(4, chunks=2) + 1, name="twos", user=7)

    assert numpy.array_equal(result.get(timeout=SOON), 2 * numpy.ones(4))
    row = app.store.fetch([result.id])[result.id]
    assert (row.task, row.owner, row.state) == ("twos", "7", SUCCESS)
    assert row.created <= row.started <= row.finished
    job = future_tasks.begin_graph.apply_async((-3,), user=8)
    child = app.AsyncResult(job.get(timeout=SOON))
    assert child.get(timeout=SOON) == 3
    row = app.store.fetch([child.id])[child.id]
    assert (row.owner, row.state, row.parent_id) == ("8", SUCCESS, job.id)
    begun = app.compute(client.submit(programs.inc, 1, pure=False), name="begun before")
    assert tasks.run.delay("inc", begun).get(timeout=SOON) == 3
