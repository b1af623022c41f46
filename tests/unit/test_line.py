from __future__ import annotations

import queue
import socket
import struct
import threading
import tracemalloc
from contextlib import ExitStack, closing, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dask_facade import line as lines
from dask_facade.exceptions import LineClosed, LineRefused, MalformedMessage
from dask_facade.line import FRAME_LIMIT, Frames, dial, frame, frames, is_token, token
from dask_facade.messages import (
    CLIENT,
    RUNNER,
    VERSION,
    Beat,
    Begun,
    Hand,
    Hello,
    Inputs,
    Leave,
    Look,
    Offer,
    Push,
    Refusal,
    Report,
    Unsure,
    Unwait,
    Wait,
    Welcome,
)
from tests.unit.listening import DEADLINE, SECRET, Listener, soon
from tests.unit.test_messages import CALL, OUTCOME

MIB = 2**20


def hello(identity="me", role=CLIENT, secret=SECRET, version=VERSION):
    return Hello(
        version, role, identity, token(secret, role, identity), held=[], queues=[], rates=[]
    )


class End:
    """The dialling end: a line, and what it hears."""

    def __init__(self, address, said=None):
        self.ends = queue.Queue()
        self.heard = queue.Queue()
        self.reads = queue.Queue()
        self.line = dial([address], said or hello())
        self.line.start(self._receive, lambda: self.ends.put("ended"))

    def _receive(self, messages):
        self.reads.put(list(messages))
        for message in messages:
            self.heard.put(message)


@pytest.fixture
def end(listener):
    """A line to the listener, from its dialling end."""
    made = End(listener.address)
    soon(listener.hellos)
    yield made
    made.line.close()
    assert soon(made.ends) == "ended"
    assert made.ends.empty()


@pytest.fixture
def answers(no_thread_stays):
    """A server that answers whoever connects with these bytes, and hangs up."""
    servers, threads = [], []

    def answers(data, *, hang_up=True):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(data)
                if not hang_up:
                    connection.settimeout(DEADLINE)
                    connection.recv(1)

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return "{}:{}".format(*server.getsockname())

    yield answers
    for thread in threads:
        thread.join(DEADLINE)
    for server in servers:
        server.close()


@pytest.fixture
def closed_port():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return "{}:{}".format(*server.getsockname())


# Frames

MESSAGES = [
    Beat(),
    Wait(["a", "é" * 100]),
    Begun("a", 1),
    Offer([CALL]),
    Report([OUTCOME, OUTCOME]),
    Leave(),
]


def test_a_frame_is_its_length_and_the_message():
    assert frame(Beat()) == b"\x00\x00\x00\x02\x91\x03"


@given(st.lists(st.sampled_from(MESSAGES)), st.data())
def test_messages_come_whole_however_the_bytes_are_cut(messages, data):
    stream = b"".join(map(frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = Frames()

    heard = []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        heard += reader.feed(stream[start:stop])

    assert heard == messages


def test_messages_come_whole_byte_by_byte():
    reader = Frames()

    heard = []
    for byte in b"".join(map(frame, MESSAGES)):
        heard += reader.feed(bytes([byte]))

    assert heard == MESSAGES


def test_a_frame_over_the_limit_is_malformed_before_it_has_come():
    with pytest.raises(MalformedMessage, match="67,108,865 bytes"):
        Frames().feed(struct.pack(">I", FRAME_LIMIT + 1))


def test_a_frame_of_the_limit_is_waited_for():
    assert Frames().feed(struct.pack(">I", FRAME_LIMIT) + b"\x91") == []


@pytest.mark.parametrize(
    "data", [b"\x00\x00\x00\x00", b"\x00\x00\x00\x01\xc1", b"GET / HTTP/1.1\r"]
)
def test_a_frame_that_is_no_message_is_malformed(data):
    with pytest.raises(MalformedMessage):
        Frames().feed(data)


@given(st.binary())
def test_random_bytes_are_malformed_or_not_yet_a_frame(data):
    with suppress(MalformedMessage):
        Frames().feed(data)


def test_a_message_that_no_frame_takes_is_malformed():
    with pytest.raises(MalformedMessage, match=r"Wait of 67,108,8\d\d bytes is too long"):
        frame(Wait(["x" * FRAME_LIMIT]))


@pytest.mark.parametrize("kind", [Offer, Hand, Push, Report])
def test_what_is_too_long_together_goes_in_several_frames(monkeypatch, kind):
    large = b"x" * 400
    call, outcome = CALL._replace(payload=large), OUTCOME._replace(result=large)
    part = call if kind in (Offer, Hand) else outcome
    monkeypatch.setattr(lines, "FRAME_LIMIT", 1_000)
    parts = [part._replace(id=str(number)) for number in range(9)]

    heard = Frames().feed(frames(kind(parts)))

    assert {type(message) for message in heard} == {kind}
    assert [each for (each_parts,) in heard for each in each_parts] == parts
    assert len(heard) > 1


@pytest.mark.parametrize("kind", [Wait, Unwait, Look, Unsure])
def test_more_ids_than_a_frame_takes_go_in_several(monkeypatch, kind):
    monkeypatch.setattr(lines, "FRAME_LIMIT", 1_000)
    ids = [str(number) for number in range(1_000)]

    heard = Frames().feed(frames(kind(ids)))

    assert {type(message) for message in heard} == {kind}
    assert [id for (some,) in heard for id in some] == ids


def test_what_fits_goes_in_one_frame():
    assert frames(Offer([CALL] * 9)) == frame(Offer([CALL] * 9))


@pytest.mark.parametrize(
    "message", [Offer([CALL._replace(payload=b"x" * 1_000)]), Begun("x" * 1_000, 1)]
)
def test_what_is_too_long_alone_is_malformed(monkeypatch, message):
    monkeypatch.setattr(lines, "FRAME_LIMIT", 1_000)

    with pytest.raises(MalformedMessage, match="is too long"):
        frames(message)


# Tokens


@pytest.mark.parametrize(
    ("said", "good"),
    [
        (hello(), True),
        (hello(secret=b"another"), False),
        (hello()._replace(identity="somebody else"), False),
        (hello()._replace(role=RUNNER), False),
        (hello()._replace(token=""), False),
        (hello()._replace(token="é"), False),
        (hello()._replace(role="client:me", identity="x"), False),
    ],
)
def test_a_token_is_good_for_one_role_and_identity(said, good):
    assert is_token(SECRET, said) is good


# Hello and welcome


def test_who_dials_is_greeted(listener):
    end = End(listener.address, hello())
    try:
        assert soon(listener.hellos) == hello()
        assert end.line.welcome == Welcome(VERSION, 1, 60.0)
    finally:
        end.line.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (hello(secret=b"another"), "its token is not of this ledger"),
        (hello(version=99), "it speaks version 99"),
    ],
)
def test_who_is_not_known_is_told_why(listener, said, reason):
    with pytest.raises(LineRefused, match=reason):
        dial([listener.address], said)

    assert listener.hellos.empty()


def test_the_first_address_that_answers_is_taken(listener, closed_port):
    line = dial([closed_port, listener.address], hello())

    assert soon(listener.hellos)
    line.close()


def test_a_refusal_is_not_shopped_around(listen):
    first, second = listen(), listen()
    first.refusal = "no"

    with pytest.raises(LineRefused, match="no"):
        dial([first.address, second.address], hello())

    assert second.hellos.empty()


@pytest.mark.parametrize(
    "address", ["", "nonsense", "127.0.0.1", "127.0.0.1:", "127.0.0.1:port", "127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_passed_over(listener, address):
    with pytest.raises(LineClosed, match="no dispatcher answers at"):
        dial([address], hello())

    dial([address, listener.address], hello()).close()


def test_no_address_is_no_line(closed_port):
    with pytest.raises(LineClosed, match="any address"):
        dial([], hello())
    with pytest.raises(LineClosed, match=closed_port):
        dial([closed_port], hello())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        frame(Welcome(VERSION, 1, 5.0))[:-1],
        b"\x00\x00\x00\x01\xc1",
        frame(Beat()),
        frame(hello()),
    ],
)
def test_who_answers_otherwise_is_no_dispatcher(answers, data):
    with pytest.raises(LineClosed, match="no dispatcher answers at"):
        dial([answers(data)], hello())


def test_who_does_not_answer_in_time_is_no_dispatcher(answers):
    with pytest.raises(LineClosed, match="timed out"):
        dial([answers(b"", hang_up=False)], hello(), timeout=0.05)


def test_a_refusal_is_understood_from_anybody(answers):
    with pytest.raises(LineRefused, match="another release"):
        dial([answers(frame(Refusal("another release")))], hello())


def test_what_follows_the_welcome_is_heard(answers):
    address = answers(frame(Welcome(VERSION, 1, 5.0)) + frame(Beat()) + frame(Leave()))
    end = End(address)

    assert [soon(end.heard), soon(end.heard)] == [Beat(), Leave()]
    end.line.close()
    soon(end.ends)


def test_an_ipv6_address_stands_in_brackets(listen):
    try:
        listener = listen("::1")
    except OSError:
        pytest.skip("no IPv6 here")

    line = dial([listener.address], hello())

    assert listener.address.startswith("[::1]:")
    assert soon(listener.hellos)
    line.close()


# The listening end


def raw(listener: Listener) -> socket.socket:
    host, _, port = listener.address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=DEADLINE)
    return connection


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while more := connection.recv(65_536):
        data += more
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        frame(Beat()),
        frame(Wait(["a"])),
        b"\x00\x00\x00\x01\xc1",
        b"\xff\xff\xff\xff",
    ],
)
def test_who_begins_with_something_else_is_refused(listener, data):
    with closing(raw(listener)) as connection:
        connection.sendall(data)

        (answer,) = Frames().feed(read_all(connection))

    assert isinstance(answer, Refusal)
    assert listener.hellos.empty()
    assert listener.ends.empty()  # nobody was there


def test_messages_right_behind_the_hello_are_heard(listener):
    with closing(raw(listener)) as connection:
        connection.sendall(frame(hello()) + frame(Wait(["a"])) + frame(Begun("a", 1)))

        assert [listener.hears(), listener.hears()] == [Wait(["a"]), Begun("a", 1)]


def test_bad_bytes_end_their_own_line_only(listener, end):
    with closing(raw(listener)) as connection:
        connection.sendall(frame(hello("other")))
        assert soon(listener.hellos).identity == "other"
        connection.sendall(frame(Wait(["before"])))
        assert listener.hears() == Wait(["before"])
        connection.sendall(b"\x00\x00\x00\x01\xc1")

        read_all(connection)
        assert soon(listener.ends) is False  # not whole: what else was under way is lost

    end.line.send(Wait(["after"]))
    assert listener.hears() == Wait(["after"])


# Both ends


def test_messages_come_in_the_order_in_which_they_were_sent(listener, end):
    for number in range(1_000):
        end.line.send(Begun("a", number))

    assert [listener.hears().hand for _ in range(1_000)] == list(range(1_000))


def test_messages_sent_together_come_together(listener, end):
    end.line.send(Report([OUTCOME]), Begun("a", 1))

    assert soon(listener.reads) == [Report([OUTCOME]), Begun("a", 1)]


def test_messages_come_from_many_threads_whole(listener, end):
    def send(name):
        for number in range(200):
            end.line.send(Begun(name * 100, number))

    threads = [threading.Thread(target=send, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    heard = [listener.hears() for _ in range(800)]
    for thread in threads:
        thread.join(DEADLINE)

    for name in "abcd":
        assert [each.hand for each in heard if each.id == name * 100] == list(range(200))


def test_the_listener_is_heard(listener, end):
    listener.says(Unsure(["a"]), Hand([CALL]))

    assert [soon(end.heard), soon(end.heard)] == [Unsure(["a"]), Hand([CALL])]


def test_a_large_message_comes_whole(listener, end):
    results = [b"x" * (8 * MIB), b"y" * (8 * MIB)]

    end.line.send(Report([OUTCOME._replace(result=each) for each in results]))
    assert [each.result for each in listener.hears().outcomes] == results

    listener.says(Inputs("a", 0, results, 2))
    assert soon(end.heard).results == results


# Ends


def test_a_line_that_is_closed_has_delivered_all_that_was_sent(listener):
    end = End(listener.address)
    for number in range(1_000):
        end.line.send(Begun("a", number))
    end.line.close()

    assert soon(listener.ends) is True
    assert [listener.hears().hand for _ in range(1_000)] == list(range(1_000))
    assert soon(end.ends) == "ended"


def test_a_line_that_is_reset_is_not_whole(listener):
    connection = raw(listener)
    connection.sendall(frame(hello()))
    soon(listener.hellos)

    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()

    assert soon(listener.ends) is False


def test_a_line_that_ends_in_the_middle_of_a_message_ends_by_eof_all_the_same(listener):
    """All marks that were sent whole have arrived: that is what 'whole' says."""
    with closing(raw(listener)) as connection:
        connection.sendall(frame(hello()) + frame(Begun("a", 1)) + frame(Begun("b", 1))[:-1])
        assert connection.recv(65_536) == frame(Welcome(VERSION, 1, 60.0))
        assert listener.hears() == Begun("a", 1)

    assert soon(listener.ends) is True
    assert listener.heard.empty()


@pytest.mark.parametrize("how", ["hang_up", "reset", "close"])
def test_the_dialling_end_hears_that_the_line_is_gone(listener, how):
    end = End(listener.address)
    soon(listener.hellos)

    getattr(listener, how)()

    assert soon(end.ends) == "ended"
    with pytest.raises(LineClosed):
        end.line.send(Beat())
    with pytest.raises(LineClosed):
        end.line.post(Beat())
    end.line.close()


def test_what_was_said_before_the_end_is_heard(listener, end):
    listener.says(Push([OUTCOME]), Leave())
    listener.hang_up()

    assert [soon(end.heard), soon(end.heard)] == [Push([OUTCOME]), Leave()]


def test_bad_bytes_end_the_dialling_end_too(listener, end):
    listener.sends(frame(Beat()))
    assert soon(end.heard) == Beat()

    listener.sends(b"\x00\x00\x00\x01\xc1")

    assert soon(listener.ends)


def test_a_line_may_be_closed_by_its_own_reader(listener):
    closed: queue.Queue[str] = queue.Queue()
    line = dial([listener.address], hello())
    line.start(lambda messages: line.close(), lambda: closed.put("ended"))
    listener.says(Beat())

    assert soon(closed) == "ended"


def test_a_line_may_be_closed_while_it_begins_to_read(listener, monkeypatch):
    line = dial([listener.address], hello())
    closed: queue.Queue[str] = queue.Queue()
    closing_thread = threading.Thread(target=lambda: closed.put(str(line.close())))
    start = threading.Thread.start

    def start_slowly(thread):
        if thread.name == "dask-facade-line":
            start(closing_thread)
            closing_thread.join(0.05)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_slowly)
    line.start(lambda messages: None, lambda: closed.put("ended"))

    assert {soon(closed), soon(closed)} == {"None", "ended"}
    closing_thread.join(DEADLINE)


def test_a_line_may_be_closed_twice_and_before_it_is_read(listener):
    line = dial([listener.address], hello())

    line.close()
    line.close()

    assert soon(listener.ends) is True


# Peers that do not read


def test_posting_never_blocks(listener, end, monkeypatch):
    monkeypatch.setattr(lines, "POST_LIMIT", 4 * MIB)
    listener.pause_reading()

    posted = 0
    while end.line.post(Wait([str(posted), "x" * MIB])):
        posted += 1
        assert posted < 1_000
    listener.resume_reading()

    assert posted >= 4
    for number in range(posted):
        assert listener.hears().ids[0] == str(number)
    assert end.line.post(Wait(["after"]))
    assert listener.hears() == Wait(["after"])


def test_what_is_posted_comes_in_order_from_a_line_that_is_full_at_times(listener, end):
    total = 0
    for round_ in range(5):
        listener.pause_reading()
        for _ in range(30):
            assert end.line.post(Wait([str(total), "x" * (256 * 1024)]))
            total += 1
        listener.resume_reading()
        assert listener.hears().ids[0] == str(round_)

    heard = [int(listener.hears().ids[0]) for _ in range(total - 5)]

    assert heard == list(range(5, total))


def test_a_line_that_goes_while_it_is_full_takes_no_more(listener, monkeypatch):
    end = End(listener.address)
    soon(listener.hellos)
    listener.pause_reading()
    for _ in range(20):
        assert end.line.post(Wait(["x" * MIB]))

    listener.reset()
    assert soon(end.ends) == "ended"

    with pytest.raises(LineClosed):
        end.line.post(Beat())
    end.line.close()


def test_a_peer_that_does_not_read_is_dropped(listen):
    listener = listen(unread_limit=MIB)
    with closing(raw(listener)) as connection:
        connection.sendall(frame(hello()))
        soon(listener.hellos)

        for _ in range(100):
            listener.says(Unsure(["x" * MIB]))
            if not listener.ends.empty():
                break

        assert soon(listener.ends) is False


def test_a_line_costs_little_while_nothing_is_said(listener):
    with ExitStack() as ending:
        tracemalloc.start()
        ending.callback(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        for number in range(50):
            connection = ending.enter_context(closing(raw(listener)))
            connection.sendall(frame(hello(str(number))))
            soon(listener.hellos)
        after, _ = tracemalloc.get_traced_memory()

    assert (after - before) / 50 < 32 * 1024


def test_a_peer_that_reads_slowly_is_not_dropped(listener, end):
    for number in range(20):
        listener.says(Unsure([str(number), "x" * MIB]))

    assert [soon(end.heard).ids[0] for _ in range(20)] == [str(number) for number in range(20)]
