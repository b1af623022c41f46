"""Queues, variables, locks, events, semaphores and topics between jobs and who submits them.

And what a client of Dask does beside our dispatcher and its runners.
"""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask.bag
import pytest
from distributed import Client

from dask_facade import DaskFacade
from dask_facade.coordination import Event, Lock, Queue, Semaphore, Variable
from dask_facade.exceptions import ClusterUnavailable, WorkerLostError
from dask_facade.pubsub import Pub, Sub
from dask_facade.states import STARTED
from tests.cluster import dask_tasks as tasks
from tests.cluster import tasks as others
from tests.cluster.processes import DispatcherProcess, wait_for

pytestmark = [
    pytest.mark.parametrize("alias", ["default"], indirect=True, scope="module"),
    pytest.mark.usefixtures("address"),
]
SOON = 30.0
in_a_child_or_not = pytest.mark.parametrize(
    "options", [{}, {"time_limit": 60}], ids=["thread", "child"]
)


@pytest.fixture(scope="module")
def dispatcher(app: DaskFacade, environment: dict[str, str]) -> Iterator[DispatcherProcess]:
    """A cluster of one worker of one thread, for which all must take turns."""
    with DispatcherProcess(["--workers", "1"], **environment) as dispatcher:
        yield dispatcher


@pytest.mark.parametrize("way", ["by hand", "in context", "lazily"])
def test_tasks_launch_tasks_on_one_thread(way: str) -> None:
    assert tasks.fib.delay(way, 10).get(timeout=60) == 55


@in_a_child_or_not
def test_what_a_job_leaves_is_found_by_name(options: dict[str, Any]) -> None:
    name = f"found {options}"
    result = tasks.coordinate.apply_async((name,), **options)

    assert result.get(timeout=SOON) == "held"
    assert Queue(name).get(timeout=10) == 1
    assert Variable(name).get(timeout=10) == "set"
    assert Event(name).wait(10)
    assert not Lock(name).locked()
    assert Semaphore(2, f"{name} twice").acquire(10)


def test_a_lock_that_is_passed_is_held_by_one_at_a_time() -> None:
    lock = Lock("passed")
    with lock:
        held = tasks.hold.apply_async((lock, 0.0), time_limit=60)
        assert not held.ready()
        assert not Lock("passed").acquire(blocking=False)

    assert held.get(timeout=SOON)
    wait_for(lambda: not lock.locked(), "its release")


def test_a_semaphore_lets_as_many_in_as_it_says() -> None:
    one, two, three = (Semaphore(2, "two at a time") for _ in range(3))

    assert one.acquire(10)
    assert two.acquire(10)
    assert not three.acquire(0.2)
    one.release()
    assert three.acquire(10)


def test_a_queue_and_a_variable_hand_on_futures(client: Client) -> None:
    future = client.submit(tasks.inc, 1, pure=False)
    Queue("of futures", client=client).put(future)
    Variable("of a future", client=client).set(future)

    assert Queue("of futures").get(timeout=10).result(timeout=10) == 2
    assert Variable("of a future").get(timeout=10).result(timeout=10) == 2


# Topics


def test_what_a_job_publishes_is_heard() -> None:
    subscriber = Sub("words")
    messages = ["a", 1, [1, 2], {"list": [1]}, None]

    tasks.publish.delay("words", messages).get(timeout=SOON)

    assert [subscriber.get(timeout=10) for _ in messages] == messages
    for _ in range(3):
        with pytest.raises(TimeoutError):
            subscriber.get(timeout=0.05)
    assert len(subscriber._waiting) == 1  # who polls leaves nothing behind that grows


def test_messages_may_be_what_no_topic_could_carry() -> None:
    subscriber = Sub("things")
    result = tasks.publish_what_is_no_json.delay("things")

    message = subscriber.get(timeout=SOON)

    assert message["set"] == {1}
    assert message["future"].result(timeout=10) == 2
    Event("things was heard").set()
    result.get(timeout=SOON)


def test_all_subscribers_hear_a_message_and_later_ones_do_not() -> None:
    first, second = Sub("all of them"), Sub("all of them")
    Pub("all of them").put("early")
    late = Sub("all of them")

    second.close()
    Pub("all of them").put("later")

    assert [next(first), next(first)] == ["early", "later"]
    assert second.get(timeout=10) == "early"
    assert late.get(timeout=10) == "later"
    with pytest.raises(TimeoutError):
        second.get(timeout=0.05)


@pytest.mark.parametrize("task", [tasks.answer, tasks.answer_later], ids=["thread", "coroutine"])
def test_a_job_hears_what_is_published(task: Any) -> None:
    name = f"to {task.name}"
    result = task.delay(name)
    assert Event(f"{name} is heard").wait(20)

    for message in ["a", [1], None]:
        Pub(name).put(message)

    assert result.get(timeout=SOON) == ["a", [1]]


def test_a_subscriber_is_iterated_in_a_coroutine_and_may_be_given_up() -> None:
    subscriber = Sub("in a loop")

    async def heard() -> list[Any]:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscriber), 0.05)
        tasks.publish.delay("in a loop", [1, 2])
        return [await anext(subscriber), await anext(subscriber)]

    assert asyncio.run(heard()) == [1, 2]


def test_a_subscriber_that_could_not_greet_leaves_nothing_behind(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def subscribed() -> bool:
        topics = client.run_on_scheduler(_topics_of, client.id)
        assert isinstance(topics, list)
        return "cut off" in topics

    def cut_off(*event: Any) -> None:
        wait_for(subscribed, "the subscription")
        raise OSError("the line is gone")

    with monkeypatch.context() as patch:
        patch.setattr(client, "log_event", cut_off)
        with pytest.raises(ClusterUnavailable, match="the line is gone"):
            Sub("cut off", client=client)

    wait_for(lambda: not subscribed(), "its end")
    subscriber = Sub("cut off", client=client)
    Pub("cut off", client=client).put("heard")
    assert subscriber.get(timeout=10) == "heard"


def test_a_bare_client_of_dask_speaks_with_subscribers(client: Client) -> None:
    heard: list[Any] = []
    subscriber = Sub("plain")
    client.subscribe_topic("plain", lambda event: heard.append(event[1]))

    client.log_event("plain", "from a client")
    assert subscriber.get(timeout=10) == "from a client"

    def answered() -> bool:
        Pub("plain").put("to a client")
        return "to a client" in heard

    wait_for(answered, "a message for the client")


# What else a client does


def test_a_job_prints_and_warns_where_clients_are(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tasks.say_to_all.delay().get(timeout=SOON)
        wait_for(lambda: caught, "the warning")

    assert "warned by a job" in str(caught[0].message)
    assert "printed by a job" in capsys.readouterr().out


def test_files_that_a_client_uploads_are_there_for_jobs(client: Client, tmp_path: Path) -> None:
    module = tmp_path / "uploaded_by_a_client.py"
    module.write_text("def said(): return 'from the file'\n")

    client.upload_file(str(module))

    assert tasks.from_uploaded.delay().get(timeout=SOON) == "from the file"


def test_an_executor_of_dask_works_in_a_job_and_beside_it(client: Client) -> None:
    result = tasks.in_executor.delay([1, 2, 3])

    with client.get_executor(pure=False) as executor:
        assert executor.submit(tasks.inc, 1).result(timeout=SOON) == 2
    assert result.get(timeout=SOON) == [2, 3, 4]


def test_a_published_dataset_is_there_for_jobs(client: Client) -> None:
    bag = client.persist(dask.bag.range(10, npartitions=2))
    client.publish_dataset(bag, name="numbers")

    assert tasks.dataset.delay("numbers").get(timeout=SOON) == 45
    client.unpublish_dataset("numbers")


def test_work_that_was_begun_with_dask_becomes_a_job(app: DaskFacade, client: Client) -> None:
    future = client.submit(tasks.inc, 41, pure=False)

    result = app.compute(future, name="adopted")

    assert result.get(timeout=SOON) == 42
    assert result.name == "adopted"


def test_jobs_go_on_by_their_rules_when_a_client_restarts_the_cluster(
    client: Client, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    running = tasks.wait_at_least_once.delay(str(go))
    waiting = [others.echo.delay(number) for number in range(20)]
    wait_for(lambda: running.state == STARTED, "its start")

    client.restart(timeout=60)

    go.touch()
    assert running.get(timeout=60) == "seen"
    assert [each.get(timeout=60) for each in waiting] == list(range(20))

    once = tasks.wait_at_most_once.delay(str(tmp_path / "never"))
    wait_for(lambda: once.state == STARTED, "its start")
    client.restart(timeout=60)
    with pytest.raises(WorkerLostError):
        once.get(timeout=60)


def _topics_of(client_id: str, dask_scheduler: Any) -> list[str]:
    """Return what a client is subscribed to."""
    topics = dask_scheduler._broker._topics
    return [name for name, topic in topics.items() if client_id in topic.subscribers]
