"""The killable child process, as its runner has it: real processes, a channel that is a test's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from dask_facade.exceptions import (
    DuplicateTaskId,
    ResultLost,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    UnpickleableExceptionWrapper,
    WorkerLostError,
)
from dask_facade.messages import Shape
from dask_facade.packing import unpack_again
from dask_facade.serialization import (
    dump_reference,
    dumps,
    load_exception,
    loads,
)
from dask_facade.states import FAILURE, PENDING, REVOKED, SUCCESS
from dask_facade.worker.execution import Execution
from dask_facade.worker.isolation import MAX_DEATHS, Household, Isolation
from tests.unit import calls, child_tasks
from tests.unit.listening import DEADLINE

ROOT = Path(__file__).resolve().parents[2]
INLINE, STORE = 1_000, 100_000


class Channel:
    """Keeps what it is told and answers as a test says."""

    def __init__(self, inputs=(), data=None):
        self.aborted = False
        self.data = data or {}
        self.delay = 0.0
        self.inputs = inputs
        self.refusal = None
        self.said = []

    def spawn(self, jobs, edges):
        time.sleep(self.delay)
        self.said.append((jobs, edges))
        if self.refusal is not None:
            raise self.refusal
        return 12.5

    def update(self, *words):
        self.said.append(words)

    def is_aborted(self):
        return self.aborted

    def emit(self, value):
        self.said.append(value)

    def pull(self, start, stop):
        return list(self.inputs)[start:stop]

    def take(self, job_id, key):
        if job_id not in self.data:
            raise ResultLost(job_id)
        return self.data[job_id]

    def keep(self, value, data):
        self.said.append(value)
        return "its key"


@pytest.fixture(scope="module")
def shared():
    isolation = Isolation(Household("host/worker", INLINE, STORE, "", ()))
    yield isolation
    isolation.close()


@pytest.fixture
def run(shared):
    """Run one of the tasks in the child, and return its outcome."""

    def run(task, *args, channel=None, limits=(None, None), options=None, **changes):
        hard, soft = limits
        said = {"time_limit": hard, "soft_time_limit": soft, **(options or {})}
        said = {name: value for name, value in said.items() if value is not None}
        call = a_call(task, *args, options=dumps(said) if said else b"", **changes)
        return shared.run(call, channel or Channel(), limits)

    return run


def a_call(task, *args, **changes):
    return calls.a_call("job", f"tests.unit.child_tasks.{task}", *args, **changes)


def failure_of(outcome):
    assert outcome.state == FAILURE
    return load_exception(outcome.result)


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_calls_run_in_the_main_thread_of_one_process_of_their_own(run):
    pid, group, main = loads(run("process").result)

    assert main
    assert pid != os.getpid()
    assert group == pid
    assert loads(run("process").result) == (pid, group, True)


def test_an_outcome_tells_of_its_call(run):
    before = time.time()
    outcome = run("echo", {"x": (1, 2)}, attempt=2, hand=3)

    assert (outcome.id, outcome.attempt, outcome.hand) == ("job", 2, 3)
    assert (outcome.state, loads(outcome.result)) == (SUCCESS, {"x": (1, 2)})
    assert before <= outcome.started <= outcome.finished <= time.time()


def test_a_task_knows_its_limits(run):
    outcome = run("limits", limits=(30, 20))

    assert loads(outcome.result) == ((30, 20), "host/worker", "job")


def test_a_child_costs_little(run):
    """A guard against a hundredfold, not a measurement: a quiet machine needs 0.1 ms."""
    run("echo")

    before = time.perf_counter()
    for _ in range(100):
        run("echo")

    assert time.perf_counter() - before < 1.0


def test_what_a_task_prints_goes_where_its_runners_does():
    script = (
        "from tests.unit.test_child import *\n"
        "isolation = Isolation(Household('host', INLINE, STORE, '', ()))\n"
        "isolation.run(a_call('tell', 'hello'), Channel(), (None, None))\n"
        "isolation.close()\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60
    )

    assert (done.stdout, done.stderr) == ("hello\n", "hello\n")


# Limits


@pytest.mark.parametrize("name", ["sleep_softly", "await_softly"])
def test_a_soft_limit_is_raised_within_the_task(run, name):
    assert loads(run(name, 30, limits=(None, 0.1)).result) == "tidied"


def test_a_coroutine_may_end_in_time(run):
    assert loads(run("await_softly", 0, limits=(9, 5)).result) == "slept"


def test_a_soft_limit_that_is_not_caught_fails_the_call(run):
    error = failure_of(run("sleep", 30, limits=(None, 0.1)))

    assert type(error) is SoftTimeLimitExceeded


def test_a_task_within_its_limits_is_left_alone(run):
    assert loads(run("sleep", 0.05, limits=(30, 30)).result) == "slept"
    assert loads(run("sleep", 0.3, limits=(None, None)).result) == "slept"


def test_a_hard_limit_ends_the_process(run):
    pid, _, _ = loads(run("process").result)
    before = time.monotonic()

    outcome = run("sleep_stubbornly", limits=(0.3, 0.1))

    error = failure_of(outcome)
    assert (type(error), error.args) == (TimeLimitExceeded, (0.3,))
    assert 0.3 <= time.monotonic() - before < 2.0
    assert outcome.runtime >= 0.3
    assert is_gone(pid)
    assert loads(run("echo", 1).result) == 1


def test_the_time_that_a_process_needs_to_start_does_not_count(shared, run):
    shared.close()

    assert loads(run("echo", 1, limits=(0.05, None)).result) == 1


def test_what_a_task_has_started_ends_with_it(run, tmp_path):
    pids = tmp_path / "pids"

    failure_of(run("sleep_with_a_child", str(pids), limits=(1.0, None)))

    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: is_gone(pid))


# Its death


@pytest.mark.parametrize(
    ("task", "args", "how"),
    [
        ("exit_hard", (3,), "exit status 3"),
        ("kill_itself", (), "SIGKILL"),
        ("crash", (), "SIGSEGV"),
    ],
)
def test_a_call_that_ends_its_process_fails_alone(run, task, args, how):
    error = failure_of(run(task, *args))

    assert type(error) is WorkerLostError
    assert how in str(error)
    assert "job" in str(error)
    assert loads(run("echo", 1).result) == 1


def test_a_call_that_asks_python_to_end_ends_nothing(run):
    pid, _, _ = loads(run("process").result)

    assert type(failure_of(run("exit_softly", 1))) is WorkerLostError
    assert loads(run("process").result)[0] == pid


def test_what_it_has_started_in_other_sessions_ends_with_it(run, tmp_path):
    pids = tmp_path / "pids"

    run("sleep_beside_a_session", str(pids), limits=(2, None))

    child, *others = map(int, pids.read_text().split())
    for pid in (child, *others):
        wait_for(lambda pid=pid: is_gone(pid))


def test_a_tasks_own_alarm_does_not_cost_the_next_its_soft_limit(run):
    run("handle_the_alarm")

    assert loads(run("sleep_softly", 5, limits=(None, 0.1)).result) == "tidied"


def test_a_task_may_close_its_standard_streams(run):
    pid, _, _ = loads(run("process").result)

    assert run("close_the_standard_streams").state == SUCCESS

    assert loads(run("process").result)[0] == pid


def test_a_process_that_others_were_forked_from_is_seen_to_end(run, tmp_path):
    fork = tmp_path / "fork"

    error = failure_of(run("leave_a_fork", str(fork)))

    assert "exit status 3" in str(error)
    os.kill(int(fork.read_text()), signal.SIGKILL)


def test_a_call_that_may_run_twice_runs_again_when_its_process_dies(run):
    outcome = run("kill_itself", acks_late=True, options={"retries": 1})

    assert (outcome.state, outcome.result) == (PENDING, None)
    options = loads(unpack_again(outcome.again).options)
    assert options == {"retries": 1, "deaths": 1, "requeued": True}


def test_a_call_that_kills_every_process_fails_in_the_end(run):
    outcome = run("kill_itself", acks_late=True, options={"deaths": MAX_DEATHS - 1})

    assert type(failure_of(outcome)) is WorkerLostError


def test_a_process_that_died_while_nothing_ran_is_replaced(run):
    pid, _, _ = loads(run("process").result)
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_gone(pid))

    assert loads(run("echo", 1).result) == 1


# Kill


def test_a_call_may_be_killed(shared, run):
    killed = []

    def kill():
        time.sleep(0.3)
        killed.append(shared.kill("job", 1))

    thread = threading.Thread(target=kill)
    thread.start()
    outcome = run("sleep_stubbornly")
    thread.join()

    error = load_exception(outcome.result)
    assert (outcome.state, type(error), str(error)) == (REVOKED, TaskRevokedError, "terminated")
    assert killed == [True]
    assert loads(run("echo", 1).result) == 1


def test_only_the_call_that_is_meant_is_killed(shared, run):
    assert loads(run("echo", 1, hand=5).result) == 1
    pid, _, _ = loads(run("process", hand=6).result)

    assert not shared.kill("job", 5)
    assert not shared.kill("another", 6)
    assert shared.kill("job", 6)  # it ended before: nothing is done
    assert loads(run("process", hand=7).result)[0] == pid


# What it has of the world


def test_jobs_are_submitted_through_the_runner(run):
    channel = Channel()

    assert loads(run("spawn", channel=channel).result) == 12.5

    assert channel.said == [([child_tasks.NEW], [child_tasks.EDGE])]


def test_a_refusal_is_raised_in_the_task(run):
    channel = Channel()
    channel.refusal = DuplicateTaskId("child")

    assert loads(run("spawn", channel=channel).result) == "child"


def test_a_soft_limit_waits_for_an_answer(run):
    channel = Channel()
    channel.delay = 0.4

    outcome = run("spawn_slowly", channel=channel, limits=(None, 0.1))

    assert loads(outcome.result) == 12.5
    assert len(channel.said) == 2


def test_an_answer_that_nobody_waits_for_any_more_is_no_others(run):
    channel = Channel(inputs=[b"j1"])
    channel.delay = 0.5

    outcome = run("interrupt_a_question", channel=channel)

    assert loads(outcome.result) == [b"j1"]


def test_a_fork_in_a_task_is_told_that_it_is_none_of_the_call(run, tmp_path):
    outcome = run("ask_from_a_fork", str(tmp_path / "said"))

    assert loads(outcome.result) == "LineClosed"


def test_what_a_task_says_reaches_the_runner(run):
    channel = Channel()

    run("say", channel=channel)

    assert channel.said == [("PROGRESS", b"j1", "1"), {"line": 1}]


def test_of_many_states_few_are_told_and_the_last_ones_soon(run, tmp_path):
    heard = tmp_path / "heard"

    class Hearing(Channel):
        def update(self, state, meta, preview):
            super().update(state, meta, preview)
            if loads(meta) == 19_998:
                heard.touch()

    channel = Hearing()

    took = loads(run("update_often", 20_000, str(heard), channel=channel).result)

    told = [loads(meta) for _, meta, _ in channel.said]
    assert told == sorted(set(told))
    assert told[-2:] == [19_998, 19_999]
    assert len(told) < 10 + 100 * took


def test_what_a_thread_says_after_its_call_is_not_taken_for_the_next(run):
    run("say_later")
    channel = Channel()

    run("sleep", 0.5, channel=channel)

    assert channel.said == []


def test_inputs_come_through_the_runner(run):
    channel = Channel([dumps(1), dump_reference("parent", "key", "", 9)], {"parent": {2}})

    outcome = run("echo", channel=channel, shape=Shape.LIST)

    assert loads(outcome.result) == [1, {2}]


def test_an_input_that_is_lost_fails_the_call(run):
    reference = dump_reference("parent", "key", "", 9)

    outcome = run("echo", channel=Channel([reference]), shape=Shape.FIRST, inputs=[reference])

    assert type(failure_of(outcome)) is ResultLost


@pytest.mark.parametrize(("size", "told"), [(2 * INLINE, True), (2 * STORE, False)])
def test_a_large_result_is_kept_by_the_runner(run, size, told):
    channel = Channel()

    outcome = run("echo", "x" * size, channel=channel)

    assert outcome.key == "its key"
    assert (outcome.result is not None) is told
    assert channel.said == ["x" * size]


def test_an_ending_is_told_as_it_is(run):
    assert run("ignore").cut is True
    assert type(failure_of(run("no_such_task"))).__name__ == "NotRegistered"


# Its runner's end


def test_a_child_ends_with_its_runner_whatever_it_is_doing(tmp_path):
    pids = tmp_path / "pids"
    script = (
        "from tests.unit.test_child import *\n"
        "isolation = Isolation(Household('host', INLINE, STORE, '', ()))\n"
        f"isolation.run(a_call('sleep_with_a_child', {str(pids)!r}), Channel(), (None, None))\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)

    runner.kill()
    runner.wait()

    for pid in map(int, pids.read_text().split()):
        wait_for(lambda pid=pid: is_gone(pid))


def test_closing_ends_the_child():
    isolation = Isolation(Household("host", INLINE, STORE, "", ()))
    outcome = isolation.run(a_call("process"), Channel(), (None, None))
    pid, _, _ = loads(outcome.result)

    isolation.close()

    assert is_gone(pid)


def test_a_fork_of_the_runner_lets_go_of_the_child(tmp_path):
    """Else the child would outlive its runner for as long as that fork lives."""
    pids = tmp_path / "pids"
    script = (
        "from tests.unit.test_child import *\n"
        "isolation = Isolation(Household('host', INLINE, STORE, '', ()))\n"
        "child, _, _ = loads(isolation.run(a_call('process'), Channel(), (None, None)).result)\n"
        "fork = os.fork()\n"
        "if fork == 0:\n"
        "    isolation.abandon()\n"
        f"    Path({str(pids)!r}).write_text(f'{{child}} {{os.getpid()}}')\n"
        "time.sleep(60)\n"
    )
    runner = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    child, fork = map(int, pids.read_text().split())

    runner.kill()
    runner.wait()

    wait_for(lambda: is_gone(child))
    assert not is_gone(fork)
    os.kill(fork, signal.SIGKILL)


def test_a_call_that_no_child_can_be_started_for_fails(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    isolation = Isolation(Household("host", INLINE, STORE, "", ()))

    outcome = isolation.run(a_call("echo"), Channel(), (None, None))

    assert type(failure_of(outcome)) is WorkerLostError


def test_it_fits_the_execution():
    """As a runner joins the two."""
    isolation = Isolation(Household("host", INLINE, STORE, "", ()))
    here = Execution(
        find=lambda name: child_tasks.limits,
        hostname="host",
        inline_limit=INLINE,
        store_limit=STORE,
        around=lambda: None,
        isolate=isolation.run,
    )
    try:
        outcome = here.run(a_call("limits", options=dumps({"time_limit": 9})), Channel())
    finally:
        isolation.close()

    assert loads(outcome.result) == ((9, None), "host", "job")


def test_an_exception_of_the_users_own_survives_the_way(run):
    error = failure_of(run("echo", 1, 2))

    assert isinstance(error, TypeError)
    assert not isinstance(error, UnpickleableExceptionWrapper)
