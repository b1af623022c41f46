from __future__ import annotations

import queue
import threading
import time
from types import SimpleNamespace

import pytest

from dask_facade import line as lines
from dask_facade.exceptions import LineClosed
from dask_facade.line import token
from dask_facade.messages import (
    RUNNER,
    VERSION,
    Ack,
    Beat,
    Begun,
    Call,
    Hand,
    Held,
    Hello,
    Inputs,
    Leave,
    Outcome,
    Pull,
    Recall,
    Report,
    Returned,
)
from dask_facade.states import SUCCESS
from dask_facade.worker import runner as running
from dask_facade.worker.runner import Runner
from tests.unit.listening import DEADLINE, SECRET, soon

HELLO = Hello(
    VERSION,
    RUNNER,
    "runner-1",
    token(SECRET, RUNNER, "runner-1"),
    instance="instance-1",
    worker="tcp://worker",
    queues=["q"],
    held=[],
)


def call(id, *, marked=False, hand=1):
    return Call(
        id=id,
        task="task",
        attempt=1,
        hand=hand,
        queue="q",
        priority=0,
        created=0.0,
        due=None,
        acks_late=False,
        ignore_result=False,
        lost=0,
        root_id=id,
        parent_id=None,
        group_id=None,
        shape=0,
        payload=b"",
        inputs=[],
        marked=marked,
    )


def outcome(call, result=b"j1"):
    return Outcome(call.id, call.attempt, call.hand, SUCCESS, result, "1", None, 1.0, 2.0, 1.0)


class Worker:
    """Runs a Runner in a thread. A call ends at once, unless its id is in *gates*."""

    def __init__(self, addresses, execute=None):
        self.begun = queue.Queue()
        self.gates = {}
        self.is_open = True
        self.results = {}
        self.said = queue.Queue()
        self.runner = Runner(HELLO, addresses, execute or self.execute, lambda: self.is_open)
        self.thread = threading.Thread(target=self._serve, name="runner", daemon=True)
        self.thread.start()

    def execute(self, call, inputs):
        self.begun.put(call.id)
        if call.id in self.gates:
            assert self.gates[call.id].wait(DEADLINE)
        if call.id.startswith("list"):
            return outcome(call, b"".join(inputs()))
        return outcome(call, self.results.get(call.id, b"j1"))

    def hold(self, *ids):
        """Let these calls last until they are released."""
        for id in ids:
            self.gates[id] = threading.Event()

    def release(self, id):
        self.gates[id].set()

    def ends(self):
        """Return why it ended, which must be soon."""
        reason = soon(self.said)
        self.thread.join(DEADLINE)
        return reason

    def _serve(self):
        self.said.put(self.runner.serve())


@pytest.fixture
def work(listener):
    """A worker whose runner has dialled; ended after the test."""
    workers = []

    def work(*addresses, execute=None):
        workers.append(Worker(addresses or [listener.address], execute))
        return workers[-1]

    yield work
    listener.close()
    for worker in workers:
        worker.is_open = False
        for gate in worker.gates.values():
            gate.set()
        worker.thread.join(DEADLINE)
        assert not worker.thread.is_alive(), "a runner does not end"


@pytest.fixture
def worker(work, listener):
    worker = work()
    assert soon(listener.hellos) == HELLO
    return worker


def hears(listener, count):
    return [listener.hears() for _ in range(count)]


def test_calls_run_one_by_one_in_their_order(worker, listener):
    calls = [call(id) for id in "abc"]

    listener.says(Hand(calls[:2]), Hand(calls[2:]))

    assert hears(listener, 3) == [Report([outcome(each)]) for each in calls]
    assert [soon(worker.begun) for _ in range(3)] == ["a", "b", "c"]


def test_a_marked_call_is_announced_before_it_begins(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a", marked=True)]))

    assert listener.hears() == Begun("a", 1)
    assert soon(worker.begun) == "a"

    worker.release("a")
    assert listener.hears() == Report([outcome(call("a"))])


def test_only_marked_calls_are_announced(worker, listener):
    calls = [call("a"), call("b", marked=True), call("c"), call("d", marked=True, hand=7)]

    listener.says(Hand(calls))

    assert hears(listener, 6) == [
        Report([outcome(calls[0])]),
        Begun("b", 1),
        Report([outcome(calls[1])]),
        Report([outcome(calls[2])]),
        Begun("d", 7),
        Report([outcome(calls[3])]),
    ]


def test_a_report_and_the_next_mark_leave_in_one_piece(worker, listener):
    worker.hold("a", "b")
    listener.says(Hand([call("a"), call("b", marked=True)]))

    worker.release("a")

    assert soon(listener.reads) == [Report([outcome(call("a"))]), Begun("b", 1)]


# What it keeps


def test_an_outcome_is_kept_until_it_is_acknowledged(worker, listener):
    listener.says(Hand([call("a"), call("b")]))
    reports = hears(listener, 2)
    listener.says(Ack([("a", 1)]))
    listener.says(Recall())
    assert listener.hears() == Returned([])  # so the Ack was read before the line ended

    listener.hang_up()

    assert soon(listener.hellos).held == [Held("b", 1, 1, True)]
    assert listener.hears() == reports[1]
    listener.says(Ack([("b", 1)]), Recall())
    listener.hears()

    listener.hang_up()
    assert soon(listener.hellos).held == []


@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_the_running_call_outlasts_its_line(worker, listener, how):
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)

    getattr(listener, how)()
    assert soon(listener.hellos).held == [Held("a", 1, 1, True)]

    worker.release("a")
    assert listener.hears() == Report([outcome(call("a"))])


def test_what_had_not_begun_goes_with_the_line(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a"), call("b", marked=True)]))
    soon(worker.begun)

    listener.hang_up()
    assert soon(listener.hellos).held == [Held("a", 1, 1, True)]
    worker.release("a")
    listener.says(Hand([call("c")]))

    assert hears(listener, 2) == [Report([outcome(call(id))]) for id in "ac"]
    assert soon(worker.begun) == "c"


def test_all_that_is_kept_is_reported_anew_however_much_it_is(worker, listener, monkeypatch):
    """Together they may be more than a frame takes."""
    monkeypatch.setattr(lines, "FRAME_LIMIT", 10_000)
    calls = [call(id) for id in "abcde"]
    worker.results = dict.fromkeys("abcde", b"x" * 4_000)
    listener.says(Hand(calls))
    hears(listener, 5)

    listener.hang_up()

    assert len(soon(listener.hellos).held) == 5
    reported = []
    while len(reported) < 5:
        reported += [each.id for each in listener.hears().outcomes]
    assert reported == list("abcde")


def test_a_dispatcher_that_is_away_is_dialled_until_it_is_back(work, listener, listen, monkeypatch):
    monkeypatch.setattr(running, "REDIAL", 0.001)
    second = listen()
    worker = work(listener.address, second.address)
    soon(listener.hellos)
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)

    listener.close()

    assert soon(second.hellos).held == [Held("a", 1, 1, True)]
    worker.release("a")
    assert second.hears() == Report([outcome(call("a"))])
    second.says(Ack([("a", 1)]))


# Recall, Leave


def test_a_recall_gives_back_what_has_not_begun(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a"), call("b", marked=True), call("c", marked=True, hand=3)]))
    soon(worker.begun)

    listener.says(Recall())
    assert listener.hears() == Returned([("b", 1), ("c", 3)])

    worker.release("a")
    assert listener.hears() == Report([outcome(call("a"))])
    listener.says(Hand([call("d")]))
    assert listener.hears() == Report([outcome(call("d"))])
    assert soon(worker.begun) == "d"


def test_an_idle_runner_leaves_when_it_is_told_to(worker, listener):
    listener.says(Leave())

    assert worker.ends() == "told to leave"
    assert soon(listener.ends) is True


def test_a_busy_runner_leaves_when_its_outcome_is_acknowledged(worker, listener):
    listener.says(Hand([call("list"), call("b", marked=True)]))
    assert listener.hears() == Pull("list", 0)
    assert soon(worker.begun) == "list"

    listener.says(Leave(), Inputs("another", 0, [], 0))
    assert listener.hears() == Pull("list", 0)  # so the Leave was read
    listener.says(Inputs("list", 0, [b"1"], 1))

    assert hears(listener, 2) == [
        Report([outcome(call("list"), b"1")]),
        Returned([("b", 1)]),
    ]
    assert worker.said.empty()
    listener.says(Ack([("list", 1)]))
    assert worker.ends() == "told to leave"
    assert worker.begun.empty()


def test_it_leaves_as_soon_as_the_last_outcome_is_acknowledged(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)
    listener.says(Leave(), Recall())
    assert listener.hears() == Returned([])
    worker.release("a")
    listener.hears()

    before = time.monotonic()
    listener.says(Ack([("a", 1)]))
    worker.ends()

    assert time.monotonic() - before < 0.5


def test_a_busy_runner_that_was_told_to_leave_tells_the_next_dispatcher(worker, listener):
    """A dispatcher that drains does not wait for ever; its successor gets the outcome."""
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)
    listener.says(Leave(), Recall())
    listener.hears()

    listener.hang_up()
    assert soon(listener.hellos).held == [Held("a", 1, 1, True)]
    worker.release("a")

    assert listener.hears() == Report([outcome(call("a"))])
    listener.says(Ack([("a", 1)]))
    assert worker.ends() == "told to leave"


def test_a_runner_that_left_with_its_line_dials_no_more(worker, listener):
    listener.says(Leave())
    worker.ends()

    assert listener.hellos.empty()


# The lease


def test_a_dispatcher_that_is_silent_too_long_begins_nothing(work, listen, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(
        running, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=time.sleep)
    )
    listener = listen(lease=5.0)
    worker = work(listener.address)
    soon(listener.hellos)
    worker.hold("a")
    listener.says(Hand([call("a"), call("b", marked=True)]))
    soon(worker.begun)

    clock.now += 5.1
    worker.release("a")
    assert listener.hears() == Report([outcome(call("a"))])
    assert listener.heard.empty()

    listener.says(Beat())
    assert hears(listener, 2) == [Begun("b", 1), Report([outcome(call("b"))])]
    listener.says(Ack([("a", 1), ("b", 1)]))
    listener.says(Leave())


def test_a_runner_whose_worker_closes_gives_back_what_was_claimed_before_it_was_heard(
    worker, listener
):
    worker.is_open = False
    assert listener.hears() == Leave()

    listener.says(Hand([call("late")]))
    listener.says(Leave())

    assert listener.hears() == Returned([("late", 1)])
    assert worker.ends() == "its worker closes"


# What a call takes as a list


def test_inputs_are_pulled_in_slices(worker, listener):
    listener.says(Hand([call("list")]))

    assert listener.hears() == Pull("list", 0)
    listener.says(Inputs("list", 0, [b"1", b"2"], 3))
    assert listener.hears() == Pull("list", 2)
    listener.says(Inputs("list", 2, [b"3"], 3))

    assert listener.hears() == Report([outcome(call("list"), b"123")])


def test_a_call_may_have_no_inputs(worker, listener):
    listener.says(Hand([call("list")]))
    listener.hears()

    listener.says(Inputs("list", 0, [], 0))

    assert listener.hears() == Report([outcome(call("list"), b"")])


def test_inputs_that_nobody_asked_for_are_passed_over(worker, listener):
    listener.says(Inputs("list", 0, [b"early"], 1), Hand([call("list")]))
    assert listener.hears() == Pull("list", 0)

    listener.says(Inputs("another", 0, [b"another's"], 1))
    assert listener.hears() == Pull("list", 0)
    listener.says(Inputs("list", 5, [b"another slice"], 6))
    assert listener.hears() == Pull("list", 0)
    listener.says(Inputs("list", 0, [b"own"], 1))

    assert listener.hears() == Report([outcome(call("list"), b"own")])


@pytest.mark.parametrize("told_to_leave", [False, True])
def test_pulling_outlasts_the_line(worker, listener, told_to_leave):
    listener.says(Hand([call("list")]))
    listener.hears()
    listener.says(Inputs("list", 0, [b"1"], 2))
    assert listener.hears() == Pull("list", 1)
    if told_to_leave:
        listener.says(Leave(), Recall())
        assert listener.hears() == Returned([])

    listener.hang_up()

    assert soon(listener.hellos).held == [Held("list", 1, 1, True)]
    assert listener.hears() == Pull("list", 1)
    listener.says(Inputs("list", 1, [b"2"], 2))
    assert listener.hears() == Report([outcome(call("list"), b"12")])


# Its end


def test_a_runner_whose_worker_closes_ends(worker, listener):
    worker.is_open = False

    assert listener.hears() == Leave()
    listener.says(Leave())
    assert worker.ends() == "its worker closes"
    assert soon(listener.ends) is True


def test_a_runner_whose_worker_closes_delivers_what_it_has(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a"), call("b", marked=True)]))
    soon(worker.begun)

    worker.is_open = False
    listener.says(Recall())
    assert listener.hears() == Returned([("b", 1)])
    worker.release("a")

    assert listener.hears() == Report([outcome(call("a"))])
    listener.says(Ack([("a", 1)]))
    assert listener.hears() == Leave()
    listener.says(Leave())
    assert worker.ends() == "its worker closes"


def test_a_runner_that_is_refused_ends(work, listener):
    listener.refusal = "it was started twice"
    worker = work()

    assert worker.ends() == "the dispatcher refuses it: it was started twice"


def test_a_runner_that_is_refused_with_something_in_hand_tries_again(worker, listener, monkeypatch):
    """Its old line may not have ended yet at the other end."""
    monkeypatch.setattr(running, "REDIAL", 0.001)
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)
    listener.refusal = "runner-1 has a line already"

    listener.hang_up()
    worker.release("a")
    soon(listener.ends)
    listener.refusal = ""

    assert soon(listener.hellos).held == [Held("a", 1, 1, True)]
    assert listener.hears() == Report([outcome(call("a"))])


def test_a_runner_that_reaches_nobody_gives_up(listener, work, monkeypatch):
    monkeypatch.setattr(running, "GIVE_UP", 0.0)
    monkeypatch.setattr(running, "REDIAL", 0.001)
    listener.close()

    assert "no dispatcher answers at" in work().ends()


def test_a_runner_that_gave_up_ends_after_its_call(worker, listener, monkeypatch):
    monkeypatch.setattr(running, "GIVE_UP", 0.0)
    monkeypatch.setattr(running, "REDIAL", 0.001)
    gave_up = threading.Event()
    monkeypatch.setattr(running.logger, "error", lambda *words: gave_up.set())
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)
    listener.close()
    assert gave_up.wait(DEADLINE)

    worker.release("a")

    assert "no dispatcher answers at" in worker.ends()


def test_a_runner_that_has_ended_takes_no_line_any_more(worker, listener, monkeypatch):
    """Its worker closes while it dials: the dispatcher would feed nobody."""
    dialling, go_on = threading.Event(), threading.Event()

    def slow(*arguments):
        dialling.set()
        assert go_on.wait(DEADLINE)
        return lines.dial(*arguments)

    monkeypatch.setattr(running, "dial", slow)
    listener.hang_up()
    assert soon(listener.ends) is not None
    assert dialling.wait(DEADLINE)
    worker.is_open = False
    worker.ends()

    go_on.set()

    soon(listener.hellos)
    assert soon(listener.ends) is True


def test_a_call_whose_inputs_cannot_be_had_any_more_is_told_so(work, listener, monkeypatch):
    monkeypatch.setattr(running, "GIVE_UP", 0.0)
    monkeypatch.setattr(running, "REDIAL", 0.001)
    raised = queue.Queue()

    def execute(call, inputs):
        try:
            inputs()
        except LineClosed as error:
            raised.put(error)
        return outcome(call)

    worker = work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("list")]))
    listener.hears()

    listener.close()

    assert "away" in str(soon(raised))
    worker.ends()
