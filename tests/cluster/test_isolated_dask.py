"""What Dask's users write, in calls that run in a process of their own beside the worker.

The cluster has one worker of one thread, on which all must take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from distributed import Client

from dask_facade import DaskFacade
from dask_facade.pools import TaskPool
from tests.cluster import seed_programs as programs
from tests.cluster import worker_tasks as tasks
from tests.cluster.processes import DispatcherProcess

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("dispatcher"),
]
SOON = 60.0
Run = Callable[..., Any]


@pytest.fixture(scope="module")
def dispatcher(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    with DispatcherProcess(["--workers", "1"], **environment) as dispatcher:
        yield dispatcher


def with_a_time_limit(program: Run, *args: Any) -> Any:
    call = tasks.run_program.apply_async((program.__name__, *args), time_limit=60)
    return call.get(timeout=SOON)


def isolated(program: Run, *args: Any) -> Any:
    return tasks.run_isolated.delay(program.__name__, *args).get(timeout=SOON)


def in_a_pool(program: Run, *args: Any) -> Any:
    with TaskPool("programs") as pool:
        pool.add_task("program", 1, None, program, *args)
        pool.submit_tasks()
        return pool.get_finished_tasks()["program"]


@pytest.mark.parametrize("run", [with_a_time_limit, isolated, in_a_pool])
@pytest.mark.parametrize(
    ("program", "args", "result"),
    [
        (programs.fib_by_hand, [6], 8),
        (programs.fib_in_context, [6], 8),
        (programs.fib_lazily, [6], 8),
        (programs.seceding, [3], 6),
        (programs.in_context, [3], 6),
        (programs.nested, [3], [6, 3, 1]),
        (programs.actors, [], [1, 2, 2]),
        (programs.futures_as_arguments, [], [5, 10]),
        (programs.submit_map_gather_scatter, [], [1, [1, 2, 3], {"sum": 30}]),
        (programs.completed, [], [6, 6, 6, [1, 2, 10, 20, 30]]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_program_of_dasks_runs_in_a_process_of_its_own(
    run: Run, program: Run, args: list[Any], result: Any
) -> None:
    assert run(program, *args) == result


def test_what_a_call_has_of_its_worker_is_a_client(app: DaskFacade) -> None:
    is_client, missing = tasks.look_at_worker.delay().get(timeout=SOON)

    assert is_client
    assert "there is no 'data' of the worker here" in missing


def test_a_call_in_a_process_of_its_own_takes_and_says_what_others_do(
    dispatcher: DispatcherProcess,
) -> None:
    with Client(dispatcher.scheduler, set_as_default=False) as client:
        assert tasks.take_all.delay().get(timeout=SOON) is True

        ((_, said),) = client.get_events("print")
        assert said["args"] == ("seated",)
