"""What a task can do within the job that runs it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from dask_facade import chain, current, current_task, group, signals
from dask_facade.exceptions import MaxRetriesExceededError, Replaced, Retry
from dask_facade.messages import NewJob, Shape
from dask_facade.packing import unpack_jobs
from dask_facade.serialization import load_arguments, loads
from dask_facade.states import STARTED


class Trouble(Exception):
    pass


class Channel:
    """What a call says, instead of the line of a runner."""

    def __init__(self):
        self.emitted, self.spawned, self.updates = [], [], []

    def spawn(self, jobs, edges):
        self.spawned.append((list(jobs), list(edges)))
        return 1.0

    def update(self, state, meta, preview):
        self.updates.append((state, loads(meta), preview))

    def is_aborted(self) -> bool:
        return False

    def emit(self, value):
        self.emitted.append(value)


@pytest.fixture
def channel():
    return Channel()


@pytest.fixture
def running(channel):
    """Be within a job; keyword arguments are those of its request."""

    def running(**said):
        values = {
            "id": "mine",
            "task": "running.tried",
            "args": [1],
            "kwargs": {"y": 2},
            "root_id": "root",
            "called_directly": False,
            "delivery_info": {"exchange": "", "routing_key": "q", "priority": 5},
            "channel": channel,
            **said,
        }
        return current.running(current.Context(**values))

    return running


@pytest.fixture
def tried(app):
    @app.task(name="running.tried", bind=True, max_retries=3, default_retry_delay=100)
    def tried(self, x, y=0, *args, **kwargs):
        pass

    return tried


def again_of(function, *args, **kwargs):
    with pytest.raises((Retry, Replaced)) as caught:
        function(*args, **kwargs)
    return caught.value.again


# retry


def test_a_retry_with_the_same_arguments_changes_nothing_but_its_count(tried, running):
    with running(retries=1, options={"retries": 1, "headers": {"x": 1}}):
        again = again_of(tried.retry)

    assert (again.becomes, again.jobs, again.edges) == ([], [], [])
    assert loads(again.options) == {"retries": 2, "headers": {"x": 1}}
    assert again.delay == pytest.approx(100, abs=1)


def test_a_retry_with_the_same_arguments_does_not_store_them_again(tried, running):
    with running(args=[(each for each in ())]):
        assert again_of(tried.retry).becomes == []


def test_a_retry_is_no_redelivery(tried, running):
    """What was handed out anew before does not count for the attempts after it."""
    options = {"headers": {"a": 1}, "requeued": True, "deaths": 1}

    with running(options=options):
        again = again_of(tried.retry)

    assert loads(again.options) == {"headers": {"a": 1}, "retries": 1}


@pytest.mark.parametrize(("state", "said"), [(5, "5"), ("\ud800", "\\ud800"), (None, STARTED)])
def test_whatever_a_state_is_called_it_can_be_told(tried, running, channel, state, said):
    with running():
        tried.update_state(state=state)

    assert channel.updates == [(said, None, "None")]


@pytest.mark.parametrize("countdown", [5, 0, 0.5])
def test_a_retry_waits_as_long_as_it_is_told(tried, running, countdown):
    with running():
        delay = again_of(tried.retry, countdown=countdown).delay

    assert delay == pytest.approx(countdown, abs=1)


@pytest.mark.parametrize(("ahead", "delay"), [(50, 50), (-86_400, 0)])
def test_a_retry_may_have_an_eta(tried, running, ahead, delay):
    with running():
        again = again_of(tried.retry, eta=datetime.now(UTC) + timedelta(seconds=ahead))

    assert again.delay == pytest.approx(delay, abs=5)


def test_a_retry_says_why_and_when_as_celerys_does(tried, running):
    with running(), pytest.raises(Retry) as caught:
        tried.retry(exc=Trouble("slow"), countdown=5)

    assert str(caught.value) == "Retry in 5s: Trouble('slow')"
    assert (caught.value.when, caught.value.sig.args) == (5, (1,))


@pytest.mark.parametrize(
    ("said", "args", "kwargs"),
    [
        ({"args": (7,)}, [7], {"y": 2}),
        ({"args": (7, 8)}, [7, 8], {}),  # what was said by name is said by place now
        ({"kwargs": {"y": 9}}, [1], {"y": 9}),
        ({"kwargs": {"x": 7}}, [7], {}),  # and the other way round
        ({"args": (7,), "kwargs": {}}, [7], {}),
        ({"args": (), "kwargs": {"x": 1}}, [], {"x": 1}),
    ],
)
def test_a_retry_may_have_other_arguments(tried, running, said, args, kwargs):
    with running():
        (job,) = again_of(tried.retry, **said).becomes

    assert load_arguments(job.payload) == (args, kwargs)
    assert (job.id, job.task, job.queue, job.priority) == ("mine", "running.tried", "q", 5)
    assert job.shape == Shape.NOTHING


def test_a_retry_may_have_other_options(tried, running):
    with running():
        (job,) = again_of(tried.retry, queue="slow", priority=1, expires=60).becomes

    assert (job.queue, job.priority) == ("slow", 1)
    assert job.expires == pytest.approx(time.time() + 60, abs=5)
    assert loads(job.options)["retries"] == 1


def test_a_changed_retry_keeps_limits_headers_place_and_error_callbacks(tried, running):
    errback = {"task": "e", "args": [], "kwargs": {}, "options": {"task_id": "its-id"}}
    with running(
        timelimit=(20, 10), headers={"x": 1}, group_index=2, chord="body", errbacks=[errback]
    ):
        (job,) = again_of(tried.retry, args=(2,)).becomes

    told = loads(job.options)
    assert (told["time_limit"], told["soft_time_limit"]) == (20, 10)
    assert (told["headers"], told["group_index"], told["chord"]) == ({"x": 1}, 2, "body")
    assert [each.id for each in unpack_jobs(job.errbacks)] == ["its-id"]


def test_a_retry_may_link_something_new(tried, running):
    with running():
        again = again_of(tried.retry, link=tried.s())

    (linked,) = again.jobs
    (edge,) = again.edges
    assert (edge.parent_id, edge.child_id) == ("mine", linked.id)


@pytest.mark.parametrize(
    ("retries", "said", "error"),
    [
        (3, {}, MaxRetriesExceededError),
        (3, {"exc": Trouble("no")}, Trouble),
        (0, {"max_retries": 0}, MaxRetriesExceededError),
        (3, {"max_retries": 4}, Retry),
        (2, {}, Retry),
    ],
)
def test_retries_are_used_up(tried, running, retries, said, error):
    with running(retries=retries), pytest.raises(error):
        tried.retry(**said)


def test_a_bare_retry_within_except_raises_max_retries_exceeded(tried, running):
    def handle():
        try:
            raise Trouble
        except Trouble:
            tried.retry()

    with running(retries=3), pytest.raises(MaxRetriesExceededError):
        handle()


def test_a_task_may_be_retried_for_ever(app, running):
    @app.task(name="running.for_ever", bind=True, max_retries=None)
    def for_ever(self):
        pass

    with running(retries=1_000_000, args=(), kwargs={}), pytest.raises(Retry):
        for_ever.retry()


def test_without_throw_the_retry_is_returned(tried, running):
    with running():
        retry = tried.retry(throw=False)

    assert retry.again.options


def test_arguments_that_the_function_does_not_take_are_a_type_error(app, running):
    @app.task(name="running.strict", bind=True)
    def strict(self, x):
        pass

    with (
        running(task="running.strict", kwargs={}),
        pytest.raises(TypeError, match=r"strict\(x\)"),
    ):
        strict.retry(args=(1, 2))


# autoretry_for


def test_waits_of_autoretry_double(app, running):
    @app.task(
        name="running.auto",
        bind=True,
        autoretry_for=[Trouble],
        retry_backoff=2,
        retry_backoff_max=10,
        retry_jitter=False,
        retry_kwargs={"max_retries": 9},
    )
    def auto(self):
        raise Trouble

    waits = []
    for retries in range(4):
        with running(task=auto.name, retries=retries, args=(), kwargs={}):
            waits.append(again_of(auto).delay)
    assert waits == pytest.approx([2, 4, 8, 10], abs=1)

    with running(task=auto.name, retries=9, args=(), kwargs={}), pytest.raises(Trouble):
        auto()


def test_jitter_draws_from_the_whole_wait(app, running):
    @app.task(name="running.jitter", autoretry_for=(Trouble,), retry_backoff=50)
    def jitter():
        raise Trouble

    waits = set()
    for _ in range(30):
        with running(task=jitter.name, args=(), kwargs={}):
            waits.add(round(again_of(jitter).delay))
    assert all(0 <= wait <= 50 for wait in waits)
    assert len(waits) > 3


def test_some_exceptions_are_not_retried(app, running):
    class Worse(Trouble):
        pass

    @app.task(name="running.not", autoretry_for=(Trouble,), dont_autoretry_for=(Worse,))
    def picky():
        raise Worse

    with running(task=picky.name), pytest.raises(Worse):
        picky()


def test_a_limit_that_the_task_set_itself_holds_for_autoretry_too(app, running):
    @app.task(name="running.limited", bind=True, autoretry_for=(Trouble,))
    def limited(self):
        self.retry(exc=Trouble(), max_retries=1)

    with running(task=limited.name, retries=1, args=(), kwargs={}), pytest.raises(Trouble):
        limited()


def test_a_class_may_be_retried_by_itself(app, running):
    class Auto(app.Task):
        name = "running.class"
        autoretry_for = (Trouble,)

        def run(self):
            raise Trouble

    task = app.register_task(Auto())
    with running(task=task.name, args=(), kwargs={}):
        assert again_of(task).delay == pytest.approx(180, abs=1)


# replace


def test_a_replaced_job_becomes_another_under_its_id(app, tried, running):
    with running(replaced_task_nesting=1, group_index=3, chord="body"):
        again = again_of(tried.replace, tried.s(5).set(queue="other"))

    (job,) = again.becomes
    assert (job.id, job.queue, again.jobs, again.edges) == ("mine", "other", [], [])
    told = loads(job.options)
    del told["origin"]
    assert told == {"replaced": 2, "group_index": 3, "chord": "body"}


def test_a_chain_takes_the_place_of_a_job_with_its_last_step(tried, running):
    with running():
        again = again_of(tried.replace, chain(tried.s(1), tried.s(2), tried.s(3)))

    (job,), (first, second) = again.becomes, again.jobs
    assert (job.id, job.shape) == ("mine", Shape.FIRST)
    assert [(edge.parent_id, edge.child_id) for edge in again.edges] == [
        (first.id, second.id),
        (second.id, "mine"),
    ]
    assert {each.root_id for each in again.jobs} == {"root"}
    assert first.parent_id == "mine"


@pytest.mark.parametrize("ends_as_a_group", [group, lambda *members: members[0] | group(*members)])
def test_a_group_takes_its_place_as_a_chord(tried, running, ends_as_a_group):
    with running():
        again = again_of(tried.replace, ends_as_a_group(tried.s(1), tried.s(2)))

    (job,) = again.becomes
    assert (job.id, job.task, job.shape) == ("mine", "celery.accumulate", Shape.LIST)
    assert load_arguments(job.payload) == ([], {"index": 0})


def test_the_countdown_of_a_replacement_is_kept(tried, running):
    with running():
        assert again_of(tried.replace, tried.s(1).set(countdown=9)).delay == pytest.approx(9, abs=1)


# update_state, emit


def test_a_task_tells_of_its_state(tried, running, channel):
    with running():
        tried.update_state(state="PROGRESS", meta={"done": 5})
        tried.update_state(meta=1)

    assert channel.updates == [("PROGRESS", {"done": 5}, "{'done': 5}"), (STARTED, 1, "1")]


def test_a_task_with_a_backend_of_its_own_tells_that(app):
    told = []

    class Backend:
        def store_result(self, task_id, result, state, request=None, **options):
            told.append((task_id, result, state, request, options))

    @app.task(name="running.backed", bind=True, backend=Backend())
    def backed(self):
        pass

    backed.push_request(id="mine")
    request = backed.request
    backed.update_state(state="HALFWAY", meta={"at": 1}, more=2)
    backed.update_state("other", "HALFWAY")
    backed.pop_request()

    assert told == [
        ("mine", {"at": 1}, "HALFWAY", request, {"more": 2}),
        ("other", None, "HALFWAY", request, {}),
    ]


def test_a_task_may_say_something(tried, running, channel):
    with running():
        tried.emit({"x": 1})
    tried.emit("nobody hears it")

    assert channel.emitted == [{"x": 1}]


def test_the_current_task_is_the_one_that_runs(tried, running):
    assert not current_task
    with running():
        assert current_task.name == tried.name
        assert current_task.request.id == "mine"


# Children


def test_what_a_call_submits_goes_through_its_channel(app, store, tried, running, channel):
    with running(owner="7"):
        result = tried.delay(1)

    ((jobs, edges),) = channel.spawned
    (job,) = jobs
    assert isinstance(job, NewJob)
    assert (job.id, job.parent_id, job.root_id, job.owner) == (result.id, "mine", "root", "7")
    assert edges == []
    assert not store.fetch([result.id])


def test_a_task_that_is_called_like_a_function_submits_for_the_job(app, tried, running, channel):
    @app.task(name="running.inner")
    def inner():
        tried.delay(1)

    with running():
        inner()

    assert channel.spawned[0][0][0].parent_id == "mine"


def test_it_goes_once_the_open_transaction_commits(
    app, store, tried, running, channel, monkeypatch
):
    waiting = []
    monkeypatch.setattr(store, "on_commit", waiting.append)

    with running():
        tried.delay(1)
    assert channel.spawned == []
    waiting[0]()

    assert len(channel.spawned) == 1


def test_publishing_a_child_is_signalled(tried, running, channel):
    seen = []

    def receive(**named):
        seen.append(named["headers"]["parent_id"])

    signals.before_task_publish.connect(receive)
    try:
        with running():
            tried.delay(1)
    finally:
        signals.before_task_publish.disconnect(receive)

    assert seen == ["mine"]
