from __future__ import annotations

import os
import signal
import sys
import time

import pytest
from codebase import children
from codebase.children import ChildEnded, Children, running
from codebase.server import answer, free_port
from codebase.stopping import Stop, Stopped

SLEEPER = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPER}"
PARENT = (
    "import subprocess, sys; "
    f"subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], start_new_session=True); {SLEEPER}"
)


def python(source):
    return [sys.executable, "-c", source]


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ready(child, times=1):
    return lambda: child.log.read_text().count("ready") == times


def test_children_end_with_the_block(tmp_path):
    with Children(tmp_path) as group:
        child = group.start("sleeper", python(SLEEPER))
        group.check()

    assert not running(child.process)


def test_children_end_when_the_block_raises(tmp_path):
    def fail() -> None:
        with Children(tmp_path) as group:
            started.append(group.start("sleeper", python(SLEEPER)))
            raise ZeroDivisionError

    started = []
    with pytest.raises(ZeroDivisionError):
        fail()

    assert not running(started[0].process)


def test_grandchildren_that_ignore_sigterm_are_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "GRACE", 0.3)

    with Children(tmp_path) as group:
        child = group.start("parent", python(PARENT))
        wait_for(ready(child, times=2))
        family = [child.process, *child.process.children(recursive=True)]

    assert len(family) == 2
    assert not any(map(running, family))


def test_orphans_of_a_child_that_died_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "GRACE", 0.3)

    with Children(tmp_path) as group:
        child = group.start("parent", python(PARENT.replace("start_new_session=True", "")))
        wait_for(ready(child, times=2))
        (orphan,) = child.process.children()
        child.process.kill()
        child.process.wait()

    assert not running(orphan)


def test_a_child_that_ended_early_is_an_error_with_its_last_output(tmp_path):
    with Children(tmp_path) as group:
        child = group.start("short one", python("print('no space left'); raise SystemExit(3)"))
        child.process.wait(20)

        with pytest.raises(ChildEnded, match=r"(?s)short one ended with status 3.*no space left"):
            group.check()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_is_raised_at_the_next_check_only(number):
    before = signal.getsignal(number)

    with Stop() as stop:
        stop.check()
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped) as stopped:
            stop.pause()

    assert stopped.value.number == number
    assert signal.getsignal(number) is before


def test_a_port_that_is_taken_is_replaced_by_a_free_one(tmp_path):
    wanted = free_port(0)
    assert free_port(wanted) == wanted
    assert answer(wanted) is None

    source = f"import socket; s = socket.create_server(('127.0.0.1', {wanted})); {SLEEPER}"
    with Children(tmp_path) as group:
        wait_for(ready(group.start("listener", python(source))))

        assert free_port(wanted) not in (0, wanted)
