"""Any job as a Dask future, for clients that know its name and never import dask_facade."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

import pytest
from distributed import Client, Variable

from dask_facade import AsyncResult, DaskFacade, group
from dask_facade.exceptions import JobNotFound, ResultLost, TaskRevokedError
from dask_facade.states import SUCCESS
from tests.cluster import future_tasks as tasks
from tests.cluster.bare import bare, left_of
from tests.cluster.processes import wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("address"),
]

MIB = 2**20


def read(id: str) -> str:
    """What a bare client runs to print what a job returned."""
    return f"print(Variable('job:{id}').get(timeout=10).result(timeout=20))"


def test_a_job_that_has_ended_becomes_a_future(address: str, tmp_path: Path) -> None:
    result = tasks.double.delay(21)
    result.get(timeout=20)

    future = result.future()

    assert future.result(timeout=20) == 42
    assert bare(address, read(result.id), tmp_path) == "42"
    assert result.future().key == future.key  # another call finds the same


def test_a_job_that_runs_becomes_a_future_that_ends_with_it(address: str, tmp_path: Path) -> None:
    result = tasks.wait_for_file.delay(str(tmp_path / "go"))

    future = result.future()

    said = bare(
        address,
        f"future = Variable('job:{result.id}').get(timeout=10)\n"
        "print(future.status)\n"
        f"open({str(tmp_path / 'go')!r}, 'w').close()\n"
        "print(future.result(timeout=20))",
        tmp_path,
    )
    assert said.split() == ["pending", "seen"]
    assert future.result(timeout=20) == "seen"


def test_a_job_that_waits_becomes_a_future_too(address: str, tmp_path: Path) -> None:
    result = tasks.double.apply_async((4,), countdown=2)

    result.future()

    assert bare(address, read(result.id), tmp_path) == "8"


def test_a_failure_is_a_future_with_the_tasks_own_exception(address: str, tmp_path: Path) -> None:
    result = tasks.fail.delay("no good")
    result.get(timeout=20, propagate=False)

    with pytest.raises(ValueError, match="no good"):
        result.future().result(timeout=20)

    caught = f"print(repr(Variable('job:{result.id}').get(timeout=10).exception(timeout=20)))"
    assert bare(address, caught, tmp_path) == "ValueError('no good')"


def test_a_revoked_job_is_a_future_that_says_so() -> None:
    result = tasks.double.apply_async((4,), countdown=60)
    future = result.future()

    result.revoke()

    with pytest.raises(TaskRevokedError, match="revoked"):
        future.result(timeout=20)


@pytest.mark.parametrize("size", [2 * MIB, 20 * MIB])
def test_a_large_result_is_named_without_anybody_asking(
    app: DaskFacade, address: str, client: Client, tmp_path: Path, size: int
) -> None:
    result = tasks.text_of.delay(size)
    wait_for(result.ready, "its end")

    said = bare(
        address, f"print(len(Variable('job:{result.id}').get(timeout=10).result()))", tmp_path
    )

    assert (result.state, said) == (SUCCESS, str(size))
    assert len(result.get(timeout=20)) == size
    assert len(result.future().result(timeout=20)) == size
    job = app.store.fetch([result.id])[result.id]
    assert job.key
    assert (job.result is None) == (size > 16 * MIB)


def test_a_result_that_only_the_cluster_had_is_lost_with_it(
    app: DaskFacade, client: Client
) -> None:
    result = tasks.text_of.delay(20 * MIB)
    wait_for(result.ready, "its end")

    kept = Variable(f"job:{result.id}", client=client).get(timeout=10)
    client.cancel([kept], force=True)
    name = Variable(f"job:{result.id}", client=client)
    wait_for(lambda: name.get(timeout=10).status == "lost", "the loss")

    with pytest.raises(ResultLost):
        AsyncResult(result.id, app=app).get(timeout=20)
    with pytest.raises(ResultLost):
        result.future()
    assert result.state == SUCCESS


def test_plain_dask_work_depends_on_a_job(client: Client, tmp_path: Path) -> None:
    result = tasks.wait_for_file.delay(str(tmp_path / "go"))
    result.future()
    future = Variable(f"job:{result.id}", client=client).get(timeout=10)

    longer = client.submit(lambda text: f"{text} twice", future)

    assert longer.status == "pending"
    (tmp_path / "go").touch()
    assert longer.result(timeout=20) == "seen twice"


def test_an_unknown_id_is_told_or_times_out(address: str, tmp_path: Path) -> None:
    with pytest.raises(JobNotFound, match="no job 'nobody': never submitted, or pruned"):
        AsyncResult("nobody").future()

    said = bare(
        address,
        "try:\n"
        "    Variable('job:nobody').get(timeout=0.5)\n"
        "except TimeoutError:\n"
        "    print('time is up')",
        tmp_path,
    )
    assert said == "time is up"


def test_what_is_forgotten_has_no_name_and_leaves_nothing(
    address: str, client: Client, tmp_path: Path
) -> None:
    results = [
        tasks.double.delay(1),
        tasks.fail.delay("no good"),
        tasks.text_of.delay(2 * MIB),
        tasks.count.delay(3),
    ]
    for result in results:
        result.get(timeout=20, propagate=False)
        result.future().release()
    assert list(results[3].said(timeout=20)) == [0, 1, 2]

    for result in results:
        result.forget()

    ids = [result.id for result in results]
    wait_for(lambda: left_of(client, ids) == [], f"the end of {left_of(client, ids)}")
    with pytest.raises(JobNotFound):
        results[0].future()
    said = bare(
        address,
        "try:\n"
        f"    print(Variable('job:{ids[0]}').get(timeout=0.5))\n"
        "except TimeoutError:\n"
        "    print('time is up')",
        tmp_path,
    )
    assert said == "time is up"


def test_a_groups_futures_come_as_they_end(address: str, client: Client, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    results = group(
        tasks.wait_for_file.s(str(slow)), tasks.double.s(1), tasks.fail.s("bad")
    ).delay()

    futures = results.as_completed()

    first = [next(futures), next(futures)]
    assert sorted(str(each.exception(timeout=20) or each.result()) for each in first) == [
        "2",
        "bad",
    ]
    slow.touch()
    assert [each.result(timeout=20) for each in futures] == ["seen"]
    wait_for(lambda: f"group:{results.id}" not in left_of(client, [results.id]), "the queue's end")


def test_a_bare_client_takes_a_groups_futures_from_its_queue(
    address: str, client: Client, tmp_path: Path
) -> None:
    results = group(tasks.double.s(number) for number in range(100)).delay()

    results.as_completed()

    said = bare(
        address,
        f"queue = Queue('group:{results.id}')\n"
        "print(sum(queue.get(timeout=20).result(timeout=20) for _ in range(100)))",
        tmp_path,
    )
    assert said == str(2 * sum(range(100)))
    wait_for(lambda: f"group:{results.id}" not in left_of(client, [results.id]), "the queue's end")


def test_who_takes_no_more_of_a_group_leaves_no_queue(client: Client, tmp_path: Path) -> None:
    results = group(tasks.double.s(1), tasks.wait_for_file.s(str(tmp_path / "go"))).delay()

    for future in results.as_completed():
        assert future.result(timeout=20) == 2
        break

    wait_for(lambda: f"group:{results.id}" not in left_of(client, [results.id]), "the queue's end")
    (tmp_path / "go").touch()


def test_nobody_follows_a_job_when_nobody_wants_to_know(client: Client) -> None:
    result = tasks.double.apply_async((4,), countdown=600)
    future = result.future()
    wait_for(lambda: followers(client) > 0, "a follower")

    future.release()
    Variable(f"job:{result.id}", client=client).set(None)

    wait_for(lambda: followers(client) == 0, "the follower's end")
    result.revoke()


def followers(client: Client) -> int:
    """Return how many lines of followers are dialled on the workers."""
    return sum(client.run(_lines).values())


def _lines() -> int:
    return sum(
        "_follow" in {frame.name for frame in traceback.extract_stack(stack)}
        for stack in sys._current_frames().values()
    )


def test_what_a_task_says_is_heard_until_it_ends(client: Client) -> None:
    result = tasks.count.delay(5)

    assert list(result.said(timeout=20)) == [0, 1, 2, 3, 4]

    assert result.get(timeout=20) == 5
    wait_for(lambda: left_of(client, [result.id]) == [], "the queue's end")


def test_a_bare_client_hears_what_a_task_says(address: str, tmp_path: Path) -> None:
    result = tasks.count.delay(3)

    heard = bare(
        address,
        f"queue = Queue('said:{result.id}')\nprint([queue.get(timeout=20) for _ in range(3)])",
        tmp_path,
    )

    assert heard == "[0, 1, 2]"
