"""What workers are told and asked: from an app through a leader to runners, and back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from dask_facade import DaskFacade, current
from dask_facade.exceptions import DispatcherAway
from dask_facade.inspecting import DuplicateNodenameWarning, flatten_reply
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import Ask, Asked
from dask_facade.registry import tasks
from dask_facade.serialization import dumps
from dask_facade.states import PENDING, REVOKED, SUCCESS
from dask_facade.worker import state
from dask_facade.worker.commands import Panel, control_command, inspect_command
from dask_facade.worker.node import Node
from tests.unit.house import House, job, wait_for
from tests.unit.listening import DEADLINE
from tests.unit.workers import Worker, begin, reachable


@pytest.fixture
def house(no_thread_stays: None, store: MemoryStore) -> Iterator[House]:
    house = House(store)
    reachable(store, house)
    yield house
    house.close()


@pytest.fixture
def app(house: House, store: MemoryStore) -> Iterator[DaskFacade]:
    before = current.app() if current.has_app() else None
    app = DaskFacade("asking", store=store)
    yield app
    app.close()
    if before is not None:
        current.set_app(before)


@pytest.fixture
def worker(house: House) -> Iterator[Callable[..., Worker]]:
    made: list[Worker] = []

    def worker(name: str = "w@host", *queues: str) -> Worker:
        made.append(Worker(house, name, queues))
        return made[-1]

    yield worker
    for each in made:
        each.end()


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    known, commands = dict(tasks._tasks), dict(Panel.data)
    yield
    state.reset_state()
    tasks._tasks.clear()
    tasks._tasks.update(known)
    Panel.data.clear()
    Panel.data.update(commands)


# Celery's behaviour 29


def test_without_a_dispatcher_nobody_answers(no_thread_stays: None) -> None:
    app = DaskFacade("alone", store=MemoryStore(), set_as_current=False)

    assert app.control.ping(timeout=0.05) == []
    assert app.control.inspect(timeout=0.05).active() is None
    with pytest.raises(DispatcherAway):
        app.control.purge(timeout=0.05)
    app.close()


def test_without_workers_nobody_answers_and_nobody_waits(app: DaskFacade) -> None:
    began = time.monotonic()

    assert app.control.ping(timeout=DEADLINE) == []
    assert app.control.inspect(timeout=DEADLINE).active() is None
    assert app.control.inspect(timeout=DEADLINE).stats() is None
    assert time.monotonic() - began < DEADLINE


# What workers answer


def test_each_worker_answers_in_its_name(app: DaskFacade, worker: Callable[..., Worker]) -> None:
    worker("a@host")
    worker("b@host")
    heard: list[Any] = []

    replies = app.control.ping(timeout=DEADLINE, callback=heard.append)

    pong = {"ok": "pong"}
    assert sorted(replies, key=repr) == [{"a@host": pong}, {"b@host": pong}]
    assert heard == replies
    assert app.control.inspect(timeout=DEADLINE).ping() == {"a@host": pong, "b@host": pong}


@pytest.mark.parametrize(
    ("how", "found"),
    [
        ({"destination": ["b@host"]}, {"b@host"}),
        ({"pattern": "a@*"}, {"a@host"}),
        ({"pattern": "[ab]@h.*", "matcher": "pcre"}, {"a@host", "b@host"}),
        ({"pattern": "nobody", "matcher": "pcre"}, set()),
        ({"destination": ["nobody"]}, set()),
    ],
)
def test_some_workers_are_asked(
    app: DaskFacade, worker: Callable[..., Worker], how: dict[str, Any], found: set[str]
) -> None:
    worker("a@host")
    worker("b@host")

    replies = app.control.inspect(timeout=DEADLINE, **how).ping()

    assert set(replies or ()) == found


def test_of_one_destination_its_answer_alone_is_returned(
    app: DaskFacade, worker: Callable[..., Worker]
) -> None:
    worker("a@host")

    assert app.control.inspect(destination="a@host", timeout=DEADLINE).ping() == {"ok": "pong"}


def test_a_limit_of_replies_is_kept(app: DaskFacade, worker: Callable[..., Worker]) -> None:
    worker("a@host")
    worker("b@host")

    assert 1 <= len(app.control.broadcast("ping", reply=True, timeout=DEADLINE, limit=1)) <= 2


def test_two_workers_of_one_name_are_warned_of() -> None:
    with pytest.warns(DuplicateNodenameWarning, match="a@host"):
        assert flatten_reply([{"a@host": 1}, {"a@host": 2}]) == {"a@host": 2}


def test_tasks_and_settings_are_told(app: DaskFacade, worker: Callable[..., Worker]) -> None:
    worker()
    app.conf.update(broker_url="redis://me:secret@host/0", my_password="secret", answer=42)

    @app.task(name="shop.told", rate_limit="5/m")
    def told() -> None: ...

    inspect = app.control.inspect(timeout=DEADLINE)
    registered, rated = inspect.registered()["w@host"], inspect.registered("name")["w@host"]
    conf = inspect.conf()["w@host"]

    assert "shop.told [rate_limit=5/m]" in registered
    assert "shop.told [name=shop.told]" in rated
    assert not [each for each in registered if each.startswith("celery.")]
    assert (conf["answer"], conf["my_password"]) == (42, "********")
    assert conf["broker_url"] == "redis://me:********@host/0"
    assert "task_acks_late" in inspect.conf(with_defaults=True)["w@host"]


def test_figures_are_told(app: DaskFacade, worker: Callable[..., Worker], house: House) -> None:
    one = worker()
    begin(house, one, "a")
    inspect = app.control.inspect(timeout=DEADLINE)

    stats = inspect.stats()["w@host"]

    assert stats["total"] == {"task": 1}
    assert stats["pid"] == os.getpid()
    assert stats["pool"]["max-concurrency"] == len(stats["pool"]["processes"]) == 1
    assert stats["uptime"] > 0
    first, second = (inspect.clock()["w@host"]["clock"] for _ in range(2))
    assert 0 < first < second
    assert "dask_facade" in inspect.report()["w@host"]["ok"]
    assert inspect.memsample()["w@host"].endswith("MB")


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("objgraph", {}),
        ("memdump", {}),
        ("time_limit", {"task_name": "task", "soft": 1, "hard": 2}),
        ("pool_grow", {"n": 2}),
        ("pool_shrink", {"n": 2}),
        ("autoscale", {"max": 2, "min": 1}),
        ("pool_restart", {}),
        ("cancel_consumer", {"queue": "mail"}),
        ("nonsense", {}),
        ("rate_limit", {"task_name": "task", "rate_limit": "often"}),
    ],
)
def test_what_cannot_be_is_refused_with_a_reason(
    app: DaskFacade, worker: Callable[..., Worker], command: str, arguments: dict[str, Any]
) -> None:
    worker()

    (reply,) = app.control.broadcast(command, arguments, reply=True, timeout=DEADLINE)

    assert len(reply["w@host"]["error"]) > 10


@pytest.mark.parametrize("name", ["enable_events", "disable_events", "heartbeat"])
def test_what_means_nothing_here_is_accepted(
    app: DaskFacade, worker: Callable[..., Worker], name: str
) -> None:
    worker()

    assert "ok" in flatten_reply(getattr(app.control, name)(reply=True))["w@host"]
    assert getattr(app.control, name)() is None


def test_commands_of_a_projects_own_are_done(
    app: DaskFacade, worker: Callable[..., Worker]
) -> None:
    worker()
    seen: list[Any] = []

    @control_command(args=[("value", int)])
    def note(state: Any, value: int) -> dict[str, Any]:
        seen.append((state.hostname, value))
        return {"noted": {value}}

    @inspect_command(alias="broken_too")
    def broken(state: Any) -> None:
        raise ValueError("on purpose")

    assert app.control.broadcast("note", {"value": 5}, reply=True, timeout=DEADLINE) == [
        {"w@host": {"noted": [5]}}
    ]
    (reply,) = app.control.broadcast("broken_too", reply=True, timeout=DEADLINE)
    assert "on purpose" in reply["w@host"]["error"]
    assert seen == [("w@host", 5)]


# Where calls are


def info(id: str, began: Any, **other: Any) -> Mapping[str, Any]:
    return {
        "id": id,
        "name": "task",
        "type": "task",
        "args": [],
        "kwargs": {},
        "hostname": "w@host",
        "time_start": began,
        "acknowledged": began is not None,
        "delivery_info": {
            "exchange": "",
            "routing_key": "celery",
            "priority": 0,
            "redelivered": False,
        },
        "worker_pid": None if began is None else os.getpid(),
        **other,
    }


def test_running_calls_are_active(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    inspect = app.control.inspect(timeout=DEADLINE)
    assert inspect.active() == {"w@host": []}

    begin(house, one, "a")
    ((told,),) = inspect.active().values()
    (within,) = state.active_requests
    one.release("a")

    assert told == info("a", told["time_start"])
    assert abs(time.time() - told["time_start"]) < DEADLINE
    assert within.info() == {**told, "time_start": within.time_start}
    wait_for(lambda: inspect.active() == {"w@host": []}, "the end")
    wait_for(lambda: "a" in state.successful_requests, "its success in the process")
    assert house.row("a").state == SUCCESS
    assert state.total_count["task"] == 1


@pytest.mark.parametrize(
    ("said", "callbacks", "errbacks"),
    [
        ({}, None, None),
        ({"link": [{"task": "then"}]}, [{"task": "then"}], None),
        ({"link_error": [{"task": "otherwise"}]}, None, [{"task": "otherwise"}]),
    ],
)
def test_a_running_call_knows_what_is_linked_to_it(
    worker: Callable[..., Worker],
    house: House,
    said: Mapping[str, Any],
    callbacks: Any,
    errbacks: Any,
) -> None:
    one = worker()
    house.client().offers(house.submit(job("a")._replace(options=dumps(said))))
    wait_for(lambda: "a" in one.released, "its beginning")

    (request,) = state.active_requests

    assert (request.callbacks, request.errbacks) == (callbacks, errbacks)


def test_arguments_that_json_cannot_say_are_told_as_text(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    made = job("a")._replace(payload=dumps([[{1}], {}]), preview="{1}")
    one = worker()
    house.client().offers(house.submit(made))
    wait_for(lambda: "a" in one.released, "its beginning")

    ((told,),) = app.control.inspect(timeout=DEADLINE).active().values()

    assert (told["args"], told["kwargs"]) == ("{1}", {})


def test_calls_in_hand_are_reserved(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    begin(house, one, "a")
    one.release("a")
    wait_for(lambda: house.row("a").state == SUCCESS, "the end of a measured call")

    calls = house.submit(job("b"), job("c"))
    house.client().offers(calls)
    wait_for(lambda: "b" in one.released, "the beginning of the first")
    inspect = app.control.inspect(timeout=DEADLINE)

    # What waits too long behind another is recalled, so this is so for a moment only.
    assert set(inspect.reserved()) == {"w@host"}
    told = inspect.query_task("b", "nobody")
    assert told == {"w@host": {"b": ["active", told["w@host"]["b"][1]]}}
    assert inspect.query_task(["nobody"]) == {"w@host": {}}


@pytest.mark.parametrize("ahead", [1.5, 30.0, 86_400.0])
def test_calls_that_wait_for_their_time_are_scheduled(
    app: DaskFacade, worker: Callable[..., Worker], house: House, ahead: float
) -> None:
    worker("other@host", "mail")
    worker()
    due = time.time() + ahead
    house.client().offers(house.submit(job("a", due=due)))
    inspect = app.control.inspect(timeout=DEADLINE)

    told = inspect.scheduled()

    assert told["other@host"] == []
    (entry,) = told["w@host"]
    assert entry["request"] == info("a", None)
    assert entry["priority"] == 6
    assert entry["eta"].endswith("+00:00")
    assert inspect.query_task("a")["w@host"]["a"] == ["scheduled", info("a", None)]


def test_calls_for_the_workers_of_a_pool_are_scheduled_there_alone(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    worker("z@host", "own:pool:1")
    worker()
    call = job("a", due=time.time() + 30.0, queue="own:pool:1")
    house.client().offers(house.submit(call))

    told = app.control.inspect(timeout=DEADLINE).scheduled()

    assert {node: len(calls) for node, calls in told.items()} == {"w@host": 0, "z@host": 1}


# Revoking


def test_revoked_ids_are_told(app: DaskFacade, worker: Callable[..., Worker], house: House) -> None:
    one = worker()
    begin(house, one, "busy")
    house.client().offers(house.submit(job("a"), job("b")))

    app.control.revoke("a")
    told = app.control.inspect(timeout=DEADLINE).revoked()
    (reply,) = app.control.revoke(["b"], reply=True, timeout=DEADLINE)

    assert told == {"w@host": ["a"]}
    assert reply == {"w@host": {"ok": "tasks {'b'} flagged as revoked"}}
    assert [house.row(id).state for id in ("a", "b")] == [REVOKED, REVOKED]


def test_a_running_call_is_terminated(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    begin(house, one, "a")

    (reply,) = app.control.terminate("a", reply=True, timeout=DEADLINE)

    assert "terminate" in reply["w@host"]["ok"]
    house.wait_for_state("a", REVOKED)


STAMPED = dumps({"stamped_headers": ["of"], "stamps": {"of": ["me", "you"]}})


def test_calls_with_a_revoked_stamp_do_not_begin(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    begin(house, one, "busy")
    before = job("before")._replace(options=STAMPED)
    house.client().offers(house.submit(before))

    replies = app.control.revoke_by_stamped_headers({"of": "me"}, reply=True, timeout=DEADLINE)
    after, other = job("after")._replace(options=STAMPED), job("other")
    house.client().offers(house.submit(after, other))

    words = "headers {'of': 'me'} flagged as revoked, but not terminated"
    assert replies == [{"w@host": {"ok": words}}]
    house.wait_for_state("before", REVOKED)
    house.wait_for_state("after", REVOKED)
    assert house.row("other").state == PENDING
    one.release("busy")


def test_running_calls_with_a_stamp_are_terminated(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    house.client().offers(house.submit(job("a")._replace(options=STAMPED)))
    wait_for(lambda: "a" in one.released, "its beginning")

    app.control.revoke_by_stamped_headers({"of": ["nobody"]}, terminate=True)
    running = house.row("a").state
    app.control.revoke_by_stamped_headers({"of": ["you"]}, terminate=True)

    assert running != REVOKED
    house.wait_for_state("a", REVOKED)


def test_purge_ends_what_waits_and_tells_how_much(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    begin(house, one, "busy")
    house.client().offers(house.submit(job("a"), job("b"), job("c", due=time.time() + 60)))

    assert app.control.purge(connection=object()) == 3
    assert app.control.discard_all() == 0
    assert [house.row(id).state for id in "abc"] == [REVOKED] * 3
    assert house.row("busy").state != REVOKED


def test_purge_may_be_of_some_queues_alone(app: DaskFacade, house: House) -> None:
    house.submit(job("a", queue="mail"), job("b", queue="slow"), job("c"))

    assert app.control.purge(queues=["mail", "slow"]) == 2
    assert app.control.purge(queues=()) == 0
    assert house.row("c").state != REVOKED


def test_purge_needs_no_worker(app: DaskFacade, house: House) -> None:
    house.submit(job("a"))

    assert app.control.purge() == 1


# Queues, limits and the end


def test_queues_are_told_and_changed(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    worker("mail@host", "mail")
    worker("all@host")
    control = app.control

    def served() -> dict[str, list[str]]:
        told = control.inspect(timeout=DEADLINE).active_queues()
        return {node: [queue["name"] for queue in queues] for node, queues in told.items()}

    before = served()
    control.add_consumer("gpu", reply=True)
    added = served()
    control.cancel_consumer("mail", destination=["mail@host"], reply=True)

    assert before == {"mail@host": ["mail"], "all@host": ["celery"]}
    assert added == {"mail@host": ["gpu", "mail"], "all@host": ["celery"]}
    assert served()["mail@host"] == ["gpu"]
    (last,) = control.cancel_consumer("gpu", destination=["mail@host"], reply=True)
    assert "shut it down" in last["mail@host"]["error"]


def test_a_rate_limit_holds_at_once_and_for_new_leaders(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()

    @app.task(name="task")
    def limited() -> None: ...

    (reply,) = app.control.rate_limit("task", "1/h", reply=True, timeout=DEADLINE)
    begin(house, one, "a")
    house.client().offers(house.submit(job("b")))
    one.release("a")
    house.wait_for_state("a", SUCCESS)

    assert reply == {"w@host": {"ok": "new rate limit set successfully"}}
    assert [tuple(each) for each in one.node.rates()] == [("task", 1 / 3600)]
    assert "b" not in one.released
    app.control.rate_limit("task", None)
    wait_for(lambda: "b" in one.released, "its beginning")


def test_the_default_limit_goes_for_tasks_that_do_not_say_one(app: DaskFacade) -> None:
    app.conf.task_default_rate_limit = "2/s"

    @app.task(name="of default")
    def default() -> None: ...

    @app.task(name="of its own", rate_limit=0)
    def own() -> None: ...

    rates = dict(map(tuple, Node("w@host").rates()))  # type: ignore[arg-type]

    assert rates["of default"] == 2.0
    assert "of its own" not in rates


def test_a_worker_is_shut_down_once_its_calls_have_ended(
    app: DaskFacade, worker: Callable[..., Worker], house: House
) -> None:
    one = worker()
    begin(house, one, "a")

    (reply,) = app.control.shutdown(reply=True, timeout=DEADLINE)
    running = list(one.closed)
    one.release("a")
    wait_for(lambda: one.closed, "its end")

    assert "ok" in reply["w@host"]
    assert running == []
    assert one.closed == [False]
    assert house.row("a").state == SUCCESS


@pytest.mark.parametrize("command", ["query_task", "revoke", "revoke_by_stamped_headers", "purge"])
@pytest.mark.parametrize("odd", [5, [5, [6]], {"a": 1}, "a"])
def test_a_question_that_makes_no_sense_ends_no_leadership(
    house: House, worker: Callable[..., Worker], command: str, odd: object
) -> None:
    worker()
    client = house.client()
    said = dict.fromkeys(["ids", "task_id", "headers", "queues"], odd) | {"terminate": True}

    client.says(Ask(1, command, json.dumps(said).encode(), [], ""))

    assert client.hears(Asked).number == 1
    assert house.failures == []
