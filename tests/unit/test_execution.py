from __future__ import annotations

import os
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from dask_facade import DaskFacade, current, signals
from dask_facade.exceptions import (
    DecodeError,
    EncodeError,
    Ignore,
    MaxRetriesExceededError,
    NotRegistered,
    PayloadTooLarge,
    Reject,
    Replaced,
    ResultLost,
    Retry,
    UnpickleableExceptionWrapper,
    WorkerLostError,
)
from dask_facade.ledger.memory import MemoryStore
from dask_facade.messages import Again, Shape
from dask_facade.packing import unpack_again
from dask_facade.registry import TaskRegistry
from dask_facade.serialization import (
    Reference,
    dump_arguments,
    dump_exception,
    dump_reference,
    dumps,
    load_exception,
    loads,
)
from dask_facade.states import FAILURE, PENDING, RETRY, STARTED, SUCCESS
from dask_facade.task import Task
from dask_facade.worker.endings import TRACEBACK_LIMIT
from dask_facade.worker.execution import Execution
from tests.unit.calls import a_call

INLINE, STORE = 1_000, 10_000
CALL = a_call(
    "job",
    attempt=2,
    hand=3,
    queue="celery",
    priority=4,
    lost=1,
    root_id="root",
    parent_id="parent",
    group_id="group",
)


class Channel:
    """What a call has of a world in which nothing happens but what a test says."""

    def __init__(self, inputs=(), data=None, cluster=True):
        self.cluster = cluster
        self.data = {} if data is None else data  # job id -> value
        self.inputs = inputs
        self.kept = []
        self.updates = []

    def pull(self, start, stop):
        return list(self.inputs)[start:stop]

    def take(self, job_id, key):
        if job_id not in self.data:
            raise ResultLost(job_id)
        return self.data[job_id]

    def keep(self, value, data):
        if not self.cluster:
            raise ConnectionError("the scheduler is away")
        self.kept.append(value)
        return "its key"

    def update(self, *words):
        self.updates.append(words)


@pytest.fixture
def run():
    """Run a function as a task, and return its outcome."""

    def run(
        function,
        *args,
        base=Task,
        bind=False,
        channel=None,
        around=lambda: None,
        call=CALL,
        settings=None,
        **kwargs,
    ):
        task = base()
        task.name = call.task
        task.run = function.__get__(task) if bind else function
        task.app = app_of(settings or {})
        execution = execution_of(task, around=around)
        return execution.run(
            call._replace(payload=dump_arguments(args, kwargs)), channel or Channel()
        )

    return run


def app_of(settings):
    return DaskFacade("settings", store=MemoryStore(), set_as_current=False, **settings)


def execution_of(task, **options):
    return Execution(
        find={"task": task}.__getitem__,
        hostname="host/worker",
        inline_limit=INLINE,
        store_limit=STORE,
        **{"around": lambda: None, **options},
    )


def told(**options):
    """CALL, with these options."""
    return CALL._replace(options=dumps(options))


def failure_of(outcome):
    assert outcome.state == FAILURE
    return load_exception(outcome.result)


def test_what_a_task_returns_is_the_result(run):
    outcome = run(lambda x, y: {x: y}, "a", y=1)

    assert outcome.state == SUCCESS
    assert loads(outcome.result) == {"a": 1}
    assert outcome.preview == "{'a': 1}"
    assert outcome.traceback is None


def test_an_outcome_is_of_the_attempt_and_hand_of_its_call(run):
    outcome = run(lambda: None)

    assert (outcome.id, outcome.attempt, outcome.hand) == ("job", 2, 3)


def test_an_outcome_tells_its_times(run):
    before = time.time()
    outcome = run(lambda: None)
    after = time.time()

    assert before <= outcome.started <= outcome.finished <= after
    assert 0 <= outcome.runtime <= after - before + 0.1


def test_a_preview_of_the_result_masks_secrets(run):
    assert "hunter2" not in run(lambda: [{"password": "hunter2"}]).preview


# What a task gets


def test_one_result_goes_before_the_other_arguments(run):
    call = CALL._replace(shape=Shape.FIRST, inputs=[dumps((1, 2))])

    assert loads(run(lambda *args: args, "own", call=call).result) == ((1, 2), "own")


def test_a_list_of_results_is_fetched_and_goes_before_the_other_arguments(run):
    call = CALL._replace(shape=Shape.LIST)

    outcome = run(lambda *args: args, "own", call=call, channel=Channel([dumps(1), dumps({2})]))

    assert loads(outcome.result) == ([1, {2}], "own")


def test_a_call_that_takes_no_list_fetches_none(run):
    class Away(Channel):
        def pull(self, start, stop):
            raise AssertionError

    assert run(lambda: None, channel=Away()).state == SUCCESS


def test_a_bound_task_gets_itself(run):
    assert loads(run(lambda self: self.name, bind=True).result) == "task"


def test_a_task_knows_its_request(run):
    seen = []
    channel = Channel()

    run(
        lambda self, *args, **kwargs: seen.append(self.request),
        1,
        bind=True,
        call=CALL._replace(due=0.0, expires=1.5),
        channel=channel,
        x=2,
    )

    (request,) = seen
    expected = {
        "id": "job",
        "task": "task",
        "args": [1],
        "kwargs": {"x": 2},
        "root_id": "root",
        "parent_id": "parent",
        "group": "group",
        "group_index": None,
        "chord": None,
        "chain": None,
        "callbacks": None,
        "errbacks": None,
        "retries": 0,  # those that the task asked for: a worker's death is none
        "eta": "1970-01-01T00:00:00+00:00",
        "expires": "1970-01-01T00:00:01.500000+00:00",
        "timelimit": (None, None),
        "delivery_info": {
            "exchange": "",
            "routing_key": "celery",
            "priority": 4,
            "redelivered": True,
        },
        "headers": None,
        "properties": {"correlation_id": "job", "priority": 4, "reply_to": None},
        "hostname": "host/worker",
        "reply_to": None,
        "correlation_id": "job",
        "origin": None,
        "called_directly": False,
        "is_eager": False,
        "ignore_result": False,
        "argsrepr": "(1,)",
        "kwargsrepr": "{'x': 2}",
        "replaced_task_nesting": 0,
        "stamps": None,
        "stamped_headers": None,
        "owner": "",
        "attempt": 2,
        "hand": 3,
        "channel": channel,
    }
    assert {name: getattr(request, name) for name in expected} == expected
    assert current.request().id is None


def test_what_only_the_runner_reads_is_in_the_request(run):
    seen = []
    step = {"task": "next", "args": [], "kwargs": {}, "options": {}, "immutable": False}
    call = told(
        retries=2,
        headers={"tenant": "acme", "id": "another"},
        group_index=3,
        chord="body",
        chain=step,
        link=[step],
        link_error=[step],
        origin="gen1@host",
        replaced=1,
        stamps={"visit": 1},
        argsrepr="(***)",
        kwargsrepr="{***}",
    )

    run(lambda self: seen.append(self.request), bind=True, call=call)

    (request,) = seen
    assert (request.retries, request.group_index, request.chord) == (2, 3, "body")
    assert (request.chain, request.callbacks, request.errbacks) == ([step], [step], [step])
    assert (request.origin, request.replaced_task_nesting) == ("gen1@host", 1)
    assert (request.argsrepr, request.kwargsrepr) == ("(***)", "{***}")
    assert request.stamps == {"visit": 1}
    assert (request.headers["tenant"], request.tenant) == ("acme", "acme")
    assert request.id == "job"  # no header takes its place


def test_a_call_that_no_worker_died_with_is_not_redelivered(run):
    seen = []

    run(lambda self: seen.append(self.request), bind=True, call=CALL._replace(lost=0, attempt=1))

    assert seen[0].delivery_info["redelivered"] is False


def test_around_is_called_before_and_after_the_task(run):
    said = []

    run(lambda: said.append("task"), around=lambda: said.append("around"))

    assert said == ["around", "task", "around"]


def test_around_is_called_after_a_task_that_raises_too(run):
    said = []

    run(lambda: 1 / 0, around=lambda: said.append("around"))

    assert said == ["around", "around"]


def test_a_worker_that_cannot_be_prepared_fails_its_calls(run):
    def around():
        raise ImportError("no module named 'shop.settings'")

    outcome = run(lambda: None, around=around)

    assert "shop.settings" in str(failure_of(outcome))


# How it fails


def test_what_a_task_raises_is_the_result(run):
    def divide(x):
        return 1 / x

    outcome = run(divide, 0)

    assert type(failure_of(outcome)) is ZeroDivisionError
    assert outcome.preview == "ZeroDivisionError('division by zero')"


def test_a_traceback_begins_at_the_frame_of_the_task(run):
    def outer():
        return inner()

    def inner():
        raise ValueError("inside")

    lines = run(outer).traceback.splitlines()

    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].endswith("in outer")
    assert any(line.endswith("in inner") for line in lines)
    assert lines[-1] == "ValueError: inside"
    assert "worker/execution.py" not in "".join(lines)


def test_a_traceback_tells_the_cause(run):
    def task():
        try:
            _ = 1 / 0
        except ZeroDivisionError as error:
            raise ValueError("outside") from error

    trace = run(task).traceback

    assert "ZeroDivisionError: division by zero" in trace
    assert "direct cause" in trace


def test_of_a_long_traceback_the_end_is_kept(run):
    def task():
        raise ValueError("x" * 2 * TRACEBACK_LIMIT + "the end")

    trace = run(task).traceback

    assert len(trace) == TRACEBACK_LIMIT
    assert trace.endswith("the end\n")


def test_what_databases_refuse_is_escaped(run):
    def task():
        raise ValueError("\x00\ud800")

    outcome = run(task)

    for text in (outcome.traceback, outcome.preview):
        text.encode()
        assert "\x00" not in text


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (SystemExit(3), "SystemExit(3)"),
        (SystemExit(), "SystemExit()"),
        (KeyboardInterrupt(), "KeyboardInterrupt()"),
    ],
)
def test_a_task_that_would_end_its_worker_counts_as_having_done_so(run, error, shown):
    """As in Celery: whoever reads the result must not be ended by it."""

    def task():
        raise error

    outcome = run(task)

    failure = failure_of(outcome)
    assert type(failure) is WorkerLostError
    assert shown in str(failure)
    assert "in task" in outcome.traceback


def test_sys_exit_in_a_task_ends_nothing(run):
    assert type(failure_of(run(sys.exit, "bye"))) is WorkerLostError


def test_a_result_that_cannot_be_serialised_fails_the_call(run):
    outcome = run(threading.Lock)

    error = failure_of(outcome)
    assert type(error) is EncodeError
    assert "lock" in str(error)


def test_an_exception_that_is_too_large_leaves_its_words(run):
    def task():
        raise ValueError("x" * 2 * STORE)

    outcome = run(task)

    assert len(outcome.result) < STORE
    assert type(failure_of(outcome)) is UnpickleableExceptionWrapper


class Demanding(Exception):
    def __init__(self, one, two):
        super().__init__("only words")


class Deadly(Exception):
    """Whoever looks at it is to end."""

    def __repr__(self):
        raise SystemExit

    def __reduce__(self):
        raise KeyboardInterrupt


class Hostile(Exception):
    @property
    def args(self):
        raise ZeroDivisionError

    def __reduce__(self):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError

    __str__ = __repr__


@pytest.mark.parametrize("error", [Demanding(1, 2), Hostile(), Deadly()])
def test_no_exception_breaks_a_worker(run, error):
    def task():
        raise error

    outcome = run(task)

    assert type(failure_of(outcome)) is UnpickleableExceptionWrapper
    assert type(error).__name__ in outcome.traceback


def test_a_task_that_nobody_knows_fails(run):
    execution = Execution(TaskRegistry().find, "host", INLINE, STORE, lambda: None)

    error = failure_of(execution.run(CALL._replace(task="no_such_module.task"), Channel()))

    assert type(error) is NotRegistered
    assert isinstance(error, KeyError)
    assert "no_such_module" in str(error)


def test_arguments_that_cannot_be_read_here_fail_the_call():
    execution = execution_of(Task())

    outcome = execution.run(CALL._replace(payload=b"ccno_such_module\nname\n."), Channel())

    assert type(failure_of(outcome)) is DecodeError
    assert "no_such_module" in outcome.traceback


def test_inputs_that_cannot_be_fetched_fail_the_call(run):
    class Away(Channel):
        def pull(self, start, stop):
            raise ConnectionError("away")

    outcome = run(lambda: None, call=CALL._replace(shape=Shape.LIST), channel=Away())

    assert type(failure_of(outcome)) is ConnectionError


# Results in three sizes


def test_a_small_result_is_told(run):
    channel = Channel()

    outcome = run(lambda: "x" * (INLINE - 10), channel=channel)

    assert loads(outcome.result) == "x" * (INLINE - 10)
    assert (outcome.key, outcome.size, channel.kept) == ("", 0, [])


def test_a_larger_result_is_told_and_kept_on_the_cluster(run):
    channel = Channel()

    outcome = run(lambda: "x" * INLINE, channel=channel)

    assert loads(outcome.result) == "x" * INLINE
    assert (outcome.key, outcome.size) == ("its key", len(outcome.result))
    assert channel.kept == ["x" * INLINE]


@pytest.mark.parametrize(
    "value",
    ["x" * STORE, [["x"] * STORE]],  # what it takes in memory, and only when it is serialised
)
def test_a_large_result_is_kept_on_the_cluster_alone(run, value):
    channel = Channel()

    outcome = run(lambda: value, channel=channel)

    assert (outcome.state, outcome.result, outcome.key) == (SUCCESS, None, "its key")
    assert outcome.size > STORE
    assert outcome.preview
    assert channel.kept == [value]


def test_what_is_to_be_kept_on_the_cluster_is_not_told(run):
    channel = Channel()

    outcome = run(lambda: 7, channel=channel, call=told(keep="cluster"))

    assert (outcome.result, outcome.key, channel.kept) == (None, "its key", [7])


def test_without_the_cluster_what_can_be_told_is_told(run):
    channel = Channel(cluster=False)

    outcome = run(lambda: "x" * INLINE, channel=channel)

    assert (loads(outcome.result), outcome.key) == ("x" * INLINE, "")


def test_without_the_cluster_a_large_result_fails_the_call(run):
    error = failure_of(run(lambda: "x" * STORE, channel=Channel(cluster=False)))

    assert type(error) is PayloadTooLarge
    assert (error.what, error.limit) == ("the result of task", STORE)


IGNORED = CALL._replace(ignore_result=True)


@pytest.mark.parametrize("value", ["x" * STORE, threading.Lock()])
def test_an_ignored_result_may_be_anything(run, value):
    channel = Channel()

    outcome = run(lambda: value, channel=channel, call=IGNORED)

    assert (outcome.state, loads(outcome.result), channel.kept) == (SUCCESS, None, [])


def test_an_ignored_result_that_others_take_is_kept(run):
    call = IGNORED._replace(options=told(chain={"task": "next"}).options)
    channel = Channel()

    run(lambda: "x" * STORE, channel=channel, call=call)

    assert channel.kept == ["x" * STORE]


def test_a_small_ignored_result_is_told_should_a_later_job_take_it(run):
    assert loads(run(lambda: 7, call=IGNORED).result) == 7


def test_a_result_in_json_is_what_json_gives_back(run):
    call = told(result_serializer="json")

    assert loads(run(lambda: {1: (2, 3)}, call=call).result) == {"1": [2, 3]}
    assert type(failure_of(run(lambda: {1, 2}.__iter__(), call=call))) is EncodeError


# References


def a_reference(id):
    return dump_reference(id, f"key of {id}", "tcp://worker", 100)


def test_a_result_that_is_on_the_cluster_is_taken_from_there(run):
    call = CALL._replace(shape=Shape.FIRST, inputs=[a_reference("parent")])

    outcome = run(lambda x: x, call=call, channel=Channel(data={"parent": (1, 2)}))

    assert loads(outcome.result) == (1, 2)


def test_a_result_that_the_cluster_lost_is_pulled_from_the_ledger(run):
    call = CALL._replace(shape=Shape.FIRST, inputs=[a_reference("parent")])

    outcome = run(lambda x: x, call=call, channel=Channel([dumps("stored")]))

    assert loads(outcome.result) == "stored"


def test_a_result_that_is_lost_everywhere_fails_the_call(run):
    call = CALL._replace(shape=Shape.LIST)

    outcome = run(lambda x: x, call=call, channel=Channel([dumps(1), a_reference("parent")]))

    assert type(failure_of(outcome)) is ResultLost


@pytest.mark.parametrize(
    ("shape", "inputs", "got"),
    [
        (Shape.NOTHING, ["a", "b"], (["a", {"x": ("b", "a")}], "own")),
        (Shape.FIRST, ["first", "a", "b"], ("first", ["a", {"x": ("b", "a")}], "own")),
        (Shape.LIST, ["1", "2", "a", "b"], (["1", "2"], ["a", {"x": ("b", "a")}], "own")),
        (Shape.LIST, ["a", "b"], ([], ["a", {"x": ("b", "a")}], "own")),  # of an empty header
    ],
)
def test_references_in_the_arguments_become_results(run, shape, inputs, got):
    own = [Reference(0), {"x": (Reference(1), Reference(0))}]

    outcome = run(
        lambda *args: args,
        own,
        "own",
        call=CALL._replace(shape=shape | Shape.REFERENCES),
        channel=Channel([dumps(each) for each in inputs]),
    )

    assert loads(outcome.result) == got


# Error callbacks


def an_errback(**changes):
    inputs = [
        b"failed-job",
        dump_exception(ValueError("bad")),
        b"Traceback ... raise",
        b"failing.task",
        dump_arguments((1,), {"x": 2}),
    ]
    return CALL._replace(shape=Shape.ERROR, inputs=inputs, **changes)


def test_an_error_callback_of_the_new_style_gets_request_exception_and_traceback(run):
    seen = []

    outcome = run(
        lambda request, error, trace, *own, **named: seen.append(
            (request.id, request.task, request.args, request.kwargs, error, trace, own, named)
        ),
        "own",
        y=3,
        call=an_errback(),
    )

    assert outcome.state == SUCCESS
    ((id, task, args, kwargs, error, trace, own, named),) = seen
    assert (id, task, args, kwargs) == ("failed-job", "failing.task", [1], {"x": 2})
    assert (type(error), str(error), trace) == (ValueError, "bad", "Traceback ... raise")
    assert (own, named) == (("own",), {"y": 3})


def old_style(job_id):
    return job_id


def with_own(job_id, own):
    return job_id, own


def with_named(job_id, path=""):
    return job_id, path


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "got"),
    [
        (old_style, (), {}, "failed-job"),
        (with_own, ("own",), {}, ("failed-job", "own")),
        (with_named, (), {"path": "p"}, ("failed-job", "p")),
    ],
)
def test_an_error_callback_that_takes_one_argument_gets_the_id(run, function, args, kwargs, got):
    assert loads(run(function, *args, call=an_errback(), **kwargs).result) == got


def test_an_error_callback_outlasts_what_cannot_be_read_of_the_failed_job(run):
    call = an_errback()
    call = call._replace(inputs=[*call.inputs[:1], b"ccno_module\nx\n.", *call.inputs[2:4], b"?"])

    outcome = run(lambda request, error, trace: (request.args, type(error)), call=call)

    assert loads(outcome.result) == ((), DecodeError)


# How a task says that it goes on


class MyErr(Exception):
    """An exception of a project's own."""


def in_a_minute():
    return datetime.now(UTC) + timedelta(minutes=1)


def test_a_retry_keeps_its_reason_and_says_when(run):
    again = Again(5.0, dumps({"retries": 1}), [], [], [])

    def task():
        retry = Retry(exc=MyErr("slow"), when=5)
        retry.again = again
        raise retry

    outcome = run(task)

    assert outcome.state == RETRY
    assert type(load_exception(outcome.result)) is MyErr
    assert outcome.traceback.rstrip().endswith("Retry: Retry in 5s: MyErr('slow')")
    assert unpack_again(outcome.again) == again


@pytest.mark.parametrize(
    ("when", "delay"), [(lambda: 5, 5), (in_a_minute, 60), (lambda: None, 180)]
)
def test_a_retry_that_a_task_raises_by_itself_is_one_that_it_asked_for(run, when, delay):
    """With Celery such a job stays in RETRY for ever: nothing was submitted anew."""

    def task():
        raise Retry("later", exc=MyErr("slow"), when=when())

    outcome = run(task)

    assert outcome.state == RETRY
    assert type(load_exception(outcome.result)) is MyErr
    again = unpack_again(outcome.again)
    assert again.delay == pytest.approx(delay, abs=5)
    assert loads(again.options) == {"retries": 1}


@pytest.mark.parametrize(
    ("reason", "raised"), [(MyErr("slow"), MyErr), (None, MaxRetriesExceededError)]
)
def test_it_fails_when_the_retries_of_the_task_are_used_up(run, reason, raised):
    def task():
        raise Retry("later", exc=reason, when=1)

    outcome = run(task, call=CALL._replace(options=dumps({"retries": 3})))

    assert outcome.state == FAILURE
    assert type(load_exception(outcome.result)) is raised


def test_a_replaced_task_goes_on_as_another(run):
    again = Again(0.0, b"", [], [], [])

    def task():
        raise Replaced("replaced by another", again)

    outcome = run(task)

    assert (outcome.state, outcome.result) == (PENDING, None)
    assert unpack_again(outcome.again) == again


def test_a_rejected_call_fails(run):
    def task():
        raise Reject("no reason")

    error = failure_of(run(task))

    assert (type(error), error.reason) == (Reject, "no reason")


def test_a_rejected_call_may_be_handed_out_anew(run):
    def task():
        raise Reject("later", requeue=True)

    outcome = run(task, call=told(retries=2))

    again = unpack_again(outcome.again)
    assert (outcome.state, again.delay, again.becomes, again.jobs) == (PENDING, 0.0, [], [])
    assert loads(again.options) == {"retries": 2, "requeued": True}
    seen = []
    run(lambda self: seen.append(self.request), bind=True, call=told(requeued=True))
    assert seen[0].delivery_info["redelivered"] is True


def test_an_ignored_call_ends_without_a_result_and_nothing_goes_on_after_it(run):
    def task():
        raise Ignore

    outcome = run(task)

    assert (outcome.state, outcome.result, outcome.cut) == (SUCCESS, None, True)


STEP = {"task": "next", "args": [], "kwargs": {}, "options": {}, "immutable": False}


@pytest.mark.parametrize(
    ("options", "cut"), [({"chain": STEP}, True), ({}, False)], ids=["chain", "no chain"]
)
def test_a_task_may_end_its_chain(run, options, cut):
    def task(self):
        self.request.chain = None

    assert run(task, bind=True, call=told(**options)).cut is cut


def test_a_chain_that_is_left_alone_goes_on(run):
    assert run(lambda: None, call=told(chain=STEP)).cut is False


# Hooks


class Recorder(Task):
    """Keeps what its hooks are told."""

    said: list = []  # a class's, as the task is made within `run`

    def _tell(self, *words):
        assert self.request.id == "job"
        Recorder.said.append(words)

    def before_start(self, task_id, args, kwargs):
        self._tell("before_start", task_id, args, kwargs)

    def on_success(self, retval, task_id, args, kwargs):
        self._tell("on_success", retval, task_id, args, kwargs)

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        self._tell("on_retry", str(exc), str(einfo).splitlines()[-1])

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        self._tell("on_failure", str(exc), einfo.exception is exc, einfo.type, task_id)

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        self._tell("after_return", status, str(retval), einfo is None)


@pytest.fixture
def said(monkeypatch):
    monkeypatch.setattr(Recorder, "said", [])
    return Recorder.said


def test_the_hooks_of_a_success(run, said):
    run(lambda x, y: x, 1, y=2, base=Recorder)

    assert said == [
        ("before_start", "job", [1], {"y": 2}),
        ("on_success", 1, "job", [1], {"y": 2}),
        ("after_return", SUCCESS, "1", True),
    ]


def test_the_hooks_of_a_failure(run, said):
    def task():
        raise MyErr("bad")

    run(task, base=Recorder)

    assert said[1:] == [
        ("on_failure", "bad", True, MyErr, "job"),
        ("after_return", FAILURE, "bad", False),
    ]


def test_the_hooks_of_a_retry(run, said):
    def task():
        retry = Retry(exc=MyErr("slow"), when=5)
        retry.again = Again(5.0, b"", [], [], [])
        raise retry

    run(task, base=Recorder)

    last = "dask_facade.exceptions.Retry: Retry in 5s: MyErr('slow')"
    assert said[1:] == [("on_retry", "slow", last)]


def test_a_task_does_not_run_when_it_must_not_start(run):
    class Closed(Task):
        def before_start(self, task_id, args, kwargs):
            raise MyErr("closed")

    assert type(failure_of(run(lambda: 1, base=Closed))) is MyErr


@pytest.mark.parametrize("hook", ["on_success", "after_return"])
def test_a_hook_that_raises_does_not_undo_a_success(run, hook, caplog):
    def broken(self, *words):
        raise MyErr("in the hook")

    outcome = run(lambda: 1, base=type("Broken", (Task,), {hook: broken}))

    assert (outcome.state, loads(outcome.result)) == (SUCCESS, 1)
    assert "in the hook" in caplog.text


@pytest.mark.parametrize("hook", ["on_failure", "after_return"])
def test_a_hook_that_raises_does_not_hide_the_failure(run, hook):
    def broken(self, *words):
        raise KeyError("in the hook")

    def task():
        raise MyErr("bad")

    assert type(failure_of(run(task, base=type("Broken", (Task,), {hook: broken})))) is MyErr


def test_signals_tell_of_a_run(run):
    heard = []

    def hear(signal, **named):
        heard.append((signal.name, named.get("task_id"), named.get("state")))

    each = [signals.task_prerun, signals.task_success, signals.task_postrun]
    for signal in each:
        signal.connect(hear)
    try:
        run(lambda: 1)
    finally:
        for signal in each:
            signal.disconnect(hear)

    assert heard == [
        ("task_prerun", "job", None),
        ("task_success", None, None),
        ("task_postrun", "job", SUCCESS),
    ]


# What it logs


def test_an_unexpected_exception_is_logged_as_an_error_with_its_traceback(run, caplog):
    def task():
        raise MyErr("bad")

    run(task)

    (record,) = [each for each in caplog.records if each.levelname == "ERROR"]
    assert "Task task[job] raised unexpected: MyErr('bad')" in record.getMessage()
    assert record.exc_info[1].args == ("bad",)
    assert record.name.startswith("dask_facade.worker")


def test_what_a_task_says_it_throws_is_no_error(run, caplog):
    class Throwing(Task):
        throws = (MyErr,)

    def task():
        raise MyErr("bad")

    caplog.set_level("INFO")
    run(task, base=Throwing)

    (record,) = [each for each in caplog.records if "raised expected" in each.getMessage()]
    assert (record.levelname, record.exc_info) == ("INFO", None)


# Its start


@pytest.mark.parametrize(
    ("attributes", "settings", "says"),
    [
        ({"track_started": True}, {}, True),
        ({}, {"task_track_started": True}, True),
        ({"track_started": False}, {"task_track_started": True}, False),
        ({}, {}, False),
    ],
)
def test_a_tracked_call_tells_of_its_start(run, attributes, settings, says):
    channel = Channel()

    run(
        lambda: None,
        base=type("Tracked", (Task,), attributes),
        channel=channel,
        settings=settings,
    )

    assert bool(channel.updates) is says
    for state, meta, _ in channel.updates:
        assert state == STARTED
        assert loads(meta) == {"pid": os.getpid(), "hostname": "host/worker"}


# Elsewhere


@pytest.mark.parametrize(
    ("attributes", "options", "settings", "limits"),
    [
        ({"time_limit": 3}, {}, {}, (3, None)),
        ({"soft_time_limit": 2}, {}, {}, (None, 2)),
        ({"time_limit": 3}, {"time_limit": 1, "soft_time_limit": 0.5}, {}, (1, 0.5)),
        ({}, {}, {"task_time_limit": 9, "task_soft_time_limit": 8}, (9, 8)),
        ({"isolate": True}, {}, {}, (None, None)),
        ({}, {}, {}, None),
    ],
)
def test_a_call_with_a_limit_runs_in_a_process_of_its_own(attributes, options, settings, limits):
    asked = []
    task = type("Limited", (Task,), attributes)()
    task.run = lambda: None
    task.app = app_of(settings)
    execution = execution_of(
        task,
        isolate=lambda call, channel, limits: asked.append(limits),
    )

    execution.run(told(**options), Channel())

    assert asked == ([] if limits is None else [limits])
