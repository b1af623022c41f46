from __future__ import annotations

import asyncio
import importlib
import os
import socket
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from dask_facade import (
    Celery,
    DaskFacade,
    Task,
    chain,
    chord,
    current,
    current_app,
    group,
    signals,
)
from dask_facade.canvas import Signature
from dask_facade.exceptions import DuplicateTaskId, PayloadTooLarge, ResultLost
from dask_facade.jobs import REVOKE
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import Offer, Wait
from dask_facade.registry import tasks
from dask_facade.result import AsyncResult, GroupResult
from dask_facade.serialization import load_arguments, loads
from dask_facade.states import PENDING, SUCCESS
from tests.unit.listening import SECRET


def call(name, *args, **options):
    return Signature(name, args, {}, options)


A, B, C = (call(name) for name in "abc")


def test_the_app_has_celerys_name_too():
    assert Celery is DaskFacade


def test_a_submitted_job_is_in_the_ledger(app, store):
    result = app.send_task("shop.order", (1,), {"colour": "red"}, queue="q", priority=3)

    job = store.fetch([result.id])[result.id]
    assert isinstance(result, AsyncResult)
    assert (job.task, job.queue, job.priority) == ("shop.order", "q", 3)
    assert job.arguments == "1, colour='red'"
    assert (job.state, job.attempt, job.root_id, job.parent_id) == ("PENDING", 1, job.id, None)


@pytest.mark.parametrize("arguments", [(), ((),), (None, None), ([], {})])
def test_a_task_is_sent_by_its_name_without_arguments_too(app, store, arguments):
    result = app.send_task("a", *arguments)

    assert store.fetch([result.id])[result.id].arguments == ""


def test_settings_say_what_signature_and_task_do_not(app, store):
    app.conf.update(task_default_queue="slow", task_default_priority=7)
    app.config_from_object(SimpleNamespace(CELERY_TASK_IGNORE_RESULT=True), namespace="CELERY")
    assert app.namespace == "CELERY"

    result = app.send_task("a")

    job = store.fetch([result.id])[result.id]
    assert (job.queue, job.priority, job.ignore_result) == ("slow", 7, True)
    assert result.get() is None


def test_settings_may_be_given_to_the_app(no_thread_stays, store):
    app = DaskFacade("mine", store=store, set_as_current=False, task_default_queue="slow")

    result = app.send_task("a")
    app.client.close()

    assert store.fetch([result.id])[result.id].queue == "slow"


def test_an_id_is_used_once(app):
    app.send_task("a", task_id="mine")

    with pytest.raises(DuplicateTaskId, match="'mine'"):
        app.send_task("a", task_id="mine")


def test_a_plan_that_cannot_be_written_whole_is_not_written_at_all(app, store):
    app.send_task("a", task_id="mine")

    with pytest.raises(DuplicateTaskId):
        group(B, call("c", task_id="mine"), task_id="g").delay()

    assert store.group("g") == []


def test_arguments_above_16_mib_are_refused(app):
    with pytest.raises(PayloadTooLarge, match="pass a reference"):
        app.send_task("a", ("x" * (16 * 2**20),))


def test_what_a_job_submits_is_its_child(app, store):
    with current.running(current.Context(id="p", root_id="r")):
        result = app.send_task("a")

    job = store.fetch([result.id])[result.id]
    assert (job.parent_id, job.root_id) == ("p", "r")


# Result objects


def test_the_result_of_a_chain_leads_back_to_its_first_step(app, store):
    result = (A | B | C).delay()

    walked = [result, result.parent, result.parent.parent]
    jobs = store.fetch([each.id for each in walked])
    assert [jobs[each.id].task for each in walked] == ["c", "b", "a"]
    assert walked[-1].parent is None


def test_the_result_of_a_group_has_those_of_its_members_in_order(app, store):
    result = group(A, B, C, task_id="g").delay()

    assert isinstance(result, GroupResult)
    assert result.id == "g"
    jobs = store.fetch([each.id for each in result])
    assert [jobs[each.id].task for each in result] == ["a", "b", "c"]
    assert store.group("g") == [each.id for each in result]


def test_the_result_of_a_chord_has_that_of_its_header_as_parent(app, store):
    result = chord([A, B])(C)

    assert store.fetch([result.id])[result.id].task == "c"
    assert isinstance(result.parent, GroupResult)
    assert len(result.parent) == 2


def test_the_result_of_a_group_in_a_chain_has_a_parent(app, store):
    result = (A | group(B, C)).delay()

    assert store.fetch([result.parent.id])[result.parent.id].task == "a"
    assert all(each.parent is None for each in result)  # as Celery has it: that of the group


def test_a_member_that_ends_as_a_group_has_a_group_as_result(app):
    result = group(A | group(B, C), A).delay()

    assert [type(each) for each in result] == [GroupResult, AsyncResult]


def test_an_empty_group_gives_an_empty_list(app):
    result = group().delay()

    assert len(result) == 0
    assert result.get(timeout=0) == []
    assert result.ready()


def test_a_long_chain_can_be_submitted(app, store):
    result = chain(call("a", number) for number in range(5_000)).delay()

    steps = 0
    while result is not None:
        steps, result = steps + 1, result.parent
    assert steps == 5_000


def test_a_chain_of_many_groups_can_be_submitted(app):
    """Each group's members have all that is before them as parents: once, not once each."""
    made = A
    for _ in range(40):
        made = made | group(A, B, C) | A

    result = made.delay()

    first, *others = result.parent
    assert all(other.parent is first.parent for other in others)


def test_one_signature_submitted_twice_makes_two_jobs(app):
    made = chord([A, B], C)

    assert made.delay().id != made.delay().id


def test_arguments_and_options_of_the_call_are_added(app, store):
    result = call("a", 2).apply_async((1,), {"x": 3}, queue="q")

    job = store.fetch([result.id])[result.id]
    assert (job.arguments, job.queue) == ("1, 2, x=3", "q")


def test_the_apps_classes_of_results_read_through_it(app, store, no_thread_stays):
    members = group([A, B]).delay()
    other = DaskFacade("other", store=MemoryStore())

    again = app.GroupResult.restore(members.id)

    assert again == members
    assert again.app is again[0].app is app
    assert isinstance(app.GroupResult("g", [app.AsyncResult("x")]), GroupResult)
    assert app.GroupResult("g").app is app
    assert app.GroupResult.restore("nobody-knows-it") is None
    other.client.close()


def test_a_result_object_of_any_id(app):
    assert app.AsyncResult("x").state == "PENDING"


# Hints


@pytest.fixture
def told(app, store, listener):
    """What the dispatcher is told: connected, so that all comes in order."""
    assert store.open_desk().lead("tests", [listener.address], SECRET, None)
    app.client.watch(["first"])
    assert listener.hears() == Wait(["first"])

    def told():
        message = listener.hears()
        assert isinstance(message, Offer)
        return [call.task for call in message.calls]

    return told


def test_the_dispatcher_is_told_of_jobs_that_can_begin(told):
    (A | B | C).delay()
    assert told() == ["a"]

    group(A, B).delay()
    assert told() == ["a", "b"]

    chord([A, B], C).delay()
    assert told() == ["a", "b"]

    group(A | B, C).delay()
    assert told() == ["a", "c"]


def test_the_dispatcher_is_not_told_of_what_is_due_much_later(app, told):
    app.send_task("much later", countdown=60)
    app.send_task("soon", countdown=0.5)
    app.send_task("overdue", eta=datetime.now(UTC) - timedelta(days=1))

    assert [told(), told()] == [["soon"], ["overdue"]]


def test_the_dispatcher_is_told_nothing_of_what_was_refused(app, told):
    app.send_task("a", task_id="mine")
    assert told() == ["a"]

    with pytest.raises(DuplicateTaskId):
        app.send_task("a", task_id="mine")
    app.send_task("b")

    assert told() == ["b"]


# Discovery


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package of modules, given by their sources."""
    monkeypatch.syspath_prepend(tmp_path)

    def package(name, **modules):
        (tmp_path / name).mkdir(exist_ok=True)
        for module, source in {"__init__": "", **modules}.items():
            (tmp_path / name / f"{module}.py").write_text(source)
        importlib.invalidate_caches()
        return name

    return package


TASK = "from dask_facade import shared_task\n@shared_task\ndef {}(): pass\n"


def test_tasks_are_discovered_when_one_is_looked_for(app, package):
    app.autodiscover_tasks([package("found_one", tasks=TASK.format("one"))])
    app.autodiscover_tasks(
        lambda: [package("found_two", jobs=TASK.format("two"))], related_name="jobs"
    )

    assert tasks.known("found_one.tasks.one") is None
    assert "found_one.tasks.one" in app.tasks
    assert "found_two.jobs.two" in app.tasks


def test_a_package_without_tasks_is_passed_over(app, package, tmp_path):
    (tmp_path / "no_package.py").write_text("")

    app.autodiscover_tasks([package("without_tasks"), "no_package", "json.decoder"])

    app.tasks.discover()


def test_what_a_module_of_tasks_raises_is_not_passed_over(app, package):
    app.autodiscover_tasks([package("broken_tasks", tasks="import no_such_module_at_all")])

    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all"):
        app.tasks.discover()

    package("broken_tasks", tasks="")
    app.tasks.discover()


def test_without_packages_those_of_the_site_are_looked_through(app, package, monkeypatch):
    name = package("of_the_site", tasks=TASK.format("one"))
    monkeypatch.setattr(current, "_sites", [current.Site(None, None, lambda: [name])])

    app.autodiscover_tasks()

    assert "of_the_site.tasks.one" in app.tasks


# Options by settings


def test_routes_and_limits_of_the_settings_hold(app, store):
    app.conf.task_routes = {"shop.*": {"queue": "shop"}}

    result = app.send_task("shop.order")

    assert store.fetch([result.id])[result.id].queue == "shop"


def test_settings_that_change_hold_at_once(app, store):
    first = app.send_task("a")
    app.conf.task_default_queue = "later"
    second = app.send_task("a")

    jobs = store.fetch([first.id, second.id])
    assert [jobs[first.id].queue, jobs[second.id].queue] == ["celery", "later"]


def test_a_time_without_a_zone_is_read_in_the_zone_of_the_app(app, store):
    app.conf.timezone = "Europe/Berlin"

    result = app.send_task("a", eta=datetime(2030, 1, 1, 1))  # noqa: DTZ001

    assert store.fetch([result.id])[result.id].eta == datetime(2030, 1, 1, tzinfo=UTC)


# Results as arguments


def ready(store):
    """Return the calls that wait for nothing."""
    desk = store.open_desk()
    lease = desk.lead("tests", [], SECRET, None)
    return desk.take_up(lease.epoch, 0, 0, 10).ready


def test_the_result_of_a_call_that_ran_here_may_be_an_argument(app, store):
    """No row has its id: who waited for that would wait for ever."""
    known = app.task(name="known")(lambda: {"a": 1}).apply()

    app.send_task("taking", args=([known, object],))

    (call,) = ready(store)
    assert load_arguments(call.payload) == ([[{"a": 1}, object]], {})


def test_what_a_call_that_ran_here_has_raised_is_raised_where_it_is_an_argument(app, store):
    def fail():
        raise ZeroDivisionError

    failed = app.task(name="failing")(fail).apply()

    with pytest.raises(ZeroDivisionError):
        app.send_task("taking", args=(failed,))


def test_the_result_of_a_forgotten_job_is_no_argument(app, store):
    forgotten = app.send_task("early")
    ready(store)
    store.open_desk().revoke(store.lease().epoch, [forgotten.id], "revoked")
    forgotten.forget()

    with pytest.raises(ResultLost, match="forgotten"):
        app.send_task("taking", args=(forgotten,))


def test_a_result_may_be_an_argument(app, store):
    first = app.send_task("a")
    second = app.send_task("b", ([first],))

    assert [call.id for call in ready(store)] == [first.id]
    assert second.id in store.fetch([second.id])


# Classes with a mind of their own


class Tenant(Task):
    def apply_async(self, args=None, kwargs=None, *positional, **options):
        options["headers"] = {**(options.get("headers") or {}), "tenant": "t"}
        return super().apply_async(args, {**(kwargs or {}), "extra": 1}, *positional, **options)


class Once(Task):
    """Is submitted under one id, and not again while that is known."""

    def apply_async(self, args=None, kwargs=None, **options):
        known = AsyncResult("once")
        if known.app.store.fetch(["once"]):
            return known
        return super().apply_async(args, kwargs, **{**options, "task_id": "once"})


@pytest.fixture
def tenant(app):
    return app.task(name="app.tenant", base=Tenant)(lambda *args, **kwargs: None)


@pytest.mark.parametrize(
    "made",
    [
        lambda task: task.delay(1),
        lambda task: task.apply_async((1,)),
        lambda task: task.s(1).delay(),
        lambda task: task.s().apply_async((1,)),
        lambda task: group(task.s(1)).delay()[0],
        lambda task: (A | task.s(1)).delay(),
        lambda task: chord([A], task.s(1)).delay(),
    ],
    ids=["delay", "apply_async", "signature", "partial", "group", "chain", "chord"],
)
def test_a_class_may_change_every_call_of_its_tasks(app, store, tenant, made):
    result = made(tenant)

    assert store.fetch([result.id])[result.id].arguments == "1, extra=1"


def test_a_class_may_choose_the_id(app, store):
    once = app.task(name="app.once", base=Once)(lambda: None)

    assert [once.delay().id, once.delay().id, once.s().delay().id] == ["once"] * 3


# Publishing


@pytest.fixture
def receivers():
    """Connect to signals for the time of the test."""
    connected = []

    def connect(signal, receiver):
        signal.connect(receiver, weak=False)
        connected.append((signal, receiver))

    yield connect
    for signal, receiver in connected:
        signal.disconnect(receiver)


def test_submitting_is_signalled_before_and_after(app, store, receivers):
    told = []

    def before(sender, headers, routing_key, body, **named):
        told.append(("before", sender, routing_key, body[0], headers["id"]))
        assert not store.fetch([headers["id"]])

    def after(sender, headers, **named):
        told.append(("after", sender, headers["id"]))
        assert store.fetch([headers["id"]])

    receivers(signals.before_task_publish, before)
    receivers(signals.after_task_publish, after)
    result = app.send_task("a", (1,), queue="q")

    assert told == [("before", "a", "q", (1,), result.id), ("after", "a", result.id)]


def test_a_receiver_may_add_headers(app, store, receivers):
    def add(headers, **named):
        headers["trace"] = "t"

    receivers(signals.before_task_publish, add)
    app.send_task("a", headers={"own": 1})

    desk = store.open_desk()
    (call,) = desk.take_up(desk.lead("tests", [], SECRET, None).epoch, 0, 0, 10).ready
    assert loads(call.options)["headers"] == {"own": 1, "trace": "t"}


def test_a_call_tells_which_process_it_came_from(app, store):
    app.send_task("a")

    desk = store.open_desk()
    (call,) = desk.take_up(desk.lead("tests", [], SECRET, None).epoch, 0, 0, 10).ready
    assert loads(call.options) == {"origin": f"gen{os.getpid()}@{socket.gethostname()}"}


# Coroutines


def test_a_job_is_submitted_from_a_running_loop_in_a_thread_of_its_own(app, store, monkeypatch):
    threads = []
    submit = store.submit

    def noted(*args):
        threads.append(threading.current_thread())
        submit(*args)

    monkeypatch.setattr(store, "submit", noted)

    async def view():
        return [app.send_task("a"), group(A, B).delay(), await A.adelay(), await A.aapply_async()]

    results = asyncio.run(view())

    assert threading.main_thread() not in threads
    assert len(threads) == 4
    assert len(store.fetch([results[0].id, *(each.id for each in results[1]), results[2].id])) == 4


def test_a_task_has_asynchronous_forms(app, store):
    @app.task(name="app.asynchronous", base=Tenant)
    def asynchronous(*args, **kwargs):
        pass

    async def view():
        return [await asynchronous.adelay(1), await asynchronous.aapply_async((1,), queue="q")]

    first, second = asyncio.run(view())

    jobs = store.fetch([first.id, second.id])
    assert [jobs[first.id].arguments, jobs[second.id].queue] == ["1, extra=1", "q"]


def test_the_request_is_known_in_that_thread(app, store):
    async def view():
        with current.running(current.Context(id="p", root_id="r")):
            return [app.send_task("a"), await A.adelay()]

    for result in asyncio.run(view()):
        assert store.fetch([result.id])[result.id].parent_id == "p"


# on_commit


def test_a_job_may_be_submitted_on_commit(app, store, monkeypatch):
    waiting = []
    monkeypatch.setattr(store, "on_commit", waiting.append)
    task = app.task(name="app.on_commit")(lambda x: None)

    assert task.delay_on_commit(1) is None
    assert task.apply_async_on_commit((2,), task_id="mine") is None
    assert not store.fetch(["mine"])
    for each in waiting:
        each()

    assert store.fetch(["mine"])


# Asking


def test_revoking_asks_the_leader(app, store):
    app.control.revoke("one")
    app.control.revoke(["two", "three"], terminate=True, signal="SIGKILL")
    app.control.terminate("four")

    desk = store.open_desk()
    asked = desk.requests(desk.lead("tests", [], SECRET, None).epoch, 10)
    assert [(each.kind, each.name, each.arguments["terminate"]) for each in asked] == [
        (REVOKE, "one", False),
        (REVOKE, "two", True),
        (REVOKE, "three", True),
        (REVOKE, "four", True),
    ]


def test_the_backend_is_a_look_at_the_ledger(app):
    result = app.send_task("a")

    meta = app.backend.get_task_meta(result.id)
    assert (meta["status"], meta["result"], app.backend.get_state(result.id)) == (
        PENDING,
        None,
        PENDING,
    )


# As projects make one


def test_a_class_can_be_a_task(app, store):
    class Shout(app.Task):
        queue = "loud"

        def run(self, what):
            return what.upper()

    shout = app.register_task(Shout())
    again = app.register_task(type("Whisper", (Shout,), {"name": "app.whisper"}))

    assert (shout.name, again.name) == (f"{__name__}.Shout", "app.whisper")
    assert shout("hey") == "HEY"
    assert isinstance(shout, app.Task)
    result = shout.delay("hey")
    assert store.fetch([result.id])[result.id].queue == "loud"


def test_modules_to_include_are_imported_when_a_task_is_looked_for(store, package, no_thread_stays):
    package("included_tasks", one=TASK.format("first"), two=TASK.format("second"))

    app = DaskFacade(
        "proj",
        broker="redis://",
        backend="rpc://",
        include=["included_tasks.one"],
        store=store,
        set_as_current=False,
    )
    app.config_from_object(
        SimpleNamespace(CELERY_IMPORTS=("included_tasks.two",)), namespace="CELERY"
    )

    assert tasks.known("included_tasks.one.first") is None
    assert "included_tasks.one.first" in app.tasks
    assert "included_tasks.two.second" in app.tasks
    assert (app.conf.broker_url, app.conf.result_backend) == ("redis://", "rpc://")
    app.close()


def test_who_waits_for_the_app_to_be_ready_is_called_once(app):
    called = []

    @app.on_after_configure.connect
    def set_up(sender, **named):
        called.append("configure")
        sender.add_periodic_task(10.0, call("a", 1, queue="q"), name="each ten seconds")

    @app.on_after_finalize.connect
    def finish(sender, **named):
        called.append("finalize")

    app.finalize()
    app.finalize()

    assert called == ["configure", "finalize"]
    assert app.conf.beat_schedule["each ten seconds"] == {
        "schedule": 10.0,
        "task": "a",
        "args": (1,),
        "kwargs": {},
        "options": {"queue": "q"},
    }


def test_the_current_app_is_whichever_is_current(app):
    assert current_app.main == app.main
    assert current_app == app
    current_app.conf.task_default_queue = "mine"
    assert app.conf.task_default_queue == "mine"

    other = DaskFacade("other", store=app.store, set_as_current=False)
    other.set_default()
    assert current_app == other
    other.close()


PROJECT = """
import os

from dask_facade import Celery
from dask_facade.utils.log import get_task_logger

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

logger = get_task_logger(__name__)
app = Celery("proj")
app.config_from_object("proj_settings_like", namespace="CELERY")
app.autodiscover_tasks(["proj_celery_app"])
app.conf.beat_schedule = {"x": {"task": "proj.tasks.x", "schedule": 60.0}}


@app.task(bind=True, ignore_result=True)
def debug_task(self):
    print(f"Request: {self.request!r}")
"""


def test_an_ordinary_celery_py_runs(app, store, package, monkeypatch, capsys):
    monkeypatch.setitem(
        sys.modules, "proj_settings_like", SimpleNamespace(CELERY_TASK_DEFAULT_QUEUE="q")
    )
    package("proj_celery_app", celery=PROJECT)
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE", raising=False)

    made = importlib.import_module("proj_celery_app.celery")
    monkeypatch.setattr(made.app, "_store", store)
    result = made.debug_task.apply(task_id="mine")

    assert result.state == SUCCESS
    assert "'id': 'mine'" in capsys.readouterr().out
    assert made.app.conf.task_default_queue == "q"
    app.set_current()
