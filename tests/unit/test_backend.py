"""``app.backend``: what it writes of jobs, and what it tells of them."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from dask_facade import AsyncResult, GroupResult
from dask_facade.canvas import Signature
from dask_facade.contrib.abortable import AbortableAsyncResult, AbortableTask
from dask_facade.exceptions import TaskRevokedError
from dask_facade.jobs import ABORT, END, SAY, Job
from dask_facade.states import FAILURE, PENDING, RETRY, REVOKED, STARTED, SUCCESS
from tests.unit.leading import Leader


@pytest.fixture
def leader(app, store):
    return Leader(store)


def test_a_job_that_nobody_knows_is_written_as_one_that_has_ended(app):
    app.backend.mark_as_done("a", {"total": 3})
    app.backend.mark_as_failure("b", KeyError("no"), traceback="its traceback")
    app.backend.mark_as_revoked("c", "terminated")

    a, b, c = map(AsyncResult, "abc")
    assert (a.state, a.get(), a.traceback) == (SUCCESS, {"total": 3}, None)
    assert (b.state, b.traceback) == (FAILURE, "its traceback")
    with pytest.raises(KeyError, match="no"):
        b.get()
    assert c.state == REVOKED
    with pytest.raises(TaskRevokedError, match="terminated"):
        c.get()


def test_one_that_has_not_ended_is_written_as_it_shows(app):
    app.backend.mark_as_retry("a", KeyError("slow"))
    app.backend.mark_as_started("b", pid=3)
    app.backend.store_result("c", {"done": 1}, "PROGRESS")

    a, b, c = map(AsyncResult, "abc")
    assert (a.state, type(a.result), a.date_done) == (RETRY, KeyError, None)
    assert (b.state, b.info) == (STARTED, {"pid": 3})
    assert (c.state, c.info, c.ready()) == ("PROGRESS", {"done": 1}, False)


def test_one_that_no_worker_has_shows_at_once_what_is_written_next(app):
    app.backend.store_result("a", {"done": 1}, "PROGRESS")
    app.backend.store_result("a", {"done": 2}, "MORE")

    assert (AsyncResult("a").state, AsyncResult("a").info) == ("MORE", {"done": 2})

    app.backend.mark_as_done("a", 3)

    assert AsyncResult("a").get() == 3


def test_what_has_ended_stays_as_it_ended(app, caplog):
    app.backend.mark_as_done("a", 1)

    with caplog.at_level(logging.WARNING):
        app.backend.mark_as_failure("a", KeyError("late"))

    assert AsyncResult("a").get() == 1
    assert "job a is SUCCESS" in caplog.text


def test_the_end_and_the_state_of_another_job_are_asked_of_the_leader(app, leader):
    result = app.send_task("a")

    app.backend.store_result(result.id, {"done": 1}, "PROGRESS")
    app.backend.mark_as_done(result.id, 3)

    (say, name, said), (end, _, ended) = leader.asked()
    assert (say, end, name) == (SAY, END, result.id)
    assert (said["state"], ended["state"], ended["preview"]) == ("PROGRESS", SUCCESS, "3")
    assert result.state == PENDING


def test_the_meta_of_a_job_tells_of_its_children(app, leader):
    parent = app.send_task("a")
    (first, second), edges = _children_of(parent.id)
    app.store.submit([first, second], edges, lambda created: None)

    meta = app.backend.get_task_meta(parent.id)

    assert meta["children"] == [((first.id, None), None), ((second.id, None), None)]
    assert app.backend.get_children(parent.id) == meta["children"]


def _children_of(parent_id):
    from tests.unit.stage import new_job

    return [new_job(id, parent_id=parent_id) for id in ("x", "y")], []


def test_a_group_is_kept_by_the_backend_that_is_named(app):
    found = GroupResult("g", [AsyncResult("a"), GroupResult("h", [AsyncResult("b")])])

    found.save()

    assert GroupResult.restore("g") == found
    assert app.GroupResult.restore("g") == found
    assert isinstance(found, app.GroupResult)
    with pytest.raises(AttributeError):
        found.save(backend=object())
    found.delete()
    assert GroupResult.restore("g") is None


def test_results_are_got_many_at_once(app):
    for name in "ab":
        app.backend.mark_as_done(name, name * 2)

    found = dict(app.backend.get_many("ab"))

    assert {name: meta["result"] for name, meta in found.items()} == {"a": "aa", "b": "bb"}


# Tasks that can be aborted


def test_the_result_of_an_abortable_task_is_abortable(app, leader):
    @app.task(base=AbortableTask, bind=True, name="tests.abortable")
    def abortable(self):
        return self.is_aborted()

    result = abortable.delay()
    assert isinstance(result, AbortableAsyncResult)
    assert not result.is_aborted()
    result.abort()

    assert leader.asked() == [(ABORT, result.id, {})]
    assert result.is_aborted()
    assert abortable.is_aborted(task_id=result.id)
    assert not abortable.is_aborted()
    assert abortable.apply().get() is False


def test_a_signature_of_an_abortable_task_gives_an_abortable_result(app):
    @app.task(base=AbortableTask, name="tests.abortable")
    def abortable():
        """Nothing."""

    chained = (Signature("a") | abortable.si()).delay()

    assert isinstance(chained, AbortableAsyncResult)
    assert not isinstance(chained.parent, AbortableAsyncResult)


def test_the_meta_of_a_job_whose_result_is_ignored_tells_nothing(app, store):
    recorded = Job("a", task="t", ignore_result=True, result=b"j1")
    for id, state in (("a", SUCCESS), ("b", FAILURE), ("c", SUCCESS)):
        store.record(replace(recorded, id=id, state=state))
    store.record(replace(recorded, id="d", state=RETRY, said="PROGRESS", meta=b"j1"))

    metas = app.backend.get_task_meta("a"), app.backend.get_task_meta("b")

    assert [(meta["status"], meta["result"], meta["date_done"]) for meta in metas] == [
        (PENDING, None, None)
    ] * 2
    assert app.backend.get_state("c") == PENDING
    assert app.backend.get_state("d") == "PROGRESS"
    assert AsyncResult("a").state == SUCCESS


def test_the_errors_of_a_task_that_stores_them_are_told_all_the_same(app, store):
    app.task(name="backend.strict", store_errors_even_if_ignored=True)(lambda: None)
    store.record(Job("a", task="backend.strict", ignore_result=True, state=FAILURE))

    assert app.backend.get_state("a") == FAILURE


def test_what_is_to_be_revoked_when_it_comes_is_revoked(app):
    app.control.revoke("later")

    assert app.backend.get_state("later") == REVOKED
    assert isinstance(app.backend.get_result("later"), TaskRevokedError)
    assert app.backend.get_state("another") == PENDING
