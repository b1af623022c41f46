"""Statuses of named jobs, and how they follow from the ledger's states."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dask_facade.named import statuses, work
from dask_facade.named.standing import Own, Seen, Standing, standing_of, standing_of_parent
from dask_facade.named.work import leaves_of, path_of
from dask_facade.states import (
    ALL_STATES,
    FAILURE,
    PENDING,
    RECEIVED,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from tests.cluster import named_functions

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
EXECUTED = Own(executed=NOON, has_work=True)
PROCESSED = Own(executed=NOON, has_work=True, has_results=True)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_each_state_of_the_ledger_makes_one_status():
    assert statuses.STATUS_OF.keys() == ALL_STATES
    told = [state for meaning in statuses.MEANINGS.values() for state in meaning.told_by]
    assert len(told) == len(set(told))


def test_a_status_that_a_state_makes_means_a_state_of_its_kind():
    for status, meaning in statuses.MEANINGS.items():
        if meaning.told_by:
            assert meaning.state in meaning.told_by, status


def test_each_status_is_in_the_sets_that_it_belongs_to():
    assert {"Pending", "Submitted"} == statuses.PRE_RUNNING
    assert {"Running", "Various"} == statuses.RUNNING_STATUSES
    assert {"Submitted", "Running", "Various", "Paused"} == statuses.ACTIVE
    assert {"Pending", "Submitted", "Running", "Various", "Paused"} == statuses.NON_TERMINAL
    assert statuses.NON_TERMINAL | statuses.TERMINAL | {"Other"} == set(statuses.STATUSES)
    assert not statuses.NON_TERMINAL & statuses.TERMINAL


@pytest.mark.parametrize(
    ("own", "work", "results", "status"),
    [
        (Own(), None, None, "Pending"),
        (Own(held=True), None, None, "Paused"),
        (Own(stopped=True), None, None, "Aborted"),
        (Own(refusal="no graph"), None, None, "Error"),
        (Own(status="Calibrating"), None, None, "Calibrating"),
        (EXECUTED, Seen(PENDING), None, "Submitted"),
        (EXECUTED, Seen(RETRY), None, "Submitted"),
        (EXECUTED, Seen(RECEIVED), None, "Running"),
        (EXECUTED, Seen(STARTED), None, "Running"),
        (EXECUTED, Seen(STARTED, said="Half-way"), None, "Half-way"),
        (EXECUTED, Seen(SUCCESS), None, "Complete"),
        (EXECUTED, Seen(SUCCESS, is_far=True), None, "Results-Ready"),
        (EXECUTED, Seen(FAILURE), None, "Error"),
        (EXECUTED, Seen(REVOKED), None, "Aborted"),
        (EXECUTED, None, None, "Error"),  # forgotten
        # Withdrawn before it began, or too late for that.
        (Own(executed=NOON, has_work=True, held=True), Seen(PENDING), None, "Paused"),
        (Own(executed=NOON, has_work=True, held=True), Seen(REVOKED), None, "Paused"),
        (Own(executed=NOON, has_work=True, held=True), Seen(RECEIVED), None, "Running"),
        (Own(executed=NOON, has_work=True, held=True), Seen(SUCCESS), None, "Complete"),
        # What was given up fails for want of it, unless it had ended.
        (Own(executed=NOON, has_work=True, stopped=True), Seen(FAILURE), None, "Aborted"),
        (Own(executed=NOON, has_work=True, stopped=True), Seen(SUCCESS), None, "Complete"),
        # Words of one's own never hide an end.
        (Own(executed=NOON, has_work=True, status="Fine"), Seen(FAILURE), None, "Error"),
        # The results function has the last word, once it is its turn.
        (PROCESSED, Seen(RECEIVED), Seen(PENDING), "Running"),
        (PROCESSED, Seen(SUCCESS), Seen(PENDING), "Running"),
        (PROCESSED, Seen(SUCCESS), Seen(SUCCESS), "Complete"),
        (PROCESSED, Seen(SUCCESS), Seen(FAILURE), "Error"),
        (PROCESSED, Seen(SUCCESS), Seen(REVOKED), "Aborted"),
        (PROCESSED, Seen(REVOKED), Seen(FAILURE), "Aborted"),
        (PROCESSED, Seen(SUCCESS), None, "Error"),
    ],
)
def test_a_status_follows_from_the_row_and_the_ledger(own, work, results, status):
    assert standing_of(own, work, results).status == status


def test_words_of_the_projects_own_hide_a_status_that_still_counts():
    waiting = standing_of(Own(status="Fine"), None, None)
    running = standing_of(Own(executed=NOON, has_work=True, status="Fine"), Seen(STARTED), None)

    assert (waiting.status, waiting.kind) == ("Fine", "Pending")
    assert (running.status, running.kind) == ("Fine", "Running")
    assert Standing("Fine").kind == "Other"


def test_times_are_those_of_the_work_and_of_the_last_end():
    work = Seen(SUCCESS, claimed=at(1), started=at(2), finished=at(5))

    standing = standing_of(PROCESSED, work, Seen(SUCCESS, started=at(6), finished=at(9)))

    assert (standing.start_time, standing.completion_time) == (at(2), at(9))
    assert standing.run_time(at(100)) == timedelta(seconds=7)


def test_a_job_that_runs_has_been_running_since_it_was_claimed():
    standing = standing_of(EXECUTED, Seen(RECEIVED, claimed=at(1)), None)

    assert (standing.start_time, standing.completion_time) == (at(1), None)
    assert standing.run_time(at(4)) == timedelta(seconds=3)
    assert standing_of(Own(), None, None).run_time(at(4)) is None


@pytest.mark.parametrize(
    ("leaves", "status", "message"),
    [
        (["Complete", "Complete"], "Complete", "2 Complete"),
        (["Complete", "Results-Ready"], "Complete", "1 Complete, 1 Results-Ready"),
        (["Complete", "Running"], "Various", "1 Running, 1 Complete"),
        (["Submitted"], "Various", "1 Submitted"),
        (["Calibrating", "Complete"], "Various", "1 Complete, 1 Other"),
        (["Complete", "Error"], "Various-Complete", "1 Complete, 1 Error"),
        (["Error", "Aborted"], "Various-Complete", "1 Error, 1 Aborted"),
        ([], "Aborted", "its leaves were deleted"),
    ],
)
def test_a_parent_has_the_statuses_of_its_leaves(leaves, status, message):
    standing = standing_of_parent(EXECUTED, [Standing(each) for each in leaves])

    assert (standing.status, standing.message) == (status, message)


class Outer:
    @staticmethod
    def inner(result):
        return result


@pytest.mark.parametrize(
    ("function", "path"),
    [
        (named_functions.fail, "tests.cluster.named_functions.fail"),
        ("tests.cluster.named_functions.inc", "tests.cluster.named_functions.inc"),
        (Outer.inner, f"{__name__}.Outer.inner"),
        (len, "builtins.len"),
    ],
)
def test_a_results_function_is_kept_by_its_path(function, path):
    assert path_of(function) == path


def nest():
    def nested(result):
        return result

    return nested


@pytest.mark.parametrize(
    "function", [lambda result: result, nest(), 3, "no path", "nopath", "a.b.", object()]
)
def test_a_results_function_that_no_worker_finds_is_refused_at_once(function):
    with pytest.raises(ValueError, match=r"dotted path|cannot be found"):
        path_of(function)


def test_a_graph_that_is_too_large_is_not_kept(monkeypatch):
    assert work.stored(named_functions.delayed_job()) is not None
    monkeypatch.setattr(work, "STORED_LIMIT", 10)

    assert work.stored(named_functions.delayed_job()) is None


def test_leaves_are_members_of_a_list():
    graph = named_functions.delayed_job()

    assert leaves_of([graph, graph]) == [graph, graph]
    assert leaves_of({"one": graph}) is None
    assert leaves_of(graph) is None
