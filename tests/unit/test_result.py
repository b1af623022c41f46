from __future__ import annotations

import builtins
import threading
import time

import pytest

from dask_facade import AsyncResult, GroupResult, chain, chord, current, group
from dask_facade.canvas import Signature
from dask_facade.exceptions import ChordError, TaskRevokedError, TimeoutError
from dask_facade.jobs import Batch, Claim
from dask_facade.messages import Outcome, Push, Unsure, Unwait, Wait
from dask_facade.serialization import dump_exception, dumps, preview
from dask_facade.states import FAILURE, RETRY, REVOKED, SUCCESS
from tests.unit.listening import DEADLINE, SECRET


def call(name, *args, **options):
    return Signature(name, args, {}, options)


A, B, C, D = (call(name) for name in "abcd")


class Mine(Exception):
    pass


@pytest.fixture
def desk(app, store):
    return store.open_desk()


@pytest.fixture
def epoch(desk):
    return desk.lead("tests", [], SECRET, None).epoch


def outcome_of(id, state, value, traceback=None):
    failed = state in (FAILURE, RETRY)
    return Outcome(
        id=id,
        attempt=1,
        hand=1,
        state=state,
        result=None if state == REVOKED else dump_exception(value) if failed else dumps(value),
        preview=value if state == REVOKED else preview(value),
        traceback=traceback,
        started=1.0,
        finished=2.0,
        runtime=1.0,
    )


@pytest.fixture
def claim(desk, epoch):
    """Hand a job to a runner."""

    def claim(result):
        desk.write(epoch, Batch(claims=[Claim(result.id, 1, 1, "runner", "worker")]))

    return claim


@pytest.fixture
def end(desk, epoch, claim):
    """Let a job end as its runner says."""

    def end(result, state, value=None, traceback=None):
        claim(result)
        outcomes = [outcome_of(result.id, state, value, traceback)]
        assert desk.write(epoch, Batch(outcomes=outcomes)).outcomes

    return end


# What is shown


def test_an_unknown_id_is_pending(app):
    result = AsyncResult("nobody's")

    assert result.state == result.status == "PENDING"
    assert result.result is result.info is result.traceback is None
    assert (result.ready(), result.successful(), result.failed()) == (False, False, False)


def test_a_job_in_the_hands_of_a_runner_shows_as_pending(app, claim):
    result = A.delay()
    assert result.state == "PENDING"

    claim(result)

    assert result.state == "PENDING"
    assert not result.ready()


def test_a_success_shows_its_value(app, end):
    result = A.delay()

    end(result, SUCCESS, (1, 2))

    assert result.state == "SUCCESS"
    assert result.result == result.info == (1, 2)
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)


def test_a_failure_shows_its_exception_and_traceback(app, end):
    result = A.delay()

    end(result, FAILURE, Mine("wrong"), "Traceback: ...")

    assert result.state == "FAILURE"
    assert type(result.result) is Mine
    assert result.result.args == ("wrong",)
    assert result.traceback == "Traceback: ..."
    assert (result.ready(), result.successful(), result.failed()) == (True, False, True)


def test_a_revoked_job_shows_why(app, end):
    result = A.delay()

    end(result, REVOKED, "expired")

    assert result.state == "REVOKED"
    assert type(result.result) is TaskRevokedError
    assert str(result.result) == "expired"
    assert (result.ready(), result.successful(), result.failed()) == (True, False, False)


def test_a_job_that_waits_for_its_next_attempt_shows_what_it_raised(app, end):
    result = A.delay()

    end(result, RETRY, Mine("slow"))

    assert result.state == "RETRY"
    assert type(result.result) is Mine
    assert not result.ready()


def test_a_result_knows_the_name_of_its_task(app):
    assert A.delay().name == "a"


def test_an_end_is_read_once(app, end, store, monkeypatch):
    result = A.delay()
    end(result, SUCCESS, 1)
    assert result.ready()

    monkeypatch.setattr(store, "fetch", None)

    assert result.state == "SUCCESS"
    assert result.get() == 1


def test_results_are_equal_by_id(app):
    assert AsyncResult("a") == AsyncResult("a") != AsyncResult("b")
    assert len({AsyncResult("a"), AsyncResult("a")}) == 1
    assert AsyncResult("a") != "a"


def test_a_result_reads_as_its_id(app):
    assert str(AsyncResult("a")) == AsyncResult("a").task_id == "a"
    assert repr(AsyncResult("a")) == "<AsyncResult: a>"


# get()


def test_get_returns_what_the_task_returned(app, end):
    result = A.delay()
    end(result, SUCCESS, {"a": (1,)})

    assert result.get() == result.wait() == {"a": (1,)}
    assert AsyncResult(result.id).get(timeout=0) == {"a": (1,)}


def test_get_waits_for_the_end(app, end):
    result = A.delay()
    got = []
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=DEADLINE)))
    waiting.start()

    end(result, SUCCESS, "late")
    waiting.join(DEADLINE)

    assert got == ["late"]


def test_get_raises_what_the_task_raised(app, end):
    result = A.delay()
    end(result, FAILURE, Mine("wrong"), "Traceback: the worker's")

    with pytest.raises(Mine, match="wrong") as caught:
        result.get()

    assert "Traceback: the worker's" in caught.value.__notes__[0]


def test_get_without_propagation_returns_the_exception(app, end):
    result = A.delay()
    end(result, FAILURE, Mine("wrong"))

    assert type(result.get(propagate=False)) is Mine


@pytest.mark.parametrize("reason", ["revoked", "terminated", "expired"])
def test_get_raises_that_the_job_was_revoked(app, end, reason):
    result = A.delay()
    end(result, REVOKED, reason)

    with pytest.raises(TaskRevokedError, match=reason):
        result.get()


def test_get_of_an_ignored_result_returns_at_once(app):
    result = call("a", ignore_result=True).delay()

    assert result.ignored
    assert result.get() is None
    assert result.state == "PENDING"


def test_get_accepts_celerys_options(app, end):
    result = A.delay()
    end(result, SUCCESS, 1)

    assert result.get(interval=0.5, no_ack=True, follow_parents=False) == 1


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_get_gives_up_after_the_timeout(app, timeout):
    result = A.delay()

    with pytest.raises(TimeoutError, match=result.id) as caught:
        result.get(timeout=timeout)

    assert isinstance(caught.value, builtins.TimeoutError)


@pytest.mark.parametrize("resigned", [False, True])
def test_a_timeout_says_that_no_dispatcher_runs(app, desk, resigned):
    if resigned:
        lease = desk.lead("tests", ["127.0.0.1:1"], SECRET, None)
        desk.resign(lease.epoch)

    with pytest.raises(TimeoutError, match=r"no dispatcher is running: .*manage.py dask_disp"):
        A.delay().get(timeout=0.01)


def test_a_timeout_says_that_the_dispatcher_does_not_answer(app, desk):
    desk.lead("tests", ["127.0.0.1:1"], SECRET, None)

    with pytest.raises(TimeoutError, match=r"the dispatcher at 127\.0\.0\.1:1 does not answer"):
        A.delay().get(timeout=0.01)


def test_a_timeout_beside_a_dispatcher_says_no_more_than_that(app, desk, listener):
    desk.lead("tests", [listener.address], SECRET, None)
    result = A.delay()
    connect(app, listener)

    with pytest.raises(TimeoutError, match=r"is unfinished after 0\.01 s$"):
        result.get(timeout=0.01)


def test_a_timeout_of_a_group_tells_how_many_are_unfinished(app, end):
    result = group(A, B, C).delay()
    end(result[0], SUCCESS)

    with pytest.raises(TimeoutError, match="2 jobs are unfinished"):
        result.get(timeout=0.01)


def test_get_inside_of_a_task_is_refused(app, end):
    result, results = A.delay(), group(A, B).delay()
    end(result, SUCCESS, 1)

    with current.running(current.Request(id="a task")):
        for each in (result, results):
            with pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
                each.get(timeout=0)
        assert result.get(disable_sync_subtasks=False) == 1


# With a dispatcher that tells


def connect(app, listener):
    """Wait until the line of the app's client is up."""
    watch = app.client.watch(["connecting"])
    while not isinstance(listener.hears(), Wait):
        pass
    app.client.unwatch(watch)
    assert listener.hears() == Unwait(["connecting"])


@pytest.fixture
def told(app, desk, listener):
    """A dispatcher to which the app has its line."""
    desk.lead("tests", [listener.address], SECRET, None)
    connect(app, listener)
    return listener


def in_thread(work):
    got = []
    thread = threading.Thread(target=lambda: got.append(work()))
    thread.start()

    def finish():
        thread.join(DEADLINE)
        return got[0]

    return finish


def test_get_returns_when_the_dispatcher_tells_of_the_end(app, told):
    finish = in_thread(lambda: AsyncResult("a").get(timeout=DEADLINE))
    assert told.hears() == Wait(["a"])

    told.says(Push([outcome_of("a", SUCCESS, "told")]))

    assert finish() == "told"


def test_get_asks_the_ledger_about_what_the_dispatcher_does_not_hold(app, told, desk):
    job = app.send_task("a")
    told.hears()
    finish = in_thread(lambda: AsyncResult(job.id).get(timeout=DEADLINE))
    assert told.hears() == Wait([job.id])
    lead_and_end(desk, job)

    told.says(Unsure([job.id]))

    assert finish() == "from the ledger"


def lead_and_end(desk, job):
    epoch = desk.lease().epoch
    desk.write(epoch, Batch(claims=[Claim(job.id, 1, 1, "runner", "worker")]))
    desk.write(epoch, Batch(outcomes=[outcome_of(job.id, SUCCESS, "from the ledger")]))


def test_get_goes_on_with_the_ledger_when_the_dispatcher_goes(app, told, desk):
    job = app.send_task("a")
    told.hears()
    finish = in_thread(lambda: AsyncResult(job.id).get(timeout=DEADLINE))
    assert told.hears() == Wait([job.id])
    lead_and_end(desk, job)

    told.close()

    assert finish() == "from the ledger"


def test_news_for_others_do_not_send_a_waiting_thread_to_the_ledger(app, told, store, monkeypatch):
    finish = in_thread(lambda: AsyncResult("a").get(timeout=DEADLINE))
    assert told.hears() == Wait(["a"])
    asked = []
    monkeypatch.setattr(store, "fetch", lambda ids: asked.append(ids) or {})
    others = [app.client.watch([f"other {number}"]) for number in range(20)]
    for number, watch in enumerate(others):
        told.says(Push([outcome_of(f"other {number}", SUCCESS, 1)]))
        assert watch.take(DEADLINE)[0]

    told.says(Push([outcome_of("a", SUCCESS, "told")]))

    assert finish() == "told"
    assert asked == []


def test_get_stops_waiting_at_the_dispatcher_when_it_gives_up(app, told):
    with pytest.raises(TimeoutError):
        AsyncResult("a").get(timeout=0.01)

    assert [told.hears(), told.hears()] == [Wait(["a"]), Unwait(["a"])]


# Parents


def test_the_rest_of_a_failed_chain_raises_what_its_first_failure_raised(app, end):
    result = (A | B | C).delay()

    end(result.parent.parent, FAILURE, Mine("first"))

    for each in (result, result.parent, result.parent.parent):
        assert each.state == "FAILURE"
        with pytest.raises(Mine, match="first"):
            each.get(timeout=0)


def test_a_step_that_fails_itself_raises_its_own(app, end):
    result = (A | B).delay()
    end(result.parent, SUCCESS, 1)
    end(result, FAILURE, Mine("second"))

    with pytest.raises(Mine, match="second"):
        result.get(timeout=0)


def test_the_body_of_a_chord_raises_what_its_header_raised(app, end):
    result = chord([A, B], C).delay()

    end(result.parent[1], FAILURE, Mine("in the header"))

    with pytest.raises(Mine, match="in the header"):
        result.get(timeout=0)


def test_the_result_of_such_a_body_is_a_chord_error(app, end):
    result = chord([A, B], C).delay()
    end(result.parent[1], FAILURE, Mine("in the header"))

    error = result.get(timeout=0, propagate=False)

    assert type(error) is ChordError
    assert str(error) == f"Dependency {result.parent[1].id} raised Mine('in the header')"


def test_a_group_behind_a_failed_task_raises_what_that_raised(app, end):
    result = (A | group(B, C)).delay()

    end(result.parent, FAILURE, Mine("before"))

    with pytest.raises(Mine, match="before"):
        result.get(timeout=0)


def test_the_end_of_a_long_chain_raises_what_its_first_step_raised(app, store):
    result = chain(call("a", number) for number in range(3_000)).delay()
    first = result
    while first.parent is not None:
        first = first.parent
    first_error = {first.id: failed(store, first.id), result.id: failed(store, result.id)}
    store.fetch = lambda ids: {id: first_error[id] for id in ids if id in first_error}

    with pytest.raises(Mine, match=first.id):
        result.get(timeout=DEADLINE)


def failed(store, id):
    job = store.fetch([id])[id]
    return type(job)(id=id, state=FAILURE, result=dump_exception(Mine(id)))


# Groups


def test_a_group_returns_in_the_order_of_its_members(app, end):
    results = group(A, B, C).delay()
    for each in (results[2], results[0], results[1]):
        end(each, SUCCESS, each.name)

    assert results.get() == results.join() == results.join_native() == ["a", "b", "c"]


def test_a_nested_group_is_one_list(app, end):
    results = group(group(A, B), C).delay()
    for each in results:
        end(each, SUCCESS, each.name)

    assert results.get(timeout=0) == ["a", "b", "c"]


def test_a_member_that_ends_as_a_group_is_a_list_of_its_own(app, end):
    results = group(A | group(B, C), D).delay()
    inner, last = results
    end(inner.parent, SUCCESS, "a")
    for each in (*inner, last):
        end(each, SUCCESS, each.name)

    assert results.get(timeout=0) == [["b", "c"], "d"]
    assert results.completed_count() == 2


def test_a_group_raises_the_first_error_without_waiting_for_the_rest(app, end):
    results = group(A, B, C).delay()
    end(results[1], FAILURE, Mine("of b"))

    with pytest.raises(Mine, match="of b"):
        results.get(timeout=DEADLINE)


def test_without_propagation_exceptions_stand_among_the_values(app, end):
    results = group(A, B, C).delay()
    end(results[0], SUCCESS, 1)
    end(results[1], FAILURE, Mine("of b"))
    end(results[2], REVOKED, "revoked")

    first, second, third = results.get(propagate=False)

    assert first == 1
    assert type(second) is Mine
    assert type(third) is TaskRevokedError


def test_a_group_counts_those_that_ended_well(app, end):
    results = group(A, B, C).delay()
    assert results.completed_count() == 0

    end(results[0], SUCCESS)
    end(results[1], FAILURE, Mine())

    assert results.completed_count() == 1


@pytest.mark.parametrize(
    ("states", "ready", "successful", "failed"),
    [
        ([], False, False, False),
        ([SUCCESS], False, False, False),
        ([SUCCESS, SUCCESS], True, True, False),
        ([FAILURE], False, False, True),
        ([SUCCESS, FAILURE], True, False, True),
        ([SUCCESS, REVOKED], True, False, False),
    ],
    ids=str,
)
def test_a_group_is_as_its_members_are(app, end, states, ready, successful, failed):
    results = group(A, B).delay()
    for each, state in zip(results, states, strict=False):
        end(each, state, {FAILURE: Mine(), REVOKED: "revoked"}.get(state))

    assert (results.ready(), results.successful(), results.failed()) == (ready, successful, failed)
    assert results.waiting() is not ready


def test_a_group_of_unknown_jobs_is_not_ready(app):
    results = GroupResult("g", [AsyncResult("a")])

    assert not results.ready()
    assert not results.successful()
    assert not results.failed()


def test_an_empty_group_is_ready_and_empty(app):
    results = GroupResult("g")

    assert results.get(timeout=0) == []
    assert results.ready()
    assert results.successful()
    assert results.completed_count() == 0


def test_a_group_is_a_sequence_of_its_results(app):
    members = [AsyncResult("a"), AsyncResult("b")]
    results = GroupResult("g", members)

    assert list(results) == results.children == results.results == members
    assert (len(results), results[1]) == (2, members[1])
    assert results == GroupResult("g", members) != GroupResult("h", members)
    assert repr(results) == "<GroupResult: g [2]>"


def test_the_timeout_of_a_group_is_for_all_together(app):
    results = group(call("a", number) for number in range(50)).delay()

    before = time.monotonic()
    with pytest.raises(TimeoutError):
        results.get(timeout=0.05)

    assert time.monotonic() - before < 1
