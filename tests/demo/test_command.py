from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path

import psutil
import pytest
from codebase.children import running

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 120


@pytest.fixture
def sources(tmp_path):
    """A directory with two programs of three lines in all, and a file that is none."""
    directory = tmp_path / "sources"
    directory.mkdir()
    (directory / "one.py").write_text("def f(a):\n    return a and 1\n")
    (directory / "two.py").write_text("import os\n")
    (directory / "bad.py").write_text("print 'python 2'\n")
    return directory


@pytest.fixture
def demo(tmp_path, sources):
    """Start the command with a database of its own; kill what a failing test leaves."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "demo_site" / "manage.py"), "demo"]
        options = ["--files-under", str(sources), "--workers", "2", "--port", "0", *arguments]
        process = subprocess.Popen(
            [*command, *options],
            cwd=tmp_path,
            env={
                **os.environ,
                "DEMO_DATABASE": str(tmp_path / "demo.sqlite3"),
                "DJANGO_SETTINGS_MODULE": "demo.settings",
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
        process.kill()
        process.communicate()


def test_once_ends_with_the_figures_and_leaves_nothing(demo):
    process = demo("--once")
    output, _ = process.communicate(timeout=DEADLINE)

    assert process.returncode == 0, output
    assert "4 of 4 jobs are SUCCESS in the table" in output
    assert re.fullmatch(r"3 files, 3 lines, \d+\.\d s", output.splitlines()[-1])


def test_the_demo_stays_up_until_ctrl_c(demo):
    process = demo()
    printed = printed_until(process, "Ctrl-C ends the demo.")
    children = psutil.Process(process.pid).children(recursive=True)

    match = re.search(r"The run: http://127\.0\.0\.1:(\d+)(/runs/.+/)", printed)
    assert match, printed
    connection = HTTPConnection("127.0.0.1", int(match[1]), timeout=20)
    connection.request("GET", match[2])
    page = connection.getresponse().read().decode()
    connection.close()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=DEADLINE)

    assert "3 files, 3 lines" in page
    assert process.returncode == 0
    assert len(children) >= 2
    assert not any(map(running, children))


def printed_until(process: subprocess.Popen[str], line: str) -> str:
    """Return what the process printed up to a line; it fails if the process ends before."""
    printed = ""
    deadline = time.monotonic() + DEADLINE
    while line not in printed:
        assert time.monotonic() < deadline, printed
        read = process.stdout.readline()
        assert read, printed
        printed += read
    return printed
