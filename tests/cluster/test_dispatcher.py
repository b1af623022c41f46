"""What a dispatcher tells of itself, and how it keeps its times, by real processes."""

from __future__ import annotations

import time

import pytest
from distributed import Client, Variable

from dask_facade import DaskFacade, group
from dask_facade.exceptions import TaskRevokedError
from dask_facade.jobs import PAUSE, REVOKE
from dask_facade.states import PENDING
from tests.cluster import tasks
from tests.cluster.bare import left_of
from tests.cluster.processes import DispatcherProcess, python, wait_for

LATE = 0.5  # seconds that a call may be late on a loaded machine; on a quiet one it is a tenth


def test_the_lease_says_where_the_scheduler_is(
    app: DaskFacade, dispatcher: DispatcherProcess
) -> None:
    lease = app.store.lease()

    assert lease is not None
    assert lease.scheduler == dispatcher.scheduler


def test_the_scheduler_says_where_the_dispatcher_is(
    app: DaskFacade, dispatcher: DispatcherProcess
) -> None:
    lease = app.store.lease()

    with Client(dispatcher.scheduler, set_as_default=False) as client:
        notice = Variable("dask-facade:dispatcher", client=client).get(timeout=10)

    assert lease is not None
    assert notice["epoch"] == lease.epoch
    assert list(notice["addresses"]) == list(lease.addresses)


@pytest.mark.usefixtures("dispatcher")
def test_a_call_begins_when_it_is_due(app: DaskFacade) -> None:
    tasks.add.delay(1, 1).get(timeout=20)  # by now the task's module is imported

    result = tasks.add.apply_async((2, 2), countdown=1.2)
    result.get(timeout=20)
    (job,) = app.store.fetch([result.id]).values()

    assert job.eta is not None
    assert job.started is not None
    assert 0 <= (job.started - job.eta).total_seconds() < LATE


@pytest.mark.usefixtures("dispatcher")
def test_a_job_that_waits_is_revoked(app: DaskFacade) -> None:
    result = tasks.add.apply_async((2, 2), countdown=600)

    app.store.request(REVOKE, [result.id], {"terminate": False})

    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=20)


@pytest.mark.usefixtures("dispatcher")
def test_a_job_that_runs_is_terminated_and_its_worker_goes_on(app: DaskFacade) -> None:
    result = tasks.nap.delay(600)
    wait_for(lambda: app.store.fetch([result.id])[result.id].state != PENDING, "its claim")

    app.store.request(REVOKE, [result.id], {"terminate": True})

    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=20)
    assert [tasks.add.delay(each, 1).get(timeout=30) for each in range(4)] == [1, 2, 3, 4]


def pause(app: DaskFacade) -> None:
    """Pause the queue "paused"."""
    app.store.request(PAUSE, ["paused"], {})
    desk = app.store.open_desk()
    wait_for(lambda: "paused" in desk.paused(), "the pause")
    desk.close()


@pytest.mark.usefixtures("dispatcher")
def test_a_job_that_expires_is_revoked(app: DaskFacade) -> None:
    pause(app)
    over = time.time() + 0.2
    result = tasks.add.apply_async((2, 2), queue="paused", expires=0.2)
    wait_for(lambda: time.time() > over, "its time")

    app.control.resume_queue("paused")

    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=20)


@pytest.mark.usefixtures("dispatcher")
def test_a_paused_queue_waits_until_it_goes_on(app: DaskFacade) -> None:
    pause(app)

    result = tasks.add.apply_async((2, 2), queue="paused")
    tasks.add.delay(1, 1).get(timeout=20)
    between = result.state
    app.control.resume_queue("paused")

    assert between == PENDING
    assert result.get(timeout=20) == 4


def test_what_ended_is_deleted_when_somebody_asks_for_it(
    app: DaskFacade, dispatcher: DispatcherProcess, environment: dict[str, str]
) -> None:
    results = [tasks.add.delay(number, 1) for number in range(30)]
    assert [result.get(timeout=20) for result in results] == list(range(1, 31))

    done = python(
        "from django.core.management import call_command;"
        "call_command('dask_prune', '--older-than', '0s')",
        **environment,
    )

    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[0]) >= 30
    assert app.store.fetch([result.id for result in results]) == {}


def test_nothing_of_what_was_deleted_is_left_on_the_cluster(
    app: DaskFacade,
    dispatcher: DispatcherProcess,
    client: Client,
    environment: dict[str, str],
) -> None:
    kept, held = tasks.text_of.delay(2**18), tasks.add.delay(1, 2)
    said = group(tasks.add.s(number, 1) for number in range(3)).delay()
    assert len(kept.get(timeout=20)) == 2**18
    future = held.future()
    assert future.result(timeout=20) == 3
    some = said.as_completed()
    assert next(some).result(timeout=20) > 0  # the others stay in the queue
    assert said.get(timeout=20) == [1, 2, 3]
    ids = [kept.id, held.id, said.id, *(each.id for each in said)]
    assert left_of(client, ids)

    del future, some
    python(
        "from django.core.management import call_command;"
        "call_command('dask_prune', '--older-than', '0s')",
        **environment,
    )

    def left() -> list[str]:
        # Dask itself keeps the name under which a queue held futures.
        return [name for name in left_of(client, ids) if not name.startswith("queue-")]

    wait_for(lambda: left() == [], "the end of all that was kept")
    assert app.store.fetch(ids) == {}
