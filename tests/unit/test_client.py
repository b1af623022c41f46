from __future__ import annotations

import gc
import os
import threading
import time
import weakref

import pytest

from dask_facade import line as lines
from dask_facade.dispatcher import client as clients
from dask_facade.dispatcher.client import BUFFER, OFFER_BYTES, OFFER_CALLS, DispatcherClient
from dask_facade.dispatcher.dialling import dial_leader
from dask_facade.exceptions import LedgerUnavailable
from dask_facade.ledger.store import calls_of
from dask_facade.messages import CLIENT, Beat, Nudge, Offer, Push, Unsure, Unwait, Wait
from tests.unit.listening import DEADLINE, SECRET, soon
from tests.unit.stage import end_of as outcome_of
from tests.unit.stage import new_job

(CALL,) = calls_of([new_job("a")], 1.5, ())


@pytest.fixture
def client(no_thread_stays, store):
    client = DispatcherClient(store)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(clients, "DIAL_PAUSES", (0.005,))


@pytest.fixture
def led(store, listener):
    """A dispatcher that leads; the ledger says where it listens."""
    store.open_desk().lead("tests", [listener.address], SECRET, None)
    return listener


@pytest.fixture
def connected(client, led):
    """A client whose line is up, and the dispatcher at its other end."""
    watch = client.watch(["connecting"])
    assert led.hears() == Wait(["connecting"])
    client.unwatch(watch)
    assert led.hears() == Unwait(["connecting"])
    return led


def call(id, size=0):
    return CALL._replace(id=id, payload=b"x" * size, inputs=[])  # as msgpack reads it


def end_of(id):
    return outcome_of(call(id))


def until(condition):
    """Wait until something holds that nobody tells of."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.001)


# Without a dispatcher


def test_a_client_that_was_never_used_has_no_line_and_no_thread(client, led):
    assert not client.connected
    assert led.hellos.empty()


@pytest.mark.parametrize("addresses", [None, [], ["127.0.0.1:1"], ["nonsense"]])
def test_offering_without_a_dispatcher_is_nothing(client, store, addresses):
    if addresses is not None:
        store.open_desk().lead("tests", addresses, SECRET, None)

    for number in range(2 * BUFFER):
        client.offer([call(str(number))])

    assert not client.connected


def test_offering_does_not_wait_for_a_dispatcher_that_does_not_answer(client, store):
    """Its address takes connections, and nobody is there."""
    with lines.socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        store.open_desk().lead("tests", [address], SECRET, None)

        before = time.monotonic()
        for _ in range(100):
            client.offer([call("a")])

        assert time.monotonic() - before < 1.0


def test_hints_are_dropped_when_nobody_comes_for_them(client, led, store):
    lease = store.lease()
    store.open_desk().resign(lease.epoch)
    client.offer([call("dropped")])
    for thread in threading.enumerate():
        if thread.name == "dask-facade-dial":
            thread.join(DEADLINE)

    store.open_desk().lead("tests", [led.address], SECRET, store.lease())
    client.offer([call("kept")])

    assert led.hears() == Offer([call("kept")])


def test_a_ledger_that_raises_is_asked_again(client, led, store, monkeypatch):
    lease, errors = store.lease, [LedgerUnavailable("away"), OSError("a database's own error")]

    def raising():
        if errors:
            raise errors.pop()
        return lease()

    monkeypatch.setattr(store, "lease", raising)

    client.offer([call("a")])

    assert led.hears() == Offer([call("a")])


def test_a_watch_without_a_dispatcher_sends_to_the_ledger_at_once(client):
    watch = client.watch(["a", "b"])

    assert watch.take(DEADLINE) == ([], {"a", "b"})
    assert watch.take(0) == ([], set())
    client.unwatch(watch)


def test_the_line_is_dialled_as_long_as_somebody_waits(client, led, store):
    lease = store.lease()
    store.open_desk().resign(lease.epoch)
    watch = client.watch(["a"])
    watch.take(DEADLINE)
    assert not watch.take(0.05)[0]

    store.open_desk().lead("tests", [led.address], SECRET, store.lease())

    assert led.hears() == Wait(["a"])
    client.unwatch(watch)


def test_a_refusal_is_logged_and_the_line_dialled_again(client, led, caplog):
    led.refusal = "another release"
    watch = client.watch(["a"])
    until(lambda: "the dispatcher refuses the line: another release" in caplog.text)

    led.refusal = ""

    assert led.hears() == Wait(["a"])
    client.unwatch(watch)


# With one


def test_the_client_says_who_it_is(connected):
    hello = soon(connected.hellos)

    assert hello.role == CLIENT
    assert str(os.getpid()) in hello.identity


def test_hints_arrive_in_their_order(client, led):
    for number in range(100):
        client.offer([call(str(number))])

    assert [led.hears().calls[0].id for _ in range(100)] == [str(n) for n in range(100)]


def test_many_calls_go_in_several_messages(client, connected):
    calls = [call(str(number)) for number in range(2 * OFFER_CALLS + 1)]

    client.offer(calls)

    sizes = [len(connected.hears().calls) for _ in range(3)]
    assert sizes == [OFFER_CALLS, OFFER_CALLS, 1]


def test_large_calls_go_in_several_messages(client, connected):
    size = OFFER_BYTES // 2
    client.offer([call("a", size), call("b", size), call("c", 2 * OFFER_BYTES), call("d")])

    ids = [[each.id for each in connected.hears().calls] for _ in range(3)]
    assert ids == [["a", "b"], ["c"], ["d"]]


def test_offering_nothing_says_nothing(client, connected):
    client.offer([])
    client.offer([call("a")])

    assert connected.hears() == Offer([call("a")])


def test_a_dispatcher_that_does_not_read_makes_nobody_wait(client, connected, monkeypatch):
    monkeypatch.setattr(lines, "POST_LIMIT", 2**20)
    connected.pause_reading()

    before = time.monotonic()
    for number in range(100):
        client.offer([call(str(number), 2**18)])
    assert time.monotonic() - before < DEADLINE
    connected.resume_reading()

    assert connected.hears().calls[0].id == "0"  # and of the later ones what found room


def test_a_watch_gets_the_ends_of_its_jobs_only(client, connected):
    mine, others = client.watch(["a", "b"]), client.watch(["c"])
    assert sorted(connected.hears().ids) == ["a", "b"]
    connected.hears()

    connected.says(Push([end_of("a"), end_of("c"), end_of("nobody's")]), Push([end_of("b")]))

    got = mine.take(DEADLINE)[0]
    while len(got) < 2:
        got += mine.take(DEADLINE)[0]
    assert [each.id for each in got] == ["a", "b"]
    assert [each.id for each in others.take(DEADLINE)[0]] == ["c"]


def test_two_watches_of_one_job_both_get_its_end(client, connected):
    watches = [client.watch(["a"]), client.watch(["a"])]

    connected.says(Push([end_of("a")]))

    assert [watch.take(DEADLINE)[0] for watch in watches] == [[end_of("a")], [end_of("a")]]


def test_a_watch_is_told_what_the_dispatcher_does_not_know(client, connected):
    watch = client.watch(["a", "b"])

    connected.says(Unsure(["a", "nobody's"]))

    assert watch.take(DEADLINE) == ([], {"a"})
    client.unwatch(watch)


def test_a_watch_waits_no_longer_than_it_is_told_to(client, connected):
    watch = client.watch(["a"])

    assert watch.take(0.001) == ([], set())
    client.unwatch(watch)


def test_news_for_one_watch_do_not_end_the_waiting_of_another(client, connected):
    one, other = client.watch(["a"]), client.watch(["b"])
    got = []
    waiting = threading.Thread(target=lambda: got.append(other.take(DEADLINE)))
    waiting.start()

    connected.says(Push([end_of("a")]))
    assert one.take(DEADLINE)[0]
    connected.says(Beat(), Push([end_of("b")]))
    waiting.join(DEADLINE)

    assert got == [([end_of("b")], set())]


def test_the_dispatcher_is_told_when_nobody_waits_for_a_job_any_more(client, connected):
    first, second = client.watch(["a"]), client.watch(["a"])
    assert [connected.hears(), connected.hears()] == [Wait(["a"])] * 2

    client.unwatch(first)
    client.unwatch(second)
    client.unwatch(second)

    assert connected.hears() == Unwait(["a"])
    client.offer([call("next")])
    assert connected.hears() == Offer([call("next")])


def test_what_ended_is_not_taken_back(client, connected):
    watch = client.watch(["a", "b"])
    connected.hears()
    connected.says(Push([end_of("a")]))
    watch.take(DEADLINE)

    client.unwatch(watch)

    assert connected.hears() == Unwait(["b"])


def test_a_nudge_is_said_at_once(client, connected):
    client.nudge()

    assert connected.hears() == Nudge()


def test_a_nudge_dials_and_is_said_once(client, led):
    for _ in range(3):
        client.nudge()

    assert led.hears() == Nudge()
    client.offer([call("next")])
    assert led.hears() == Offer([call("next")])


def test_a_nudge_without_a_dispatcher_is_nothing(client):
    client.nudge()

    assert not client.connected


def test_a_watch_with_a_wake_is_called_for_its_own_news(client, connected):
    woken = []
    mine = client.watch(["a", "b"], lambda: woken.append("mine"))
    client.watch(["c"], lambda: woken.append("other"))
    watch = client.watch(["d"])

    connected.says(Push([end_of("a")]), Unsure(["b"]), Push([end_of("d")]))

    assert watch.take(DEADLINE)[0]
    assert set(woken) == {"mine"}
    assert mine.take(0) == ([end_of("a")], {"b"})


# When the line ends


@pytest.mark.parametrize("how", ["hang_up", "reset"])
def test_a_line_that_ends_is_dialled_again_and_waits_are_said_anew(client, connected, how):
    watch = client.watch(["a"])
    assert connected.hears() == Wait(["a"])

    getattr(connected, how)()

    assert watch.take(DEADLINE) == ([], {"a"})  # it may have ended meanwhile
    assert connected.hears() == Wait(["a"])
    connected.says(Push([end_of("a")]))
    assert watch.take(DEADLINE)[0] == [end_of("a")]


def test_a_line_that_nobody_needs_is_not_dialled_again(client, connected):
    soon(connected.hellos)

    connected.hang_up()
    until(lambda: not client.connected)

    client.offer([call("a")])
    assert connected.hears() == Offer([call("a")])
    assert soon(connected.hellos)
    assert connected.hellos.empty()


def test_a_hint_and_a_nudge_that_meet_a_dying_line_go_on_the_next(client, connected):
    with client._changed:  # so that its reader cannot tell that the line is gone
        connected.reset()
        until(lambda: client._line._gone)
        client.offer([call("kept")])
        client.nudge()
        assert client.connected

    assert [connected.hears(), connected.hears()] == [Offer([call("kept")]), Nudge()]


def test_the_next_dispatcher_is_found_in_the_ledger(client, connected, store, listen):
    second = listen()
    store.open_desk().lead("second", [second.address], SECRET, store.lease())
    watch = client.watch(["a"])

    connected.close()

    assert second.hears() == Wait(["a"])
    client.unwatch(watch)


def test_a_closed_client_dials_no_more(client, connected):
    soon(connected.hellos)
    client.close()
    assert soon(connected.ends) is True

    client.offer([call("a")])
    watch = client.watch(["a"])

    assert watch.take(DEADLINE) == ([], {"a"})
    assert not client.connected
    assert connected.hellos.empty()


def test_closing_ends_the_dialling_thread(client, monkeypatch):
    monkeypatch.setattr(clients, "DIAL_PAUSES", (60.0,))
    watch = client.watch(["a"])
    watch.take(DEADLINE)

    client.close()

    client.unwatch(watch)  # no_thread_stays says the rest


def test_a_line_that_comes_up_after_the_end_is_closed(client, led, monkeypatch):
    dialling, go_on = threading.Event(), threading.Event()

    def slow(*arguments):
        dialling.set()
        assert go_on.wait(DEADLINE)
        return dial_leader(*arguments)

    monkeypatch.setattr(clients, "dial_leader", slow)
    client.offer([call("a")])
    assert dialling.wait(DEADLINE)

    client.close()
    go_on.set()

    assert soon(led.ends) is True
    assert not client.connected


# Fork


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_a_line_of_its_own_and_leaves_that_of_its_parent(client, connected):
    parents = soon(connected.hellos)
    watch = client.watch(["parent's"])
    connected.hears()

    child = os.fork()
    if child == 0:
        try:
            alone = not client.connected
            client.offer([call("from the child" if alone else "from the parent's line")])
            childs_watch = client.watch(["child's"])
            until(lambda: childs_watch.take(DEADLINE)[0])
            client.close()
        finally:
            os._exit(0)
    assert [connected.hears(), connected.hears()] == [
        Offer([call("from the child")]),
        Wait(["child's"]),
    ]
    connected.says(Push([end_of("child's")]))
    os.waitpid(child, 0)

    childs = soon(connected.hellos)
    assert childs.identity != parents.identity
    assert str(child) in childs.identity
    assert soon(connected.ends) is True  # the child's
    assert client.connected
    client.unwatch(watch)
    assert connected.hears() == Unwait(["parent's"])


def test_a_client_that_nobody_has_any_more_is_gone(store):
    gone = weakref.ref(DispatcherClient(store))
    gc.collect()

    assert gone() is None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_the_line_of_a_parent_ends_with_it_though_a_child_lives(store, led):
    """The child holds no copy of the parent's end open."""
    read, write = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            os.close(write)
            client = DispatcherClient(store)
            watch = client.watch(["a"])
            until(lambda: watch.take(DEADLINE)[0])
            if os.fork() == 0:
                os.read(read, 1)  # outlives its parent, until the test is over
        finally:
            os._exit(0)
    try:
        assert led.hears() == Wait(["a"])
        led.says(Push([end_of("a")]))
        os.waitpid(parent, 0)

        assert soon(led.ends) is True
    finally:
        os.close(write)
        os.close(read)


# A dispatcher that is silent


@pytest.fixture
def patient(monkeypatch):
    """Clients look soon whether a silent dispatcher still leads."""
    monkeypatch.setattr(lines, "LULL", 0.01)


def test_who_waits_leaves_a_silent_dispatcher_for_the_one_that_leads(
    patient, client, store, listen
):
    first, second = listen(lease=0.05), listen()
    desk = store.open_desk()
    desk.lead("first", [first.address], SECRET, None)
    watch = client.watch(["a"])
    assert first.hears() == Wait(["a"])

    desk.lead("second", [second.address], SECRET, store.lease())

    assert second.hears() == Wait(["a"])
    client.unwatch(watch)


def test_who_waits_stays_with_a_silent_dispatcher_that_leads(
    patient, client, store, listen, monkeypatch
):
    listener, looks, lease = listen(lease=0.05), threading.Semaphore(0), store.lease
    store.open_desk().lead("tests", [listener.address], SECRET, None)
    watch = client.watch(["a"])
    assert listener.hears() == Wait(["a"])
    assert watch.take(0) == ([], {"a"})  # there was no line when it began to wait
    monkeypatch.setattr(store, "lease", lambda: (looks.release(), lease())[1])

    for _ in range(3):
        assert looks.acquire(timeout=DEADLINE)
    listener.says(Push([end_of("a")]))

    assert watch.take(DEADLINE) == ([end_of("a")], set())
    client.unwatch(watch)


def test_who_waits_for_nothing_asks_nobody(patient, client, connected, store, monkeypatch):
    looks = []
    monkeypatch.setattr(store, "lease", lambda: looks.append(1))

    time.sleep(0.1)  # several lulls

    assert looks == []
