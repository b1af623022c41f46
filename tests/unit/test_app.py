from __future__ import annotations

import importlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from dask_facade import Celery, DaskFacade, chain, chord, current, group
from dask_facade.canvas import Signature
from dask_facade.exceptions import DuplicateTaskId, PayloadTooLarge
from dask_facade.messages import Offer, Wait
from dask_facade.registry import tasks
from dask_facade.result import AsyncResult, GroupResult
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
    with current.running(current.Request(id="p", root_id="r")):
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
    assert all(each.parent == result.parent for each in result)


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
