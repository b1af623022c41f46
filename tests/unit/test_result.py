from __future__ import annotations

import builtins
import json
import pickle
import threading
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from dask_facade import (
    AsyncResult,
    GroupResult,
    async_result,
    chain,
    chord,
    current,
    group,
    waiting,
)
from dask_facade.canvas import Signature
from dask_facade.exceptions import (
    ChordError,
    DecodeError,
    IncompleteStream,
    ResultLost,
    TaskRevokedError,
    TimeoutError,
    UnpickleableExceptionWrapper,
    WouldNeverEnd,
)
from dask_facade.jobs import FORGET, REOPEN, REVOKE, Batch
from dask_facade.messages import Nudge, Push, Spawn, Unsure, Unwait, Wait
from dask_facade.result import (
    allow_join_result,
    denied_join_result,
    result_from_tuple,
    task_join_will_block,
)
from dask_facade.serialization import dump_exception
from dask_facade.states import FAILURE, RETRY, REVOKED, STARTED, SUCCESS
from tests.unit.leading import Leader, outcome_of
from tests.unit.listening import DEADLINE, SECRET
from tests.unit.stage import new_job


def call(name, *args, **options):
    return Signature(name, args, {}, options)


A, B, C, D = (call(name) for name in "abcd")


class Mine(Exception):
    pass


@pytest.fixture
def leader(app, store):
    return Leader(store)


@pytest.fixture
def told(app, store, leader, listener, monkeypatch):
    """A dispatcher to which the app has its line, and which is relied upon."""
    monkeypatch.setattr(waiting, "POLL_CONNECTED", 60 * DEADLINE)
    lease = leader.desk.lead("tests", [listener.address], SECRET, store.lease())
    leader.epoch = lease.epoch
    connect(app, listener)
    return listener


def connect(app, listener):
    """Wait until the line of the app's client is up."""
    watch = app.client.watch(["connecting"])
    while not isinstance(listener.hears(), Wait):
        pass
    app.client.unwatch(watch)
    assert listener.hears() == Unwait(["connecting"])


# What is shown


def test_an_unknown_id_is_pending(app):
    result = AsyncResult("nobody's")

    assert result.state == result.status == "PENDING"
    assert result.result is result.info is result.traceback is None
    assert (result.ready(), result.successful(), result.failed()) == (False, False, False)


def test_a_job_in_the_hands_of_a_runner_shows_as_pending(app, leader):
    result = A.delay()
    assert result.state == "PENDING"

    leader.claim(result.id)

    assert result.state == "PENDING"
    assert not result.ready()


def test_a_success_shows_its_value(app, leader):
    result = A.delay()

    leader.end(result.id, SUCCESS, (1, 2))

    assert result.state == "SUCCESS"
    assert result.result == result.info == (1, 2)
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)


def test_a_failure_shows_its_exception_and_traceback(app, leader):
    result = A.delay()

    leader.end(result.id, FAILURE, Mine("wrong"), "Traceback: ...")

    assert result.state == "FAILURE"
    assert type(result.result) is Mine
    assert result.result.args == ("wrong",)
    assert result.traceback == "Traceback: ..."
    assert (result.ready(), result.successful(), result.failed()) == (True, False, True)


def test_a_revoked_job_shows_why(app, leader):
    result = A.delay()

    leader.end(result.id, REVOKED, "expired")

    assert result.state == "REVOKED"
    assert type(result.result) is TaskRevokedError
    assert str(result.result) == "expired"
    assert (result.ready(), result.successful(), result.failed()) == (True, False, False)


def test_a_job_that_waits_for_its_next_attempt_shows_what_it_raised(app, leader):
    result = A.delay()

    leader.end(result.id, RETRY, Mine("slow"))

    assert result.state == "RETRY"
    assert type(result.result) is Mine
    assert not result.ready()


def test_a_result_knows_the_name_of_its_task(app):
    assert A.delay().name == "a"


def test_an_end_is_read_once(app, leader, store, monkeypatch):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1)
    assert result.ready()

    monkeypatch.setattr(store, "fetch", None)

    assert result.state == "SUCCESS"
    assert result.get() == 1


def test_results_are_equal_by_id(app):
    assert AsyncResult("a") == AsyncResult("a") != AsyncResult("b")
    assert len({AsyncResult("a"), AsyncResult("a")}) == 1
    assert AsyncResult("a") == "a" != AsyncResult("b")


def test_a_result_reads_as_its_id(app):
    assert str(AsyncResult("a")) == AsyncResult("a").task_id == "a"
    assert repr(AsyncResult("a")) == "<AsyncResult: a>"


def test_a_job_that_says_so_shows_as_started(app, leader):
    result = A.delay()
    leader.claim(result.id)

    leader.say(result.id, STARTED, {"pid": 1})

    assert result.state == "STARTED"
    assert result.info == {"pid": 1}


def test_a_state_of_the_tasks_own_shows_with_what_was_said(app, leader):
    result = A.delay()
    leader.claim(result.id)

    leader.say(result.id, "PROGRESS", {"done": 1})

    assert result.state == "PROGRESS"
    assert result.info == result.result == {"done": 1}
    assert not result.ready()


def test_success_goes_over_what_was_said(app, leader):
    result = A.delay()
    leader.claim(result.id)
    leader.say(result.id, "PROGRESS", {"done": 1})

    leader.desk.write(leader.epoch, Batch(outcomes=[outcome_of(result.id, SUCCESS, "all")]))

    assert (result.state, result.info) == ("SUCCESS", "all")


def test_a_retry_shows_its_traceback(app, leader):
    result = A.delay()

    leader.end(result.id, RETRY, Mine("slow"), "Retry: Retry in 5s: Mine('slow')")

    assert result.traceback == "Retry: Retry in 5s: Mine('slow')"


def test_a_job_that_is_tried_again_is_pending_until_it_ends(app, leader):
    result = A.delay()
    leader.end(result.id, RETRY, Mine("slow"))
    leader.claim(result.id, attempt=2, hand=2)

    assert (result.state, result.result) == ("PENDING", None)
    assert result.retries == 1


def test_the_row_is_shown(app, leader):
    result = call("a", 1, queue="slow").delay()
    leader.claim(result.id)

    assert (result.name, result.queue, result.worker) == ("a", "slow", "tcp://worker:1")
    assert (result.retries, result.args, result.kwargs) == (0, "1", None)


def test_of_an_unknown_id_nothing_is_shown(app):
    result = AsyncResult("nobody's")

    assert {result.name, result.queue, result.worker, result.retries, result.args} == {None}
    assert result.date_done is None


def test_an_id_that_nobody_knows_does_not_exist(app, leader):
    result = A.delay()
    assert result.exists()
    assert not AsyncResult("nobody's").exists()

    leader.end(result.id, SUCCESS, 1)

    assert result.ready()
    assert result.exists()


def test_an_id_is_needed(app):
    with pytest.raises(ValueError, match="needs the id of a job"):
        AsyncResult(None)


def test_an_exception_that_cannot_be_read_here_is_told_in_words(app, leader):
    result = A.delay()
    leader.end(result.id, FAILURE, Mine("wrong"), result=b"cnothing that can be unpickled")

    assert type(result.result) is UnpickleableExceptionWrapper
    assert str(result.result) == "<not importable here>.Mine('wrong')"
    with pytest.raises(UnpickleableExceptionWrapper, match=r"Mine\('wrong'\)") as caught:
        result.get(timeout=0)
    assert "cannot be read here" in caught.value.__notes__[0]


def test_a_value_that_cannot_be_read_here_is_an_error(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1, result=b"cnothing that can be unpickled")

    with pytest.raises(DecodeError):
        result.get(timeout=0)


def test_a_result_that_was_kept_on_a_cluster_that_is_gone_is_lost_at_once(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, result=None, key="('kept', 'a')", size=10**9)

    with pytest.raises(ResultLost, match=result.id):
        result.get()
    assert result.state == "SUCCESS"


# get()


def test_get_returns_what_the_task_returned(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, {"a": (1,)})

    assert result.get() == result.wait() == {"a": (1,)}
    assert AsyncResult(result.id).get(timeout=0) == {"a": (1,)}


def test_get_waits_for_the_end(app, leader):
    result = A.delay()
    got = []
    waiting = threading.Thread(target=lambda: got.append(result.get(timeout=DEADLINE)))
    waiting.start()

    leader.end(result.id, SUCCESS, "late")
    waiting.join(DEADLINE)

    assert got == ["late"]


def test_get_raises_what_the_task_raised(app, leader):
    result = A.delay()
    leader.end(result.id, FAILURE, Mine("wrong"), "Traceback: the worker's")

    with pytest.raises(Mine, match="wrong") as caught:
        result.get()

    assert "Traceback: the worker's" in caught.value.__notes__[0]


def test_get_without_propagation_returns_the_exception(app, leader):
    result = A.delay()
    leader.end(result.id, FAILURE, Mine("wrong"))

    assert type(result.get(propagate=False)) is Mine


@pytest.mark.parametrize("reason", ["revoked", "terminated", "expired"])
def test_get_raises_that_the_job_was_revoked(app, leader, reason):
    result = A.delay()
    leader.end(result.id, REVOKED, reason)

    with pytest.raises(TaskRevokedError, match=reason):
        result.get()


def test_get_of_an_ignored_result_returns_at_once(app):
    result = call("a", ignore_result=True).delay()

    assert result.ignored
    assert result.get() is None
    assert result.state == "PENDING"


def test_get_accepts_celerys_options(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1)

    assert result.get(interval=0.5, no_ack=True, follow_parents=False) == 1


def test_the_callback_of_get_gets_id_and_value(app, leader):
    result, got = A.delay(), []
    leader.end(result.id, SUCCESS, 1)

    assert result.get(callback=lambda *args: got.append(args)) == 1
    assert got == [(result.id, 1)]


def test_the_callback_of_get_is_not_called_for_a_failure(app, leader):
    result, got = A.delay(), []
    leader.end(result.id, FAILURE, Mine())

    with pytest.raises(Mine):
        result.get(callback=lambda *args: got.append(args))

    assert got == []


def test_get_says_that_it_still_waits(app):
    waited = []

    with pytest.raises(TimeoutError):
        A.delay().get(timeout=0.1, interval=0.01, on_interval=lambda: waited.append(1))

    assert len(waited) > 1


def test_get_tells_of_each_news_of_the_state(app, leader):
    result, told = A.delay(), []

    def hear(message):
        told.append((message["task_id"], message["status"], message["result"]))
        if message["status"] == "PENDING":
            leader.claim(result.id)
            leader.say(result.id, "PROGRESS", {"done": 1})
        if message["status"] == "PROGRESS":
            outcome = outcome_of(result.id, SUCCESS, "all")
            leader.desk.write(leader.epoch, Batch(outcomes=[outcome]))

    assert result.get(timeout=DEADLINE, interval=0.001, on_message=hear) == "all"
    states = [("PENDING", None), ("PROGRESS", {"done": 1}), ("SUCCESS", "all")]
    assert told == [(result.id, *state) for state in states]


def test_the_states_that_get_raises_can_be_chosen(app, leader):
    result = A.delay()
    leader.end(result.id, REVOKED, "revoked")

    assert type(result.get(PROPAGATE_STATES={FAILURE})) is TaskRevokedError


def test_maybe_throw_raises_what_is_known_and_never_waits(app, leader):
    result, got = A.delay(), []
    assert result.maybe_throw() is None

    leader.end(result.id, FAILURE, Mine("wrong"))

    with pytest.raises(Mine, match="wrong"):
        result.maybe_reraise()
    assert type(result.maybe_throw(propagate=False, callback=lambda *a: got.append(a))) is Mine
    assert got[0][0] == result.id


def test_throw_raises():
    with pytest.raises(Mine):
        AsyncResult("a").throw(Mine(), None)


def test_get_refuses_what_its_transaction_keeps_from_ending(app, store, monkeypatch):
    result = A.delay()
    monkeypatch.setattr(store, "why_never", lambda ids: f"{ids} are not committed")

    with pytest.raises(RuntimeError, match=f"{result.id}.* not committed"):
        result.get()
    with pytest.raises(WouldNeverEnd):
        GroupResult("g", [result]).get()


def test_get_in_such_a_transaction_still_reads_what_has_ended(app, leader, store, monkeypatch):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1)
    monkeypatch.setattr(store, "why_never", lambda ids: "never")

    monkeypatch.setattr(async_result, "FRESH", -1.0)

    assert AsyncResult(result.id).get() == 1


def test_get_without_a_dispatcher_says_once_why_it_waits(app, leader, monkeypatch, caplog):
    monkeypatch.setattr(waiting, "WARN_AFTER", 0.01)
    monkeypatch.setattr(waiting, "POLL_MOST", 0.01)
    leader.desk.resign(leader.epoch)
    result, looks = A.delay(), []

    def look():
        looks.append(1)
        if len(looks) == 20:
            again = leader.desk.lead("tests", [], SECRET, leader.desk.lease())
            leader.epoch = again.epoch
            leader.end(result.id, SUCCESS, "late")

    assert result.get(interval=0.01, on_interval=look) == "late"
    assert caplog.text.count("no dispatcher is running") == 1


@pytest.mark.parametrize("timeout", [0, 0.01, -1])
def test_get_gives_up_after_the_timeout(app, timeout):
    result = A.delay()

    with pytest.raises(TimeoutError, match=result.id) as caught:
        result.get(timeout=timeout)

    assert isinstance(caught.value, builtins.TimeoutError)


@pytest.mark.parametrize("resigned", [False, True])
def test_a_timeout_says_that_no_dispatcher_runs(app, store, resigned):
    if resigned:
        leader = Leader(store, "127.0.0.1:1")
        leader.desk.resign(leader.epoch)

    with pytest.raises(TimeoutError, match=r"no dispatcher is running: .*manage.py dask_disp"):
        A.delay().get(timeout=0.01)


def test_a_timeout_says_that_the_dispatcher_does_not_answer(app, store):
    Leader(store, "127.0.0.1:1")

    with pytest.raises(TimeoutError, match=r"the dispatcher at 127\.0\.0\.1:1 does not answer"):
        A.delay().get(timeout=0.01)


def test_a_timeout_says_that_the_dispatcher_has_no_cluster(app, told):
    with pytest.raises(TimeoutError, match=r"after 0\.01 s; the dispatcher has no Dask cluster$"):
        A.delay().get(timeout=0.01)


@pytest.fixture
def clustered(told, leader):
    """A dispatcher to which the app has its line, and which has a cluster."""
    leader.desk.announce(leader.epoch, "tcp://scheduler:1")
    return told


def test_a_timeout_says_of_a_job_that_waits_no_more_than_that(app, clustered):
    with pytest.raises(TimeoutError, match=r"is unfinished after 0\.01 s$"):
        A.delay().get(timeout=0.01)


def test_a_timeout_says_that_nobody_knows_the_job(app, clustered):
    with pytest.raises(TimeoutError, match="the ledger has no such job"):
        AsyncResult("nobody's").get(timeout=0.01)


def test_a_timeout_says_when_the_job_is_due(app, clustered):
    eta = datetime(2100, 1, 2, tzinfo=UTC)

    with pytest.raises(TimeoutError, match="; it is due at 2100-01-02 00:00:00 UTC"):
        call("a", eta=eta).delay().get(timeout=0.01)


def test_a_timeout_of_a_group_tells_how_many_are_unfinished(app, leader):
    result = group(A, B, C).delay()
    leader.end(result[0].id, SUCCESS)

    with pytest.raises(TimeoutError, match="2 jobs are unfinished"):
        result.get(timeout=0.01)


def test_get_inside_of_a_task_is_refused(app, leader):
    result, results = A.delay(), group(A, B).delay()
    leader.end(result.id, SUCCESS, 1)

    with current.running(current.Context(id="a task")):
        for each in (result, results):
            with pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
                each.get(timeout=0)
        assert result.get(disable_sync_subtasks=False) == 1


def test_get_inside_of_a_task_may_be_allowed(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1)

    with current.running(current.Context(id="a task")), allow_join_result():
        assert result.get(timeout=0) == 1


def test_get_may_be_denied_outside_of_any_task(app):
    with denied_join_result():
        assert task_join_will_block()
        with pytest.raises(RuntimeError, match="Never call"):
            A.delay().get(timeout=0)
        with allow_join_result():
            assert not task_join_will_block()
        assert task_join_will_block()
    assert not task_join_will_block()


def test_get_inside_of_an_eager_call_keeps_no_worker_from_anything(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS, 1)

    with current.running(current.Context(id="a task", channel=SimpleNamespace(is_eager=True))):
        assert result.get(timeout=0) == 1


# What is asked for


def test_forget_asks_the_leader_and_the_result_knows_nothing_any_more(app, leader):
    result = A.delay()
    leader.end(result.id, FAILURE, Mine())

    result.forget()

    assert leader.asked() == [(FORGET, result.id, {})]
    assert (result.state, result.result, result.ready()) == ("PENDING", None, False)
    assert not result.exists()


def test_what_was_forgotten_is_not_waited_for(app, leader):
    result = A.delay()
    leader.end(result.id, SUCCESS)
    result.forget()

    with pytest.raises(TimeoutError, match="was forgotten"):
        result.get(timeout=60)
    with pytest.raises(WouldNeverEnd, match="was forgotten"):
        result.get()


def test_forget_is_for_those_before_it_too(app, leader):
    result = (group(A, B) | C).delay()
    for each in (*result.parent, result):
        leader.end(each.id, SUCCESS)

    result.forget()

    assert {name for _, name, _ in leader.asked()} == {result.id, *(r.id for r in result.parent)}
    assert result.parent[0].state == "PENDING"


def test_what_has_not_ended_can_still_be_read_when_it_has(app, leader):
    """As with Celery, whose backend has nothing to forget yet."""
    result = A.delay()
    result.forget()

    leader.end(result.id, SUCCESS, 1)

    assert result.get(timeout=0) == 1


@pytest.mark.parametrize("terminate", [False, True])
def test_revoke_asks_the_leader(app, leader, terminate):
    result = A.delay()

    result.revoke(terminate=terminate, signal="SIGKILL")

    assert leader.asked() == [(REVOKE, result.id, {"terminate": terminate})]


def test_revoke_is_heard_by_the_dispatcher_at_once(app, told):
    AsyncResult("a").revoke()

    assert told.hears() == Nudge()


def test_revoke_can_wait_for_the_end(app, leader):
    result = A.delay()
    finish = in_thread(lambda: result.revoke(wait=True, timeout=DEADLINE))
    while not leader.asked():
        pass
    leader.desk.revoke(leader.epoch, [result.id], "revoked")

    finish()

    assert result.state == "REVOKED"


def test_revoke_does_not_wait_longer_than_told(app):
    assert A.delay().revoke(wait=True, timeout=0.01) is None


def test_retry_asks_the_leader_and_the_result_waits_for_the_next_attempt(app, leader):
    result = A.delay()
    leader.end(result.id, FAILURE, Mine("first"))
    assert result.failed()

    result.retry()

    assert leader.asked() == [(REOPEN, result.id, {})]
    assert (result.state, result.result, result.traceback) == ("PENDING", None, None)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01)
    leader.desk.reopen(leader.epoch, [result.id])
    leader.end(result.id, SUCCESS, "second", attempt=2, hand=2)
    assert result.get(timeout=DEADLINE) == "second"


@pytest.mark.parametrize("state", [None, SUCCESS])
def test_only_what_failed_can_be_tried_again(app, leader, state):
    result = A.delay()
    if state is not None:
        leader.end(result.id, state)

    with pytest.raises(ValueError, match=result.id):
        result.retry()

    assert leader.asked() == []


# What follows


def spawn(leader, parent, *ids, group_id=None):
    """Let the task of *parent* submit jobs."""
    jobs = [
        new_job(id, parent_id=parent.id)._replace(group_id=group_id, root_id=parent.id)
        for id in ids
    ]
    (answer,) = leader.desk.spawn(leader.epoch, [Spawn(1, False, parent.id, 1, 1, jobs, [])])
    assert not answer.refusal


def test_the_children_of_a_job_are_what_it_submitted(app, leader):
    result = A.delay()
    leader.claim(result.id)
    assert result.children == []

    spawn(leader, result, "one")
    spawn(leader, result, "two", "three", group_id="g")
    spawn(leader, result, "four")

    one, those, four = result.children
    assert (one, four) == (AsyncResult("one"), AsyncResult("four"))
    assert those == GroupResult("g", [AsyncResult("two"), AsyncResult("three")])


def test_the_next_step_of_a_chain_is_a_child(app):
    result = (A | B).delay()

    assert result.parent.children == [result]


def test_a_member_of_a_group_that_is_not_all_its_own_is_a_child_by_itself(app):
    first, _ = results = group(A | B, C).delay()

    assert first.parent.children == [first]
    assert results.children == results.results


def test_the_tree_below_a_job_is_collected(app, leader):
    result = A.delay()
    leader.claim(result.id)
    spawn(leader, result, "one", "two", group_id="g")
    leader.desk.write(leader.epoch, Batch(outcomes=[outcome_of(result.id, SUCCESS, "top")]))
    for id in ("one", "two"):
        leader.end(id, SUCCESS, id)

    top, those, one, two = result.collect()

    assert top == (result, "top")
    assert those[1] == ["one", "two"]
    assert (one, two) == ((AsyncResult("one"), "one"), (AsyncResult("two"), "two"))
    assert result.get_leaf() == "two"


def test_a_tree_that_still_grows_cannot_be_walked_through(app):
    result = A.delay()

    with pytest.raises(IncompleteStream):
        list(result.iterdeps())
    assert list(result.iterdeps(intermediate=True)) == [(None, result)]


def test_a_result_goes_through_a_tuple_and_back(app):
    result = (A | group(B, C) | D).delay()

    again = result_from_tuple(json.loads(json.dumps(result.as_tuple())))

    assert again == result
    assert (again.parent, again.parent.parent) == (result.parent, result.parent.parent)
    assert result_from_tuple(result) is result


def test_a_result_survives_pickling(app):
    result = (A | B).delay()

    again = pickle.loads(pickle.dumps(result))

    assert (again, again.parent) == (result, result.parent)


def test_the_ids_of_a_chain_are_listed_backwards(app):
    result = (A | B).delay()

    assert result.as_list() == [result.id, result.parent.id]


# With a dispatcher that tells


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


def test_get_asks_the_ledger_about_what_the_dispatcher_does_not_hold(app, told, leader):
    job = app.send_task("a")
    told.hears()
    finish = in_thread(lambda: AsyncResult(job.id).get(timeout=DEADLINE))
    assert told.hears() == Wait([job.id])
    leader.end(job.id, SUCCESS, "from the ledger")

    told.says(Unsure([job.id]))

    assert finish() == "from the ledger"


def test_get_goes_on_with_the_ledger_when_the_dispatcher_goes(app, told, leader):
    job = app.send_task("a")
    told.hears()
    finish = in_thread(lambda: AsyncResult(job.id).get(timeout=DEADLINE))
    assert told.hears() == Wait([job.id])
    leader.end(job.id, SUCCESS, "from the ledger")

    told.close()

    assert finish() == "from the ledger"


def test_news_for_others_do_not_send_a_waiting_thread_to_the_ledger(app, told, store, monkeypatch):
    finish = in_thread(lambda: AsyncResult("a").get(timeout=DEADLINE))
    assert told.hears() == Wait(["a"])
    asked = []
    monkeypatch.setattr(store, "fetch_committed", lambda ids: asked.append(ids) or {})
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


def test_the_rest_of_a_failed_chain_raises_what_its_first_failure_raised(app, leader):
    result = (A | B | C).delay()

    leader.end(result.parent.parent.id, FAILURE, Mine("first"))

    for each in (result, result.parent, result.parent.parent):
        assert each.state == "FAILURE"
        with pytest.raises(Mine, match="first"):
            each.get(timeout=0)


def test_what_came_before_can_be_left_out(app, leader):
    result = (A | B).delay()
    leader.end(result.parent.id, FAILURE, Mine("first"))
    leader.desk.reopen(leader.epoch, [result.id])

    with pytest.raises(TimeoutError):
        result.get(timeout=0, follow_parents=False)


def test_a_step_that_fails_itself_raises_its_own(app, leader):
    result = (A | B).delay()
    leader.end(result.parent.id, SUCCESS, 1)
    leader.end(result.id, FAILURE, Mine("second"))

    with pytest.raises(Mine, match="second"):
        result.get(timeout=0)


def test_the_body_of_a_chord_raises_what_its_header_raised(app, leader):
    result = chord([A, B], C).delay()

    leader.end(result.parent[1].id, FAILURE, Mine("in the header"))

    with pytest.raises(Mine, match="in the header"):
        result.get(timeout=0)


def test_the_result_of_such_a_body_is_a_chord_error(app, leader):
    result = chord([A, B], C).delay()
    leader.end(result.parent[1].id, FAILURE, Mine("in the header"))

    error = result.get(timeout=0, propagate=False)

    assert type(error) is ChordError
    assert str(error) == f"Dependency {result.parent[1].id} raised Mine('in the header')"


def test_a_group_behind_a_failed_task_raises_what_that_raised(app, leader):
    result = (A | group(B, C)).delay()

    leader.end(result.parent.id, FAILURE, Mine("before"))

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


# Who is called when it ends


def test_who_waits_is_called_once_its_end_is_known(app, leader):
    result, called = A.delay(), []
    result.then(called.append)
    assert not result.ready()
    leader.end(result.id, SUCCESS, 3)
    assert called == []

    assert result.ready()

    assert called == [result]
    result.then(called.append)
    assert called == [result, result]


def test_what_a_callback_raises_goes_to_its_other(app, leader):
    result, errors = A.delay(), []

    def raises(_):
        raise Mine("in a callback")

    result.then(raises, on_error=errors.append)
    leader.end(result.id, SUCCESS, 3)

    assert result.get() == 3
    assert [str(error) for error in errors] == ["in a callback"]


def test_what_followed_is_a_graph(app, leader, store):
    parent = A.delay()
    store.submit([new_job("child", parent_id=parent.id)], [], lambda created: None)
    with pytest.raises(IncompleteStream):
        parent.graph  # noqa: B018  # it is computed
    for id in (parent.id, "child"):
        leader.end(id, SUCCESS, 1)

    graph = parent.graph

    assert {one.id: [other.id for other in others] for one, others in graph.items()} == {
        parent.id: ["child"],
        "child": [],
    }
