"""Web processes beside one dispatcher: they cost it a line each, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from django.db import connections

from tests.cluster.processes import ROOT, DispatcherProcess, wait_for

pytestmark = pytest.mark.parametrize("alias", ["postgres"], indirect=True, scope="module")

COUNT = 20
SITE = f"""
import os
import django
django.setup()
from django.db import connections
from tests.cluster import tasks

def call(number):
    assert tasks.add.delay(number, 1).get(timeout=60) == number + 1
    connections.close_all()  # as at the end of a request, and before a fork
    os.write(1, b"x")

call(0)
for number in range({COUNT}):
    if not os.fork():
        call(number)
        while os.read(0, 1):
            call(number)
        os._exit(0)
for _ in range({COUNT}):
    os.wait()
"""
FEW = 8  # files that it opens as it pleases
MIB = 2**20
OURS = 3  # sessions: the leader's, its schedule's, and the one that counts them


def sessions(alias: str) -> int:
    with connections[alias].cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND backend_type = 'client backend'"
        )
        (count,) = cursor.fetchone()
    return int(count)


def test_web_processes_cost_a_dispatcher_a_line_each(
    dispatcher: DispatcherProcess, environment: dict[str, str], alias: str
) -> None:
    process: psutil.Process = dispatcher.family()[0]
    wait_for(lambda: sessions(alias) == OURS, "the dispatcher's last session")
    memory, files = process.memory_info().rss, process.num_fds()

    with subprocess.Popen(
        [sys.executable, "-c", SITE],
        cwd=ROOT,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as site:
        assert site.stdin is not None
        assert site.stdout is not None
        first = site.stdout.read(1 + COUNT)
        lines = process.num_fds() - files
        wait_for(lambda: sessions(alias) == OURS, "the end of the last session")
        site.stdin.write(b"x" * 5 * COUNT)
        site.stdin.close()
        more = site.stdout.read()

    assert (len(first), len(more)) == (1 + COUNT, 5 * COUNT)
    assert COUNT < lines < COUNT + FEW
    assert process.memory_info().rss - memory < 20 * MIB
    wait_for(lambda: process.num_fds() < files + FEW, "the end of their lines")
    assert sessions(alias) == OURS
