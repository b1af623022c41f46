"""Runners on the workers of a real Dask cluster; a test plays the dispatcher."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from distributed import Client, Future, LocalCluster, Queue, Variable

from dask_facade.cluster.futures import DISPATCHER, forget
from dask_facade.exceptions import ResultLost, TaskRevokedError, TimeLimitExceeded
from dask_facade.ids import new_id
from dask_facade.line import token
from dask_facade.messages import (
    RUNNER,
    Ack,
    Begun,
    Call,
    Hand,
    Inputs,
    Kill,
    Leave,
    Message,
    Outcome,
    Pull,
    Report,
    Shape,
)
from dask_facade.packing import pack
from dask_facade.serialization import (
    dump_reference,
    dumps,
    load_exception,
    loads,
)
from dask_facade.states import REVOKED, SUCCESS
from dask_facade.worker.runner import Slot, run
from tests.cluster.processes import ROOT, assert_gone, wait_for
from tests.unit import calls
from tests.unit.listening import SECRET, Listener, soon

# The scheduler runs in this process; it warns of keys that died with their worker.
pytestmark = pytest.mark.filterwarnings("ignore:Client .* desires key:UserWarning")

INLINE, STORE = 2**16, 2**24
LARGE = 50 * 10**6


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers of one thread each."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster, set_as_default=False) as client:
        yield client


class Placed:
    """A runner on one worker, and the line that it has dialled."""

    def __init__(self, client: Client, worker: str) -> None:
        self.listener = Listener()
        self.sent = 0  # bytes that it sent
        self.worker = worker
        identity = f"runner-{new_id()}"
        slot = Slot(
            runner=identity,
            token=token(SECRET, RUNNER, identity),
            addresses=(self.listener.address,),
            queues=(),
            settings_module="",
            paths=(str(ROOT),),
            inline_limit=INLINE,
            store_limit=STORE,
        )
        key = ("test-runner", identity)
        self.future: Future[str] = client.submit(run, slot, key=key, workers=[worker], pure=False)
        assert soon(self.listener.hellos).worker == worker

    def hears(self) -> Message:
        message = self.listener.hears()
        self.sent += len(pack(message))
        return message

    def reports(self) -> Outcome:
        """Return the outcome that it tells next, and acknowledge it."""
        message = self.hears()
        assert isinstance(message, Report), message
        (outcome,) = message.outcomes
        self.listener.says(Ack([(outcome.id, outcome.hand)]))
        return outcome

    def runs(self, call: Call) -> Outcome:
        self.listener.says(Hand([call]))
        return self.reports()

    def stop(self) -> None:
        try:
            if not self.listener.ends.empty():  # it ended with its worker
                self.future.cancel(force=True)
            elif self.future.status == "pending":
                self.listener.says(Leave())
                assert self.future.result(timeout=10) == "told to leave"
        finally:
            self.listener.close()


@pytest.fixture
def place(client: Client) -> Iterator[Callable[[int], Placed]]:
    """Place a runner on the first or the second worker."""
    placed: list[Placed] = []

    def place(number: int) -> Placed:
        client.wait_for_workers(2, timeout=30)
        worker = sorted(client.scheduler_info(n_workers=-1)["workers"])[number]
        placed.append(Placed(client, worker))
        return placed[-1]

    yield place
    for each in placed:
        each.stop()


def a_call(task: str, *args: Any, **changes: Any) -> Call:
    return calls.a_call(new_id(), f"tests.cluster.worker_tasks.{task}", *args, **changes)


def taking(task: str, outcome: Outcome, worker: str) -> Call:
    """A call that takes the result of another, which is on the cluster."""
    reference = dump_reference(outcome.id, outcome.key, worker, outcome.size)
    return a_call(task, shape=Shape.FIRST, inputs=[reference])


@pytest.mark.parametrize("number", [0, 1], ids=["the same worker", "another worker"])
def test_a_large_result_goes_to_the_next_call_past_everybody(
    place: Callable[[int], Placed], number: int
) -> None:
    first, second = place(0), place(number)

    kept = first.runs(a_call("text_of", LARGE))
    taken = second.runs(taking("length", kept, first.worker))

    assert (kept.result, kept.size >= LARGE, bool(kept.key)) == (None, True, True)
    assert loads(taken.result or b"")[0] == LARGE
    assert first.sent + second.sent < 10_000


def test_a_large_result_reaches_a_call_in_a_child_process(place: Callable[[int], Placed]) -> None:
    runner = place(0)

    kept = runner.runs(a_call("text_of", LARGE, options=dumps({"time_limit": 60})))
    taken = runner.runs(taking("isolated_length", kept, runner.worker))

    size, pid = loads(taken.result or b"")
    assert (kept.result, size) == (None, LARGE)
    assert psutil.Process(pid).cmdline()[2] == "dask_facade.worker.child"
    assert runner.sent < 10_000


def test_a_kept_result_is_a_future_for_any_dask_client(
    place: Callable[[int], Placed], cluster: LocalCluster
) -> None:
    kept = place(0).runs(a_call("text_of", 2 * INLINE))

    with Client(cluster.scheduler_address, set_as_default=False) as bare:
        future = Variable(f"job:{kept.id}", client=bare).get(timeout=10)

        assert future.result() == "x" * 2 * INLINE
        assert bare.submit(len, future).result() == 2 * INLINE
    assert loads(kept.result or b"") == "x" * 2 * INLINE


def test_a_result_that_died_with_its_worker_is_pulled_or_lost(
    place: Callable[[int], Placed], client: Client
) -> None:
    holder, runner = place(0), place(1)
    kept = holder.runs(a_call("text_of", 2 * INLINE))
    pid = loads(holder.runs(a_call("process")).result or b"")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not holder.listener.ends.empty(), "the end of its line")
    wait_for(lambda: holder.worker not in _workers(client), "the worker's end")

    call = taking("echo", kept, holder.worker)
    runner.listener.says(Hand([call]))
    assert runner.hears() == Pull(call.id, 0)
    runner.listener.says(Inputs(call.id, 0, [dumps("stored")], 1))
    assert loads(runner.reports().result or b"") == "stored"

    runner.listener.says(Hand([call._replace(hand=2)]))
    runner.hears()
    runner.listener.says(Inputs(call.id, 0, call.inputs, 1))
    assert isinstance(load_exception(runner.reports().result or b""), ResultLost)


def test_nothing_of_a_kept_result_is_left_once_it_is_forgotten(
    place: Callable[[int], Placed], cluster: LocalCluster, client: Client
) -> None:
    runner = place(0)
    before = _left(cluster)
    kept = runner.runs(a_call("text_of", 2 * INLINE))

    client.sync(forget, client, [kept.id], [kept.id])

    wait_for(lambda: _left(cluster) == before, "the end of all that was kept")


def test_what_a_task_says_can_be_read_by_any_dask_client(
    place: Callable[[int], Placed], cluster: LocalCluster
) -> None:
    runner = place(0)
    call = a_call("say", 3)

    with Client(cluster.scheduler_address, set_as_default=False) as bare:
        said = Queue(f"said:{call.id}", client=bare)
        outcome = runner.runs(call)

        assert outcome.state == SUCCESS
        assert [said.get(timeout=10) for _ in range(3)] == [{"line": n} for n in range(3)]


@pytest.mark.parametrize("options", [{}, {"time_limit": 60}], ids=["thread", "child"])
def test_a_task_is_a_client_of_its_cluster(
    place: Callable[[int], Placed], options: dict[str, Any]
) -> None:
    call = a_call("submit_to_dask", 1, options=dumps(options) if options else b"")

    assert loads(place(0).runs(call).result or b"") == 2


def test_a_time_limit_ends_the_call_and_not_the_worker(place: Callable[[int], Placed]) -> None:
    runner = place(0)
    pid = loads(runner.runs(a_call("process")).result or b"")

    overrun = runner.runs(a_call("sleep", 60, options=dumps({"time_limit": 0.3})))

    assert isinstance(load_exception(overrun.result or b""), TimeLimitExceeded)
    assert loads(runner.runs(a_call("process")).result or b"") == pid


def test_a_runners_child_ends_with_it(place: Callable[[int], Placed]) -> None:
    runner = place(0)
    _, pid = loads(runner.runs(a_call("isolated_length", "")).result or b"")
    child = psutil.Process(pid)

    runner.stop()

    assert_gone([child])


def test_a_call_that_is_killed_in_its_thread_ends_with_the_worker_which_comes_back(
    place: Callable[[int], Placed], client: Client
) -> None:
    runner = place(0)
    pid = loads(runner.runs(a_call("process")).result or b"")
    call = a_call("sleep", 60, marked=True)
    runner.listener.says(Hand([call]))
    assert runner.hears() == Begun(call.id, 1)
    process = psutil.Process(pid)

    runner.listener.says(Kill(call.id, 1))
    assert runner.hears() == Leave()
    runner.listener.says(Leave())
    outcome = runner.reports()

    assert (outcome.id, outcome.state) == (call.id, REVOKED)
    assert isinstance(load_exception(outcome.result or b""), TaskRevokedError)
    assert_gone([process])
    wait_for(lambda: not runner.listener.ends.empty(), "the end of its line")
    wait_for(lambda: runner.worker not in _workers(client), "the worker's end")
    client.wait_for_workers(2, timeout=30)


def test_a_fork_of_a_worker_does_not_hold_its_line(
    place: Callable[[int], Placed], client: Client
) -> None:
    """Else the dispatcher would not hear of the worker's end for as long as the fork lives."""
    runner = place(0)
    worker, fork = loads(runner.runs(a_call("fork")).result or b"")

    os.kill(worker, signal.SIGKILL)
    try:
        wait_for(lambda: not runner.listener.ends.empty(), "the end of its line", 10)
    finally:
        os.kill(fork, signal.SIGKILL)
    wait_for(lambda: runner.worker not in _workers(client), "the worker's end")
    client.wait_for_workers(2, timeout=30)


def test_a_signal_to_a_fork_of_a_worker_ends_that_alone(place: Callable[[int], Placed]) -> None:
    runner = place(0)
    worker, fork = loads(runner.runs(a_call("fork")).result or b"")
    process = psutil.Process(fork)

    process.terminate()

    assert_gone([process])
    assert loads(runner.runs(a_call("process")).result or b"") == worker


def test_a_runner_finds_the_dispatcher_that_its_scheduler_names(
    place: Callable[[int], Placed], client: Client
) -> None:
    runner, second = place(0), Listener()
    try:
        outcome = runner.runs(a_call("echo", 1))
        Variable(DISPATCHER, client=client).set({"epoch": 2, "addresses": [second.address]})

        runner.listener.close()

        assert soon(second.hellos).worker == runner.worker
        second.says(Leave())
        assert runner.future.result(timeout=10) == "told to leave"
        assert outcome.state == SUCCESS
    finally:
        second.close()
        Variable(DISPATCHER, client=client).delete()


def _workers(client: Client) -> set[str]:
    return set(client.scheduler_info(n_workers=-1)["workers"])


def _left(cluster: LocalCluster) -> tuple[Any, ...]:
    """What the scheduler knows of, runners aside."""
    scheduler = cluster.scheduler
    assert scheduler is not None
    keys = {key for key in scheduler.tasks if "runner" not in str(key)}
    names = set(scheduler.extensions["variables"].variables)
    return keys, names, set(scheduler.extensions["queues"].queues)
