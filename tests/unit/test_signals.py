from __future__ import annotations

import gc
import logging

import pytest

from dask_facade import signals
from dask_facade.signals import Signal


@pytest.fixture
def signal():
    return Signal("happened")


@pytest.fixture
def heard():
    return []


def test_a_receiver_is_called_with_what_is_sent(signal, heard):
    @signal.connect
    def receive(sender, signal, **named):
        heard.append((sender, named))

    responses = signal.send("me", one=1)

    assert heard == [("me", {"one": 1})]
    assert responses == [(receive, None)]


def test_it_may_be_connected_to_one_sender(signal, heard):
    sender = object()

    @signal.connect(sender=sender)
    def receive(sender, **named):
        heard.append("object")

    @signal.connect(sender="proj.tasks.add")
    def receive_of_name(**named):
        heard.append("name")

    signal.send(sender)
    signal.send("".join(["proj.tasks", ".add"]))
    signal.send(object())
    signal.send("other")

    assert heard == ["object", "name"]


def test_a_connected_function_stays_what_it_was(signal):
    @signal.connect(weak=False)
    def receive(**named):
        return 1

    assert receive() == 1


def test_a_weak_receiver_goes_with_its_object(signal, heard):
    class Listener:
        def receive(self, **named):
            heard.append("listener")

    listener = Listener()
    signal.connect(listener.receive)
    signal.send(None)
    del listener
    gc.collect()

    assert signal.send(None) == []
    assert heard == ["listener"]
    assert not signal.has_listeners()


def test_a_strong_receiver_stays(signal, heard):
    signal.connect(lambda **named: heard.append("strong"), weak=False)
    gc.collect()

    signal.send(None)

    assert heard == ["strong"]


def test_a_receiver_is_connected_once(signal, heard):
    def receive(**named):
        heard.append(1)

    signal.connect(receive)
    signal.connect(receive)
    signal.connect(lambda **named: heard.append(2), weak=False, dispatch_uid="uid")
    signal.connect(lambda **named: heard.append(3), weak=False, dispatch_uid="uid")
    signal.send(None)

    assert heard == [1, 2]


def test_it_can_be_disconnected(signal, heard):
    @signal.connect
    def receive(**named):
        heard.append(1)

    assert signal.disconnect(receive)
    assert not signal.disconnect(receive)
    signal.send(None)

    assert heard == []


def test_it_can_be_disconnected_by_its_uid(signal):
    signal.connect(lambda **named: None, weak=False, dispatch_uid="uid", sender="me")

    assert not signal.disconnect(dispatch_uid="uid")
    assert signal.disconnect(dispatch_uid="uid", sender="me")


def test_what_a_receiver_raises_is_logged_and_returned(signal, heard, caplog):
    def fail(**named):
        raise ZeroDivisionError

    def receive(**named):
        heard.append(1)

    signal.connect(fail)
    signal.connect(receive)
    with caplog.at_level(logging.ERROR):
        responses = signal.send(None)

    assert heard == [1]
    assert isinstance(responses[0][1], ZeroDivisionError)
    assert "a receiver of happened raised" in caplog.text


def test_a_receiver_must_take_whatever_is_sent(signal):
    with pytest.raises(ValueError, match="keyword arguments"):
        signal.connect(lambda sender: None)


NAMES = """
before_task_publish after_task_publish task_received task_prerun task_postrun task_success
task_retry task_failure task_internal_error task_revoked task_rejected task_unknown
celeryd_init celeryd_after_setup worker_init worker_ready worker_process_init
worker_process_shutdown worker_shutdown setup_logging after_setup_logger
after_setup_task_logger beat_init
"""


@pytest.mark.parametrize("name", NAMES.split())
def test_celerys_signals_are_there(name):
    assert getattr(signals, name).name == name


def test_with_retry_a_receiver_is_called_until_it_raises_nothing(signal, monkeypatch, caplog):
    heard, pauses = [], []
    monkeypatch.setattr(signals.time, "sleep", pauses.append)

    @signal.connect(retry=True)
    def receive(**named):
        heard.append(named["one"])
        if len(heard) < 3:
            raise KeyError(len(heard))
        return "heard"

    assert signal.send("me", one=1) == [(receive, "heard")]
    assert (heard, pauses) == ([1, 1, 1], [2, 4])
    assert "a receiver of happened raised" in caplog.text
