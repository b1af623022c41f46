"""A pytest plugin that runs the chosen items alone, and writes down how each of them ended."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CHOSEN = "CONFORMANCE_CHOSEN"  # a file: {"run": [ids], "once": [ids]}; unsaid: all
FOUND = "CONFORMANCE_FOUND"  # a file for the ids of what was collected
ONCE = "CONFORMANCE_ONCE"  # said: no item is run again when it fails
ENDS = "CONFORMANCE_ENDS"  # a file for lines of [id, "passed" or why not]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the chosen items; those of *once* are not run again when they fail."""
    if FOUND in os.environ:
        Path(os.environ[FOUND]).write_text(json.dumps([item.nodeid for item in items]))
    if ONCE in os.environ:
        for item in items:
            item.add_marker(pytest.mark.flaky(reruns=0), append=False)
    if CHOSEN not in os.environ:
        return
    chosen = json.loads(Path(os.environ[CHOSEN]).read_text())
    run, once = set(chosen["run"]), set(chosen["once"])
    left_out = [item for item in items if item.nodeid not in run]
    items[:] = [item for item in items if item.nodeid in run]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        if item.nodeid in once:
            item.add_marker(pytest.mark.flaky(reruns=0), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Write down how an item ended once all of it is over."""
    _ends[item.nodeid] = ""
    result = yield
    if ENDS in os.environ:
        with open(os.environ[ENDS], "a") as file:
            file.write(json.dumps([item.nodeid, _ends[item.nodeid] or "no report"]) + "\n")
    return result


def pytest_runtest_logreport(report: Any) -> None:
    """Keep the worst of an item's phases. What was skipped, or failed as expected, did not pass."""
    if type(report) is not pytest.TestReport:  # a part of a test, of a plugin's own
        if report.failed:
            _ends[report.nodeid] = "a part failed"
        return
    if report.when == "setup":  # a rerun begins anew
        _ends[report.nodeid] = ""
    if report.outcome == "rerun":
        return
    if report.failed:
        _ends[report.nodeid] = f"failed in {report.when}: {_last_line(report)}"
    elif report.skipped:
        _ends[report.nodeid] = f"skipped: {_last_line(report)}"
    elif report.when == "call" and not _ends[report.nodeid]:
        _ends[report.nodeid] = "passed"


def _last_line(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else crash or report.longrepr
    return str(getattr(text, "message", text)).strip().replace("\n", " ")[:300]


_ends: dict[str, str] = {}
