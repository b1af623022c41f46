"""Graphs that Dask runs become jobs that end: by a real cluster, and a ledger in memory."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import Client, Future, LocalCluster, Variable

from dask_facade import DaskFacade, current, graphs
from dask_facade.cluster.connection import close_all, connect
from dask_facade.cluster.futures import forget as forget_on_cluster
from dask_facade.cluster.neighbours import Neighbours
from dask_facade.dispatcher.adoption import Adoption
from dask_facade.exceptions import ClusterUnavailable, DecodeError, ResultLost, TaskRevokedError
from dask_facade.ledger.memory import MemoryStore
from dask_facade.ledger.store import calls_of
from dask_facade.messages import Call, Hand, Held, Kill, Message, Outcome, Report
from dask_facade.serialization import dump_reference, load_exception, loads
from dask_facade.states import FAILURE, REVOKED, SUCCESS
from dask_facade.verdicts import TERMINATED, revoked
from tests.cluster.processes import wait_for
from tests.unit.house import job

KIB = 1024


def double(x: Any) -> Any:
    return 2 * x


def fail(message: str) -> None:
    raise ValueError(message)


def nap(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def note(path: str) -> str:
    with Path(path).open("a") as runs:
        runs.write("ran\n")
    return "noted"


def step(_: object) -> None:
    time.sleep(0.2)


def lock() -> Any:
    return threading.Lock()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as cluster:
        yield cluster
        close_all()


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of somebody else, which is no default for anybody."""
    with Client(cluster, set_as_default=False) as client:
        yield client


@pytest.fixture
def store(cluster: LocalCluster) -> MemoryStore:
    """A ledger whose leader works with that cluster."""
    store = MemoryStore()
    desk = store.open_desk()
    lease = desk.lead("test", (), b"secret", None)
    assert lease is not None
    desk.announce(lease.epoch, cluster.scheduler_address)
    return store


@pytest.fixture
def app(store: MemoryStore) -> Iterator[DaskFacade]:
    before = current.app() if current.has_app() else None
    app = DaskFacade("tests", store=store)
    yield app
    app.client.close()
    if before is not None:
        current.set_app(before)


@pytest.fixture
def calls(app: DaskFacade, monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What the dispatcher is hinted at."""
    calls: list[Call] = []
    monkeypatch.setattr(
        app.client, "offer", lambda more: calls.extend(call._replace(hand=1) for call in more)
    )
    return calls


def end_of(
    cluster: LocalCluster,
    call: Call,
    *,
    grace: float = 5.0,
    then: Callable[[Adoption, Call], None] = lambda adoption, call: None,
) -> Outcome:
    """Let a dispatcher adopt a graph; return how it reports that it has ended."""

    async def adopt() -> Outcome:
        reported: asyncio.Queue[Message] = asyncio.Queue()
        client = await connect(cluster.scheduler_address, 10)
        adoption = Adoption(
            Neighbours(lambda: client),
            reported.put_nowait,
            inline_limit=64 * KIB,
            store_limit=1024 * KIB,
            adopt_grace=grace,
        )
        adoption.receive(Hand([call]))
        then(adoption, call)
        report = await asyncio.wait_for(reported.get(), 20)
        adoption.close()
        await client.close()
        assert isinstance(report, Report)
        (outcome,) = report.outcomes
        assert (outcome.id, outcome.attempt, outcome.hand) == (call.id, call.attempt, call.hand)
        return outcome

    return asyncio.run(adopt())


def future_of(client: Client, job_id: str) -> Future[Any]:
    """Return what any Dask client finds under the job's name."""
    return Variable(f"job:{job_id}", client=client).get(timeout=10)


def test_a_graph_ends_with_its_value(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    job_id = graphs.submit(app, dask.delayed(double)(21), name="twice", owner="7")

    outcome = end_of(cluster, calls[0])

    job = app.store.fetch([job_id])[job_id]
    assert (job.graph, job.task, job.owner) == (True, "twice", "7")
    assert (outcome.state, outcome.preview, outcome.key) == (SUCCESS, "42", "")
    assert outcome.result is not None
    assert loads(outcome.result) == 42
    assert future_of(client, job_id).result(timeout=10) == 42


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (lambda: [dask.delayed(double)(1), 5, dask.delayed(double)(2)], [2, 5, 4]),
        (lambda: {"a": dask.delayed(double)(1), "b": "plain"}, {"a": 2, "b": "plain"}),
    ],
)
def test_lists_and_dicts_of_graphs_are_one_job(
    app: DaskFacade, cluster: LocalCluster, calls: list[Call], make: Callable[[], Any], value: Any
) -> None:
    assert graphs.is_graph(make())

    graphs.submit(app, make())

    outcome = end_of(cluster, calls[0])
    assert outcome.result is not None
    assert loads(outcome.result) == value


def test_a_future_that_runs_already_is_followed_as_it_is(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    future = client.submit(nap, 1.0, key=("nap", 1), pure=False)

    job_id = graphs.submit(app, future)
    assert future_of(client, job_id).key == ("nap", 1)
    future.release()  # the job holds it

    assert end_of(cluster, calls[0]).preview == "1.0"


def test_an_exception_is_stored_with_the_users_frames(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    job_id = graphs.submit(app, dask.delayed(fail)("no good"))

    outcome = end_of(cluster, calls[0])

    assert (outcome.state, outcome.preview) == (FAILURE, "ValueError('no good')")
    assert outcome.result is not None
    assert isinstance(load_exception(outcome.result), ValueError)
    assert outcome.traceback is not None
    assert "raise ValueError(message)" in outcome.traceback
    assert "distributed/worker.py" not in outcome.traceback
    with pytest.raises(ValueError, match="no good"):
        future_of(client, job_id).result(timeout=10)


def test_what_cannot_be_stored_fails_with_the_reason(
    app: DaskFacade, cluster: LocalCluster, calls: list[Call]
) -> None:
    graphs.submit(app, dask.delayed(lock)())

    outcome = end_of(cluster, calls[0])

    assert outcome.state == FAILURE
    assert "a lock cannot be serialised" in outcome.preview


@pytest.mark.parametrize(("size", "stored"), [(100 * KIB, True), (2048 * KIB, False)])
def test_a_large_result_stays_on_the_cluster(
    app: DaskFacade,
    cluster: LocalCluster,
    client: Client,
    calls: list[Call],
    size: int,
    stored: bool,
) -> None:
    job_id = graphs.submit(app, dask.delayed(double)("x" * (size // 2)))

    outcome = end_of(cluster, calls[0])

    assert (outcome.state, outcome.result is not None) == (SUCCESS, stored)
    assert outcome.key
    assert outcome.size >= size
    assert future_of(client, job_id).result(timeout=10) == "x" * size


def test_a_finished_graph_never_runs_again(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call], tmp_path: Path
) -> None:
    job_id = graphs.submit(app, dask.delayed(note)(str(tmp_path / "runs")))
    end_of(cluster, calls[0])
    future = future_of(client, job_id)
    (holder,) = client.who_has(future)[future.key]

    os.kill(client.run(os.getpid, workers=[holder])[holder], signal.SIGKILL)

    wait_for(lambda: future_of(client, job_id).status == "lost", "the loss of its value")
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_a_graph_that_never_reaches_the_scheduler_is_lost(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    graphs.submit(app, dask.delayed(double)(1))
    gone = calls[0]._replace(id="gone", payload=calls[0].payload.replace(b"dask-facade", b"x"))

    outcome = end_of(cluster, gone, grace=0.2)

    assert outcome.state == FAILURE
    assert outcome.result is not None
    assert isinstance(load_exception(outcome.result), ResultLost)
    with pytest.raises(ResultLost, match="never heard of it"):
        future_of(client, "gone").result(timeout=10)


def test_a_cancelled_future_is_a_lost_result(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    future = client.submit(nap, 3.0, pure=False)
    graphs.submit(app, future)

    def cancel(adoption: Adoption, call: Call) -> None:
        asyncio.get_running_loop().call_later(0.5, lambda: client.cancel([future], force=True))

    outcome = end_of(cluster, calls[0], then=cancel)

    assert "has lost it" in outcome.preview


def test_a_killed_graph_is_revoked_and_let_go(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    chain = dask.delayed(step)(None)
    for _ in range(100):
        chain = dask.delayed(step)(chain)
    job_id = graphs.submit(app, chain)

    outcome = end_of(cluster, calls[0], then=lambda a, call: a.receive(Kill(call.id, call.hand)))

    assert outcome.state == REVOKED
    with pytest.raises(TaskRevokedError, match="terminated"):
        future_of(client, job_id).result(timeout=10)

    def left(dask_scheduler: Any) -> list[str]:
        return [key for key in map(str, dask_scheduler.tasks) if key.startswith("step-")]

    wait_for(lambda: client.run_on_scheduler(left) == [], "the end of its tasks", 10)


def test_a_new_leader_adopts_again_what_has_not_ended(
    app: DaskFacade, cluster: LocalCluster, calls: list[Call]
) -> None:
    graphs.submit(app, dask.delayed(double)(1))
    call = calls[0]._replace(hand=3)

    def adopt_again(adoption: Adoption, call: Call) -> None:
        assert adoption.held([call]) == [Held(call.id, call.attempt, 3, True)]

    assert end_of(cluster, call, then=adopt_again).preview == "2"


def test_a_lost_or_cancelled_future_is_refused_and_nothing_is_written(
    app: DaskFacade, client: Client, calls: list[Call]
) -> None:
    future = client.submit(nap, 0.1, pure=False)
    client.cancel([future])

    with pytest.raises(ResultLost, match="is cancelled: nothing is left to follow"):
        graphs.submit(app, future, task_id="cancelled")

    assert app.store.fetch(["cancelled"]) == {}


def test_without_a_dispatcher_a_graph_is_refused_and_nothing_is_written(app: DaskFacade) -> None:
    app = DaskFacade("other", store=MemoryStore(), set_as_current=False)

    with pytest.raises(ClusterUnavailable, match="no dispatcher is running"):
        graphs.submit(app, dask.delayed(double)(1), task_id="refused")

    assert app.store.fetch(["refused"]) == {}


def test_what_is_forgotten_leaves_nothing_on_the_scheduler(
    app: DaskFacade, cluster: LocalCluster, client: Client, calls: list[Call]
) -> None:
    ids = [graphs.submit(app, dask.delayed(double)(number)) for number in range(3)]
    for call in calls:
        end_of(cluster, call)

    async def forget() -> None:
        client = await connect(cluster.scheduler_address, 10)
        await forget_on_cluster(client, [*ids, "never named"])
        await client.close()

    asyncio.run(forget())

    def left(dask_scheduler: Any) -> list[str]:
        known = [
            *dask_scheduler.extensions["variables"].variables,
            *dask_scheduler.extensions["queues"].queues,
            *map(str, dask_scheduler.tasks),
            *dask_scheduler.clients,
        ]
        return [each for each in known if any(id in each for id in [*ids, "never named"])]

    wait_for(lambda: client.run_on_scheduler(left) == [], "the end of what was theirs")


def graph_call(key: str) -> Call:
    """Return a graph as it is handed out; *key* is what its submitter says."""
    payload = dump_reference("g", key, "", 0)
    return calls_of([job("g", graph=True)._replace(payload=payload)], 0.0, ())[0]


class Unreadable:
    """What no scheduler can read, as of a module that is not there."""

    def __reduce__(self) -> Any:
        return int, ("not there",)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Dask says that it was lost, too
def test_a_future_that_the_scheduler_could_not_read_is_refused_with_its_reason(
    app: DaskFacade, client: Client
) -> None:
    future = client.submit(double, Unreadable(), pure=False)

    with pytest.raises(ResultLost, match="never ran"):
        graphs.submit(app, future)


def test_a_key_that_no_dask_data_can_have_ends_its_graph_alone(cluster: LocalCluster) -> None:
    outcome = end_of(cluster, graph_call("('a', None)"))

    assert outcome.state == FAILURE
    assert isinstance(load_exception(outcome.result or b""), DecodeError)


def test_a_graph_ends_though_its_end_cannot_be_named() -> None:
    reported: list[Message] = []

    async def adopt() -> None:
        client: Any = object()  # as one that its loop has torn down: nothing works
        neighbours = Neighbours(lambda: client)
        adoption = Adoption(neighbours, reported.append, inline_limit=1, store_limit=1)
        with pytest.raises(AttributeError):
            await adoption._name_and_report(client, revoked(graph_call("'a'"), TERMINATED, 1.0))

    asyncio.run(adopt())

    (report,) = reported
    assert isinstance(report, Report)
    assert [outcome.state for outcome in report.outcomes] == [REVOKED]
