"""What a task is: where it takes what it says of its calls from, and what it knows of requests."""

from __future__ import annotations

import logging
import pickle
import threading

import pytest

from dask_facade import DaskFacade, Task, current, current_task, shared_task
from dask_facade.exceptions import CDeprecationWarning, Ignore, InvalidTaskError, NotRegistered
from dask_facade.ledger.memory import MemoryStore
from dask_facade.logs import TaskFormatter
from dask_facade.serialization import loads
from dask_facade.utils.log import get_task_logger


def an_app(**settings):
    return DaskFacade("other", store=MemoryStore(), set_as_current=False, **settings)


# The app and its settings


def test_a_task_belongs_to_the_app_that_made_it(app):
    other = an_app()

    @other.task(name="base.of_other")
    def of_other():
        pass

    @shared_task(name="base.of_any")
    def of_any():
        pass

    assert of_other.app is other
    assert app.tasks["base.of_any"].app is app
    assert Task.app is app
    current.set_app(other)  # the fixture sets it back
    assert app.tasks["base.of_any"].app is other


@pytest.mark.parametrize(
    ("attribute", "setting", "value"),
    [
        ("time_limit", "task_time_limit", 60),
        ("soft_time_limit", "task_soft_time_limit", 50),
        ("ignore_result", "task_ignore_result", True),
        ("acks_late", "task_acks_late", True),
        ("track_started", "task_track_started", True),
        ("priority", "task_default_priority", 7),
        ("serializer", "task_serializer", "json"),
    ],
)
def test_what_a_task_does_not_say_is_what_the_settings_say(app, attribute, setting, value):
    @app.task(name="base.unsaid")
    def unsaid():
        pass

    @app.task(name="base.said", **{attribute: 1})
    def said():
        pass

    app.conf[setting] = value

    assert getattr(unsaid, attribute) == value
    assert getattr(said, attribute) == 1


def test_a_class_may_take_settings_of_its_own(app):
    class Billed(Task):
        price = None
        from_config = (("price", "task_price"),)
        bound = []

        def on_bound(self, app):
            self.bound.append(app)

    app.conf.update(task_price=3)

    @app.task(name="base.billed", base=Billed)
    def billed():
        pass

    assert app.tasks["base.billed"].price == 3
    assert Billed.bound == [app]


class Doubling:
    """An annotation that is an object."""

    def annotate(self, task):
        return {"rate_limit": "2/s"} if task.name == "base.annotated" else None


def failing(self, exc, task_id, args, kwargs, einfo):
    self.heard = (type(self).__name__, str(exc))


def doubled(run):
    def run_twice(*args):
        return [run(*args), run(*args)]

    return run_twice


@pytest.mark.parametrize(
    ("annotations", "name", "value"),
    [
        ({"*": {"rate_limit": "1/s"}}, "rate_limit", "1/s"),
        ({"base.annotated": {"rate_limit": "3/s"}, "*": {"queue": "q"}}, "rate_limit", "3/s"),
        ({"base.another": {"rate_limit": "3/s"}}, "rate_limit", None),
        ([Doubling(), {"*": {"queue": "q"}}], "rate_limit", "2/s"),
        (f"{__name__}.Doubling", "rate_limit", "2/s"),
    ],
)
def test_settings_annotate_tasks(app, annotations, name, value):
    app.conf.task_annotations = annotations

    @app.task(name="base.annotated")
    def annotated():
        pass

    assert getattr(app.tasks["base.annotated"], name) == value


def test_an_annotation_may_be_a_method_or_be_put_around_one(app):
    app.conf.task_annotations = {"base.around": {"on_failure": failing, "@run": doubled}}

    @app.task(name="base.around")
    def around(x):
        return 1 / x

    assert around.apply((1,)).get() == [1.0, 1.0]
    around.apply((0,))
    assert around.heard == ("Task", "division by zero")


def test_the_tasks_of_an_app_are_of_its_class():
    class Own(Task):
        pass

    class OwnApp(DaskFacade):
        task_cls = Own

    for app in (an_app(task_cls=Own), OwnApp("own", store=MemoryStore(), set_as_current=False)):
        made = app.task(name="base.own")(lambda: None)
        assert isinstance(made, Own)
        assert isinstance(made, app.Task)
        assert app.create_task_cls() is Own
    assert isinstance(an_app(task_cls=f"{Task.__module__}:Task").task(lambda: 1), Task)


def test_an_app_may_leave_arguments_unchecked():
    app = an_app(strict_typing=False)

    @app.task(name="base.loose")
    def loose(x):
        pass

    loose.check_arguments((1, 2), {})
    loose.typing = True
    with pytest.raises(TypeError):
        loose.check_arguments((1, 2), {})


def test_where_a_broker_is_to_take_calls_means_nothing_here(app):
    with pytest.warns(CDeprecationWarning, match="The 'exchange' task attribute is deprecated"):
        app.task(name="base.exchanged", exchange="feeds")(lambda: None)


def test_a_filter_has_the_last_word(app):
    made = app.task(name="base.filtered", filter=lambda task: (task, "kept"), lazy=False)(len)

    assert made == (app.tasks["base.filtered"], "kept")


# The registry


def test_a_class_may_be_registered_and_forgotten(app):
    class Named(Task):
        name = "base.named"
        autoretry_for = (ValueError,)
        max_retries = 2
        default_retry_delay = 0

        def run(self):
            raise ValueError(self.request.retries)

    app.tasks.register(Named)

    with pytest.raises(ValueError, match="2"):
        app.tasks["base.named"].apply(throw=True)
    app.tasks.unregister("base.named")
    with pytest.raises(NotRegistered):
        app.tasks.unregister("base.named")


def test_a_class_without_a_name_is_no_task(app):
    with pytest.raises(InvalidTaskError, match=r"'Task' must specify \.name"):
        app.tasks.register(Task)


def test_a_task_is_pickled_as_its_name(app):
    @app.task(name="base.pickled")
    def pickled():
        return threading.Lock()  # no pickle has it

    assert pickle.loads(pickle.dumps(pickled)) is pickled


def test_a_task_must_have_a_body(app):
    class Empty(Task):
        name = "base.empty"

    with pytest.raises(NotImplementedError):
        Empty().run()


# Requests


def test_requests_are_of_the_task_that_they_were_pushed_for(app):
    inner = app.task(name="base.inner", bind=True)(lambda self: self.request.id)
    outer = app.task(name="base.outer", bind=True)(lambda self: self.request.id)

    outer.push_request(id="outer", called_directly=False)
    inner.push_request(id="inner", called_directly=False)

    assert (outer.request.id, inner.request.id) == ("outer", "inner")
    assert current_task == inner
    outer.pop_request()
    assert (outer.request.id, inner.request.id) == (None, "inner")
    assert [each.id for each in inner.request_stack.stack] == ["inner"]
    inner.pop_request()
    inner.pop_request()  # nothing is left to undo
    assert inner.request.id is None
    assert not current_task


def test_a_task_that_is_called_knows_its_arguments(app):
    @app.task(name="base.called", bind=True)
    def called(self, x, y=0):
        return self.request.args, self.request.kwargs, self.request.called_directly

    assert called(1, y=2) == ((1,), {"y": 2}, True)


def test_outside_of_any_job_a_task_keeps_what_it_is_told(app):
    task = app.task(name="base.told", bind=True)(lambda self: None)

    task.request.id = "mine"

    assert task.request.id == "mine"
    assert current.request().id is None


def test_records_of_a_task_logger_name_the_task(app):
    logger = get_task_logger("base_logs")
    formatter = TaskFormatter("%(task_name)s[%(task_id)s] %(message)s")
    record = logger.makeRecord("base_logs", logging.INFO, "", 1, "hello", (), None)
    task = app.task(name="base.logs", bind=True)(
        lambda self: formatter.format(logging.makeLogRecord(vars(record)))
    )

    assert logger.parent is logging.getLogger("celery.task")
    assert task.apply(task_id="mine").get() == "base.logs[mine] hello"
    assert formatter.format(record) == "???[???] hello"
    with pytest.raises(RuntimeError, match="reserved"):
        get_task_logger("celery.task")


# Submitting


def test_an_app_may_send_in_its_own_way():
    sent = []

    class Tenants(DaskFacade):
        def send_task(self, name, args=None, kwargs=None, **options):
            sent.append((name, args, options["priority"], options["shadow"]))
            headers = {"tenant": "a"}
            return super().send_task(name, args, kwargs, **{**options, "headers": headers})

    app = Tenants("tenants", store=MemoryStore(), set_as_current=False)

    @app.task(name="base.sent", priority=4, shadow_name=lambda task, *said: task.name.upper())
    def sent_task(x):
        pass

    result = sent_task.delay(1)

    assert sent == [("base.sent", (1,), 4, "BASE.SENT")]
    assert result.name == "base.sent"
    app.close()


@pytest.mark.parametrize(
    ("args", "kwargs"), [("text", {}), ([], "text"), ({1}, {})], ids=["text", "kwargs", "set"]
)
def test_arguments_are_a_list_and_a_dict(app, args, kwargs):
    task = app.task(name="base.loosely", typing=False)(lambda *args, **kwargs: None)

    with pytest.raises(TypeError, match="must be a"):
        task.apply_async(args, kwargs)


def test_a_soft_limit_beyond_the_hard_one_is_refused(app):
    task = app.task(name="base.limits", time_limit=1, soft_time_limit=2)(lambda: None)

    with pytest.raises(ValueError, match="soft_time_limit must be less than or equal"):
        task.delay()


def test_a_request_knows_what_its_caller_said_to_a_broker(app):
    @app.task(name="base.asked", bind=True)
    def asked(self):
        request = self.request
        return request.properties["app_id"], request.shadow, request.delivery_info["exchange"]

    result = asked.apply(app_id="12", shadow="it", exchange="feeds")

    assert result.get() == ("12", "it", "feeds")


@pytest.mark.parametrize(("inherits", "priority"), [(True, 5), (False, 0)])
def test_what_a_call_submits_may_have_its_priority(app, inherits, priority):
    app.conf.task_inherit_parent_priority = inherits
    task = app.task(name="base.child")(lambda: None)

    with current.running(current.Context(id="parent", delivery_info={"priority": 5})):
        (job,) = app.compile(task.s()).jobs
        (own,) = app.compile(task.s().set(priority=2)).jobs

    assert (job.priority, own.priority) == (priority, 2)


# Going on


def test_a_retry_that_is_not_thrown_is_made_all_the_same(app):
    @app.task(name="base.unthrown", bind=True)
    def unthrown(self):
        if self.request.retries < 2:
            self.retry(countdown=0, throw=False)
        return self.request.retries

    assert unthrown.apply().get() == 2


def test_a_class_may_say_how_a_request_becomes_a_signature(app):
    class Marked(Task):
        def signature_from_request(self, *args, **options):
            return super().signature_from_request(*args, **options).set(headers={"mark": "x"})

    @app.task(name="base.marked", base=Marked, bind=True)
    def marked(self):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return self.request.headers

    assert marked.apply().get() == {"mark": "x"}


def test_a_replacement_outside_of_any_job_is_submitted(app):
    seen = []

    class Watched(Task):
        def on_replace(self, sig):
            seen.append(sig.task)
            return super().on_replace(sig)

    other = app.task(name="base.other")(lambda: None)
    task = app.task(name="base.watched", bind=True, base=Watched)(
        lambda self: self.replace(other.si())
    )

    with pytest.raises(Ignore):
        task()

    assert seen == ["base.other"]


def test_a_request_becomes_the_options_of_its_job(app):
    task = app.task(name="base.again", bind=True)(lambda self: None)
    task.push_request(
        id="mine",
        headers={"own": 1, "x-death": [], "x-first-death-queue": "q"},
        delivery_info={"exchange": "feeds", "routing_key": "r", "priority": 3},
        shadow="it",
        timelimit=[30, 20],
    )

    options = task.subtask_from_request(queue=None, countdown=4).options
    task.pop_request()

    assert {name: value for name, value in options.items() if value} == {
        "task_id": "mine",
        "headers": {"own": 1},
        "exchange": "feeds",
        "routing_key": "r",
        "priority": 3,
        "shadow": "it",
        "time_limit": 30,
        "soft_time_limit": 20,
        "countdown": 4,
    }


def test_a_shadow_travels_with_the_call(app):
    task = app.task(name="base.shadowed")(lambda: None)

    (job,) = app.compile(task.s().set(shadow="it")).jobs

    assert loads(job.options)["shadow"] == "it"
