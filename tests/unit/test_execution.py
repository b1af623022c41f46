from __future__ import annotations

import sys
import threading
import time

import pytest

from dask_facade import current
from dask_facade.exceptions import (
    DecodeError,
    EncodeError,
    NotRegistered,
    PayloadTooLarge,
    UnpickleableExceptionWrapper,
    WorkerLostError,
)
from dask_facade.messages import Call, Shape
from dask_facade.registry import TaskRegistry
from dask_facade.serialization import dump_arguments, dumps, load_exception, loads
from dask_facade.states import FAILURE, SUCCESS
from dask_facade.task import Task
from dask_facade.worker.execution import TRACEBACK_LIMIT, Execution

LIMIT = 10_000
CALL = Call(
    id="job",
    task="task",
    attempt=2,
    hand=3,
    queue="celery",
    priority=4,
    created=0.0,
    due=None,
    acks_late=False,
    ignore_result=True,
    lost=1,
    root_id="root",
    parent_id="parent",
    group_id="group",
    shape=Shape.NOTHING,
    payload=dump_arguments((), {}),
    inputs=(),
)


@pytest.fixture
def run():
    """Run a function as a task, and return its outcome."""

    def run(function, *args, bind=False, inputs=list, around=lambda: None, call=CALL, **kwargs):
        task = Task()
        task.name = call.task
        task.run = function.__get__(task) if bind else function
        execution = Execution(
            find={call.task: task}.__getitem__,
            hostname="host/worker",
            result_limit=LIMIT,
            around=around,
        )
        return execution.run(call._replace(payload=dump_arguments(args, kwargs)), inputs)

    return run


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

    outcome = run(lambda *args: args, "own", call=call, inputs=lambda: [dumps(1), dumps({2})])

    assert loads(outcome.result) == ([1, {2}], "own")


def test_a_call_that_takes_no_list_fetches_none(run):
    def inputs():
        raise AssertionError

    assert run(lambda: None, inputs=inputs).state == SUCCESS


def test_a_bound_task_gets_itself(run):
    assert loads(run(lambda self: self.name, bind=True).result) == "task"


def test_a_task_knows_its_request(run):
    seen = []

    run(lambda self, *args, **kwargs: seen.append(self.request), 1, bind=True, x=2)

    assert seen == [
        current.Request(
            id="job",
            task="task",
            args=[1],
            kwargs={"x": 2},
            root_id="root",
            parent_id="parent",
            group="group",
            retries=1,
            hostname="host/worker",
            delivery_info={
                "exchange": "",
                "routing_key": "celery",
                "priority": 4,
                "redelivered": True,
            },
            ignore_result=True,
            called_directly=False,
        )
    ]
    assert current.request().id is None


def test_a_call_that_no_worker_died_with_is_not_redelivered(run):
    seen = []

    run(lambda self: seen.append(self.request), bind=True, call=CALL._replace(lost=0, attempt=1))

    assert seen[0].delivery_info["redelivered"] is False
    assert seen[0].retries == 0


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


def test_a_result_that_is_too_large_fails_the_call(run):
    assert run(lambda: "x" * (LIMIT - 10)).state == SUCCESS

    error = failure_of(run(lambda: "x" * LIMIT))

    assert type(error) is PayloadTooLarge
    assert (error.what, error.limit) == ("the result of task", LIMIT)


def test_an_exception_that_is_too_large_leaves_its_words(run):
    def task():
        raise ValueError("x" * 2 * LIMIT)

    outcome = run(task)

    assert len(outcome.result) < LIMIT
    assert type(failure_of(outcome)) is UnpickleableExceptionWrapper


class Demanding(Exception):
    def __init__(self, one, two):
        super().__init__("only words")


class Hostile(Exception):
    @property
    def args(self):
        raise ZeroDivisionError

    def __reduce__(self):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError

    __str__ = __repr__


@pytest.mark.parametrize("error", [Demanding(1, 2), Hostile()])
def test_no_exception_breaks_a_worker(run, error):
    def task():
        raise error

    outcome = run(task)

    assert type(failure_of(outcome)) is UnpickleableExceptionWrapper
    assert type(error).__name__ in outcome.traceback


def test_a_task_that_nobody_knows_fails(run):
    execution = Execution(TaskRegistry().find, "host", LIMIT, lambda: None)

    error = failure_of(execution.run(CALL._replace(task="no_such_module.task"), list))

    assert type(error) is NotRegistered
    assert isinstance(error, KeyError)
    assert "no_such_module" in str(error)


def test_arguments_that_cannot_be_read_here_fail_the_call():
    task = Task()
    execution = Execution({"task": task}.__getitem__, "host", LIMIT, lambda: None)

    outcome = execution.run(CALL._replace(payload=b"ccno_such_module\nname\n."), list)

    assert type(failure_of(outcome)) is DecodeError
    assert "no_such_module" in outcome.traceback


def test_inputs_that_cannot_be_fetched_fail_the_call(run):
    def inputs():
        raise ConnectionError("away")

    outcome = run(lambda: None, call=CALL._replace(shape=Shape.LIST), inputs=inputs)

    assert type(failure_of(outcome)) is ConnectionError
