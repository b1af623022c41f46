from __future__ import annotations

import os
import queue
import select
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from dask_facade import line as lines
from dask_facade.exceptions import (
    DaskFacadeError,
    DuplicateTaskId,
    LedgerRefused,
    LineClosed,
    PayloadTooLarge,
    Superseded,
    TaskRevokedError,
)
from dask_facade.line import FRAME_LIMIT, token
from dask_facade.messages import (
    DUPLICATE,
    INVALID,
    RUNNER,
    SUPERSEDED,
    VERSION,
    Ack,
    Beat,
    Begun,
    Edge,
    Hand,
    Held,
    Hello,
    Inputs,
    Kill,
    Leave,
    Outcome,
    Pull,
    Recall,
    Report,
    Returned,
    Spawn,
    Spawned,
    Update,
)
from dask_facade.serialization import load_exception
from dask_facade.states import FAILURE, REVOKED, SUCCESS
from dask_facade.worker import channel as channels
from dask_facade.worker import serving as running
from dask_facade.worker.channel import NoData
from dask_facade.worker.serving import Runner
from tests.unit.calls import a_call
from tests.unit.listening import DEADLINE, SECRET, soon
from tests.unit.stage import new_job

HELLO = Hello(
    VERSION,
    RUNNER,
    "runner-1",
    token(SECRET, RUNNER, "runner-1"),
    instance="instance-1",
    worker="tcp://worker",
    queues=["q"],
    held=[],
    rates=[],
)


def call(id, *, marked=False, hand=1):
    return a_call(id, marked=marked, hand=hand)


def outcome(call, result=b"j1"):
    return Outcome(call.id, call.attempt, call.hand, SUCCESS, result, "1", None, 1.0, 2.0, 1.0)


class Worker:
    """Runs a Runner in a thread. A call ends at once, unless its id is in *gates*."""

    def __init__(self, addresses, execute=None, data=None):
        self.alone = True
        self.begun = queue.Queue()
        self.children = []  # ids of calls that run in a process of their own
        self.ended = threading.Event()
        self.gates = {}
        self.is_open = True
        self.results = {}
        self.said = queue.Queue()
        if execute is not None:
            self.run = execute
        self.runner = Runner(HELLO, addresses, self, lambda: self.is_open, data)
        self.thread = threading.Thread(target=self._serve, name="runner", daemon=True)
        self.thread.start()

    # As the executor of the runner

    def run(self, call, channel):
        self.begun.put(call.id)
        if call.id in self.gates:
            assert self.gates[call.id].wait(DEADLINE)
        if call.id.startswith("list"):
            return outcome(call, b"".join(channel.pull(0, None)))
        return outcome(call, self.results.get(call.id, b"j1"))

    def kill(self, id, hand):
        if id in self.children:
            self.release(id)
        return id in self.children

    def end_process(self):
        self.ended.set()

    def abandon(self):
        """It has no children."""

    def close(self):
        """Likewise."""

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

    def work(*addresses, execute=None, data=None):
        workers.append(Worker(addresses or [listener.address], execute, data))
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

    listener.says(Leave())
    assert listener.hears() == Returned([("b", 1)])  # at once: it may run elsewhere
    listener.says(Inputs("list", 0, [b"1"], 1))

    assert listener.hears() == Report([outcome(call("list"), b"1")])
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


def test_a_busy_runner_that_is_retired_gives_back_the_others_and_ends_its_call(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a"), call("b")]))
    assert soon(worker.begun) == "a"

    worker.runner.retire()
    assert listener.hears() == Leave()
    listener.says(Hand([call("late")]), Leave())
    assert listener.hears() == Returned([("b", 1), ("late", 1)])
    worker.release("a")
    assert listener.hears() == Report([outcome(call("a"))])
    assert worker.said.empty()
    listener.says(Ack([("a", 1)]))

    assert worker.ends() == "its worker closes"
    assert worker.begun.empty()


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


def test_nothing_begins_once_the_worker_closes(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a"), call("b")]))
    assert soon(worker.begun) == "a"

    worker.is_open = False
    worker.release("a")

    assert listener.hears() == Report([outcome(call("a"))])
    assert listener.hears() == Leave()
    listener.says(Ack([("a", 1)]), Leave())
    assert listener.hears() == Returned([("b", 1)])
    assert worker.ends() == "its worker closes"
    assert worker.begun.empty()


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

    def execute(call, channel):
        try:
            channel.pull(0, None)
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


def test_part_of_what_a_call_takes_is_pulled(work, listener):
    worker = work(execute=lambda call, channel: outcome(call, b"".join(channel.pull(1, 2))))
    soon(listener.hellos)

    listener.says(Hand([call("a")]))
    assert listener.hears() == Pull("a", 1)
    listener.says(Inputs("a", 1, [b"2", b"3"], 3))

    assert listener.hears() == Report([outcome(call("a"), b"2")])
    assert worker.is_open


# What a running call says


NEW = new_job("child", queue="q", parent_id="a")
EDGE = Edge("child", "other", 0, True)


@pytest.fixture
def spawner(work, listener):
    """A worker whose calls submit NEW, and what came of it."""
    came = queue.Queue()

    def execute(call, channel):
        try:
            came.put(channel.spawn([NEW], [EDGE]))
        except DaskFacadeError as error:
            came.put(error)
        return outcome(call)

    worker = work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a", hand=3)]))
    worker.came = came
    return worker


def test_children_are_submitted_once_the_dispatcher_says_so(spawner, listener):
    assert listener.hears() == Spawn(1, False, "a", 1, 3, [NEW], [EDGE])
    assert spawner.came.empty()

    listener.says(Spawned(7, 99.0, "", ""), Spawned(1, 12.5, "", ""))

    assert soon(spawner.came) == 12.5
    assert listener.hears() == Report([outcome(call("a", hand=3))])


def test_each_submission_has_its_number(spawner, listener):
    listener.hears()
    listener.says(Spawned(1, 1.0, "", ""), Hand([call("b")]))

    assert hears(listener, 2)[1] == Spawn(2, False, "b", 1, 1, [NEW], [EDGE])
    listener.says(Spawned(2, 1.0, "", ""))


def test_a_submission_outlasts_the_line(spawner, listener):
    listener.hears()

    listener.hang_up()

    assert soon(listener.hellos).held == [Held("a", 1, 3, True)]
    assert listener.hears() == Spawn(1, True, "a", 1, 3, [NEW], [EDGE])
    listener.says(Spawned(1, 12.5, "", ""))
    assert soon(spawner.came) == 12.5


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [(DUPLICATE, DuplicateTaskId), (SUPERSEDED, Superseded), (INVALID, LedgerRefused)],
)
def test_a_refused_submission_raises_in_the_task(spawner, listener, refusal, kind):
    listener.hears()

    listener.says(Spawned(1, 0.0, refusal, "child"))

    error = soon(spawner.came)
    assert type(error) is kind
    assert "child" in str(error)


def test_a_submission_that_no_frame_takes_is_refused(work, listener, monkeypatch):
    monkeypatch.setattr(lines, "FRAME_LIMIT", 10_000)
    came = queue.Queue()

    def execute(call, channel):
        with pytest.raises(LedgerRefused) as refused:
            channel.spawn([NEW._replace(payload=b"x" * 20_000)], [])
        came.put(refused.value)
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)

    listener.says(Hand([call("a")]))

    assert "too much" in str(soon(came))
    assert listener.hears() == Report([outcome(call("a"))])


def test_a_submission_fails_when_no_dispatcher_comes_back(spawner, listener, monkeypatch):
    monkeypatch.setattr(running, "GIVE_UP", 0.0)
    monkeypatch.setattr(running, "REDIAL", 0.001)
    listener.hears()

    listener.close()

    assert type(soon(spawner.came)) is LineClosed


def test_updates_are_told_and_the_last_one_before_the_outcome(work, listener):
    def execute(call, channel):
        for count in range(1000):
            channel.update("PROGRESS", b"j%d" % count, "")
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)

    listener.says(Hand([call("a", hand=3)]))

    said = [listener.hears()]
    while isinstance(said[-1], Update):
        said.append(listener.hears())
    assert said[-1] == Report([outcome(call("a", hand=3))])
    assert said[-2] == Update("a", 1, 3, "PROGRESS", b"j999", "")
    assert len(said) < 100  # it was faster than anybody could read


def test_an_update_is_told_while_the_call_goes_on(work, listener):
    go_on = threading.Event()

    def execute(call, channel):
        channel.update("PROGRESS", b"j1", "")
        channel.update("PROGRESS", b"j2", "")
        assert go_on.wait(DEADLINE)
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a")]))

    update = listener.hears()
    while update.meta != b"j2":
        update = listener.hears()
    go_on.set()

    assert listener.hears() == Report([outcome(call("a"))])


def test_large_updates_are_told_at_a_bounded_rate(work, listener, monkeypatch):
    monkeypatch.setattr(channels, "UPDATE_RATE", 20_000)
    go_on, ended = threading.Event(), threading.Event()

    def execute(call, channel):
        channel.update("PROGRESS", b"j" + b"1" * 9_999, "")
        assert go_on.wait(DEADLINE)
        channel.update("PROGRESS", b"j2", "")
        assert ended.wait(DEADLINE)
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a")]))

    assert len(listener.hears().meta) == 10_000
    before = time.monotonic()
    go_on.set()
    assert listener.hears().meta == b"j2"
    waited = time.monotonic() - before
    ended.set()

    assert 0.3 < waited < DEADLINE
    assert listener.hears() == Report([outcome(call("a"))])


def test_what_a_thread_says_after_its_call_takes_no_place_of_what_others_say(work, listener):
    channels = []

    def execute(call, channel):
        channels.append(channel)
        if call.id == "b":
            channel.update("PROGRESS", b"jb", "")
            channels[0].update("LATE", b"ja", "")
            with pytest.raises(Superseded):
                channels[0].spawn([NEW], [EDGE])
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a"), call("b")]))

    said = [listener.hears()]
    while said[-1] != Report([outcome(call("b"))]):
        said.append(listener.hears())

    states = [each.state for each in said if isinstance(each, Update)]
    assert states == ["PROGRESS"]


def test_an_end_that_no_frame_takes_fails_its_call_and_not_its_runner(work, listener):
    huge = b"j" + b"1" * FRAME_LIMIT

    def execute(call, channel):
        return outcome(call, huge) if call.id == "a" else outcome(call)

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a"), call("b")]))

    (failed,) = listener.hears().outcomes
    assert (failed.id, failed.state) == ("a", FAILURE)
    assert isinstance(load_exception(failed.result), PayloadTooLarge)
    assert listener.hears() == Report([outcome(call("b"))])


def test_a_state_that_no_frame_takes_is_left_out(work, listener):
    go_on = threading.Event()

    def execute(call, channel):
        channel.update("HUGE", b"x" * (FRAME_LIMIT + 1), "")
        assert go_on.wait(DEADLINE)
        channel.update("PROGRESS", b"j1", "")
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a")]))
    go_on.set()

    said = [listener.hears()]
    while not isinstance(said[-1], Report):
        said.append(listener.hears())
    assert said == [Update("a", 1, 1, "PROGRESS", b"j1", ""), Report([outcome(call("a"))])]


def test_a_fork_in_a_task_has_no_line_and_is_told_so(work, listener):
    """Else what it submits would be asked for again and again, and never answered."""

    def execute(call, channel):
        read, write = os.pipe()
        fork = os.fork()
        if fork == 0:
            try:
                channel.update("PROGRESS", b"j1", "")
                channel.spawn([NEW], [EDGE])
            except BaseException as error:
                os.write(write, type(error).__name__.encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as words:
            ready, _, _ = select.select([words], [], [], DEADLINE)
            said = words.read() if ready else "nothing"
        os.kill(fork, signal.SIGKILL)
        os.waitpid(fork, 0)
        return outcome(call, said.encode())

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a")]))

    assert listener.hears() == Report([outcome(call("a"), b"LineClosed")])


def test_updates_never_wait_for_a_slow_line(work, listener):
    listener_reads = threading.Event()

    def execute(call, channel):
        listener.pause_reading()
        for _ in range(50):
            channel.update("PROGRESS", b"x" * 2**20, "")
            time.sleep(0.001)
        listener_reads.set()
        return outcome(call)

    work(execute=execute)
    soon(listener.hellos)
    listener.says(Hand([call("a")]))

    assert listener_reads.wait(DEADLINE)
    listener.resume_reading()
    while not isinstance(listener.hears(), Report):
        pass


# Calls that are to be ended


def is_terminated(outcome):
    error = load_exception(outcome.result)
    assert (outcome.state, type(error), str(error)) == (REVOKED, TaskRevokedError, "terminated")
    return outcome.id, outcome.attempt, outcome.hand


def test_a_call_in_a_child_process_is_killed_there(worker, listener):
    worker.children = ["a"]
    worker.hold("a")
    listener.says(Hand([call("a", hand=3), call("b")]))
    soon(worker.begun)

    listener.says(Kill("a", 3))

    assert hears(listener, 2) == [
        Report([outcome(call("a", hand=3))]),
        Report([outcome(call("b"))]),
    ]
    assert not worker.ended.is_set()


@pytest.mark.parametrize("killed", [("a", 2), ("unknown", 1)])
def test_a_call_that_is_not_here_is_not_killed(worker, listener, killed):
    worker.hold("a")
    listener.says(Hand([call("a", hand=3)]))
    soon(worker.begun)

    listener.says(Kill(*killed), Recall())

    assert listener.hears() == Returned([])
    assert not worker.ended.is_set()
    worker.release("a")


def test_a_call_that_has_not_begun_never_does(worker, listener):
    worker.hold("a")
    listener.says(Hand([call("a"), call("b", hand=2), call("c")]))
    soon(worker.begun)

    listener.says(Kill("b", 2))

    (ended,) = listener.hears().outcomes
    assert is_terminated(ended) == ("b", 1, 2)
    worker.release("a")
    assert hears(listener, 2) == [Report([outcome(call(id))]) for id in "ac"]


def test_a_call_in_the_workers_only_thread_ends_with_its_process(worker, listener):
    """All that the dispatcher must know of is told first; nothing else is lost with it."""
    worker.hold("a")
    listener.says(Hand([call("a", hand=3), call("b")]))
    soon(worker.begun)

    listener.says(Kill("a", 3))
    assert hears(listener, 2) == [Leave(), Returned([("b", 1)])]
    (ended,) = listener.hears().outcomes
    assert is_terminated(ended) == ("a", 1, 3)
    assert not worker.ended.is_set()
    listener.says(Hand([call("late")]), Leave(), Ack([("a", 3)]))

    assert listener.hears() == Returned([("late", 1)])
    assert worker.ended.wait(DEADLINE)


def test_a_process_ends_though_nobody_acknowledges(worker, listener, monkeypatch):
    monkeypatch.setattr(running, "KILL_TIMEOUT", 0.01)
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)

    listener.says(Kill("a", 1))

    assert worker.ended.wait(DEADLINE)


def test_a_process_stays_when_the_call_ends_first(worker, listener, monkeypatch):
    monkeypatch.setattr(running, "KILL_TIMEOUT", DEADLINE)
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)
    listener.says(Kill("a", 1))
    hears(listener, 2)

    worker.release("a")
    listener.says(Leave(), Ack([("a", 1)]))

    assert worker.ends() == "its worker closes"
    assert listener.heard.empty()  # what it returned is not told: it is revoked
    assert not worker.ended.is_set()


def test_a_call_beside_others_in_its_process_goes_on(worker, listener, caplog):
    worker.alone = False
    worker.hold("a")
    listener.says(Hand([call("a")]))
    soon(worker.begun)

    listener.says(Kill("a", 1), Recall())
    assert listener.hears() == Returned([])
    worker.release("a")

    assert listener.hears() == Report([outcome(call("a"))])
    assert "isolate=True" in caplog.text
    assert not worker.ended.is_set()


# Where the dispatcher is


class Cluster(NoData):
    """A cluster whose scheduler says where the dispatcher is."""

    addresses = ()

    def dispatcher(self):
        return self.addresses


def test_a_runner_finds_the_next_dispatcher_by_the_scheduler(work, listener, listen, monkeypatch):
    monkeypatch.setattr(running, "REDIAL", 0.001)
    cluster, second = Cluster(), listen()
    worker = work(data=cluster)
    soon(listener.hellos)
    listener.says(Hand([call("a")]))
    report = listener.hears()

    listener.close()
    cluster.addresses = (second.address,)

    assert soon(second.hellos).held == [Held("a", 1, 1, True)]
    assert second.hears() == report
    second.says(Ack([("a", 1)]), Leave())
    assert worker.ends() == "told to leave"


class Asked(Cluster):
    """Keeps that it was asked."""

    def __init__(self):
        self.asked = threading.Semaphore(0)

    def dispatcher(self):
        self.asked.release()
        return self.addresses


def test_a_runner_leaves_a_silent_dispatcher_for_the_one_that_leads(work, listen, monkeypatch):
    monkeypatch.setattr(lines, "LULL", 0.02)
    cluster, first, second = Asked(), listen(lease=0.1), listen()
    worker = work(first.address, data=cluster)
    soon(first.hellos)
    first.says(Hand([call("a")]))
    report = first.hears()

    cluster.addresses = (second.address,)

    assert soon(second.hellos).held == [Held("a", 1, 1, True)]
    assert second.hears() == report
    second.says(Ack([("a", 1)]), Leave())
    assert worker.ends() == "told to leave"


def test_a_runner_waits_on_for_a_silent_dispatcher_while_no_other_leads(work, listen, monkeypatch):
    monkeypatch.setattr(lines, "LULL", 0.02)
    cluster, listener = Asked(), listen(lease=0.1)
    cluster.addresses = (listener.address,)
    worker = work(listener.address, data=cluster)
    soon(listener.hellos)

    for _ in range(3):
        assert cluster.asked.acquire(timeout=DEADLINE)
    listener.says(Hand([call("a")]))

    assert listener.hears() == Report([outcome(call("a"))])
    assert listener.hellos.empty()
    listener.says(Ack([("a", 1)]), Leave())
    assert worker.ends() == "told to leave"


def test_a_runner_whose_dispatcher_speaks_asks_nobody(work, listen, monkeypatch):
    monkeypatch.setattr(lines, "LULL", 0.02)
    cluster, listener = Asked(), listen(lease=60.0)
    worker = work(listener.address, data=cluster)
    soon(listener.hellos)

    time.sleep(0.1)  # several lulls
    listener.says(Leave())

    assert worker.ends() == "told to leave"
    assert not cluster.asked.acquire(blocking=False)
