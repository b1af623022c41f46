"""What the chaos suite writes down."""

from __future__ import annotations

import json
from pathlib import Path

from tests.chaos import report
from tests.chaos.rounds import IN_TIME, Verdict


def test_rounds_are_counted_and_other_faults_stay_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "build" / "chaos.json"
    found: report.Report = {}

    report.add(found, "a", Verdict({"x": [], IN_TIME: []}, 1.234))
    report.add(found, "a", Verdict({"x": ["twice", "thrice"], IN_TIME: ["never"]}, None))
    report.merge({"a": {}, "b": {"x": {"rounds": 5, "violations": 0}}}, path)
    report.merge(found, path)

    assert json.loads(path.read_text()) == {
        "a": {
            "x": {"rounds": 2, "violations": 2},
            IN_TIME: {"rounds": 2, "violations": 1},
            "recovery_seconds": [1.23, None],
        },
        "b": {"x": {"rounds": 5, "violations": 0}},
    }
    assert not report.is_clean(found["a"])


def test_a_fault_without_violations_is_clean() -> None:
    found: report.Report = {}

    report.add(found, "a", Verdict({"x": []}, None))

    assert report.is_clean(found["a"])
    assert "recovery_seconds" not in found["a"]
