"""What Celery's users rely on, as far as one call can show it; the numbers order them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dask_facade import AsyncResult, DaskFacade, GroupResult, chain, chord, group
from dask_facade.app import Celery
from dask_facade.canvas import _chain, signature
from dask_facade.contrib.abortable import AbortableAsyncResult
from dask_facade.exceptions import (
    ChordError,
    EncodeError,
    MaxRetriesExceededError,
    NotRegistered,
    Reject,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    TimeoutError,
    UnpickleableExceptionWrapper,
    WorkerLostError,
)
from dask_facade.ids import new_id
from dask_facade.jobs import ABORT
from dask_facade.ledger.memory import MemoryStore
from dask_facade.states import (
    ABORTED,
    FAILURE,
    PENDING,
    PROPAGATE_STATES,
    READY_STATES,
    RETRY,
    REVOKED,
    STARTED,
    SUCCESS,
)
from tests.cluster import semantics as tasks
from tests.cluster.processes import DispatcherProcess, wait_for

pytestmark = pytest.mark.usefixtures("dispatcher")

SOON = 20  # seconds
FAR = datetime(2100, 1, 1, tzinfo=UTC)


def test_01_an_unknown_or_forgotten_id_is_pending(app: DaskFacade) -> None:
    unknown, known = AsyncResult("nobody-knows-it"), tasks.add.delay(1, 1)
    known.get(timeout=SOON)

    known.forget()

    wait_for(lambda: not app.store.fetch([known.id]), "the row's end")
    for result in (unknown, known, AsyncResult(known.id)):
        assert (result.state, result.result, result.ready()) == (PENDING, None, False)


def test_02_get_raises_the_original_class() -> None:
    result = tasks.fail.delay("mine")

    with pytest.raises(tasks.MyErr, match=r"^mine"):
        result.get(timeout=SOON)

    assert isinstance(result.result, tasks.MyErr)
    assert isinstance(result.traceback, str)
    assert "raise MyErr(message)" in result.traceback


def test_03_an_exception_that_cannot_be_rebuilt_breaks_nothing() -> None:
    with pytest.raises(UnpickleableExceptionWrapper, match="1 and 2"):
        tasks.fail_oddly.delay().get(timeout=SOON)

    assert tasks.add.delay(1, 1).get(timeout=SOON) == 2


def test_04_json_is_strict_where_it_is_asked_for_and_else_types_are_kept() -> None:
    value = (1, {2: "two"})

    assert tasks.echo.delay(value).get(timeout=SOON) == value
    strict = tasks.echo.apply_async((value,), serializer="json")
    assert strict.get(timeout=SOON) == [1, {"2": "two"}]
    with pytest.raises(EncodeError):
        tasks.echo.apply_async((object(),), serializer="json")


def test_05_a_wrong_number_of_arguments_is_told_at_the_call() -> None:
    with pytest.raises(TypeError, match="missing a required argument: 'y'"):
        tasks.add.delay(1)


def test_06_get_times_out() -> None:
    result = tasks.nap.apply_async((0,), countdown=30)

    with pytest.raises(TimeoutError):
        result.get(timeout=0.05)

    result.revoke()


@pytest.mark.parametrize(
    ("task", "error"),
    [
        (tasks.retry_bare, MaxRetriesExceededError),
        (tasks.retry_in_except, MaxRetriesExceededError),
        (tasks.retry_with_exc, tasks.MyErr),
        (tasks.retry_automatically, tasks.MyErr),
    ],
)
def test_07_exhausted_retries_raise(task: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        task.delay().get(timeout=SOON)


def test_08_a_job_that_waits_for_its_retry_says_so() -> None:
    result = tasks.retry_slowly.delay(30)

    wait_for(lambda: result.state == RETRY, "the retry")

    assert not result.ready()
    assert isinstance(result.result, tasks.MyErr)
    assert result.traceback.rstrip().endswith("Retry: Retry in 30s: MyErr('slow')")
    result.revoke()
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=SOON)


def test_08_retries_are_counted_and_may_have_other_arguments() -> None:
    assert tasks.succeed_at.delay(3).get(timeout=SOON) == 3
    assert tasks.succeed_at.apply_async((3,), retries=2).get(timeout=SOON) == 3
    assert tasks.retry_with_others.delay(1).get(timeout=SOON) == 2


def test_08_a_retry_of_a_tasks_own_making_is_one(tmp_path: Path) -> None:
    path = tmp_path / "runs"

    result = tasks.raise_retry.delay(path=str(path))

    with pytest.raises(tasks.MyErr, match="by hand"):
        result.get(timeout=SOON)
    assert len(path.read_text().splitlines()) == 3


def test_08_a_retry_of_a_tasks_own_making_waits_for_its_eta(tmp_path: Path) -> None:
    result = tasks.raise_retry.delay(path=str(tmp_path / "runs"), eta=FAR)

    wait_for(lambda: result.state == RETRY, "the retry")

    assert isinstance(result.result, tasks.MyErr)
    assert result.traceback.rstrip().endswith("Retry: by hand")
    result.revoke()


def test_08_a_retry_at_a_time_that_has_passed_is_made_at_once(tmp_path: Path) -> None:
    path = tmp_path / "runs"

    assert tasks.retry_in_the_past.delay(str(path)).get(timeout=SOON) == 1

    assert len(path.read_text().splitlines()) == 2


def test_09_the_request_says_what_celerys_does() -> None:
    result = tasks.describe.apply_async(
        (1,),
        {"y": 2},
        queue="other",
        priority=3,
        headers={"tenant": "north"},
        expires=60,
        time_limit=20,
        soft_time_limit=10,
    )

    seen = result.get(timeout=SOON)

    assert seen["id"] == seen["root_id"] == seen["correlation_id"] == result.id
    assert (seen["parent_id"], seen["group"], seen["chord"], seen["chain"]) == (None,) * 4
    assert (seen["retries"], seen["replaced_task_nesting"]) == (0, 0)
    assert seen["delivery_info"] == {
        "exchange": "",
        "routing_key": "other",
        "priority": 3,
        "redelivered": False,
    }
    assert (seen["headers"]["tenant"], seen["tenant"]) == ("north", "north")
    assert list(seen["timelimit"]) == [20, 10]
    assert seen["eta"] is None
    assert "T" in seen["expires"]
    assert (seen["argsrepr"], seen["kwargsrepr"]) == ("(1,)", "{'y': 2}")
    assert seen["hostname"]
    assert "@" in seen["origin"]
    assert (seen["called_directly"], seen["is_eager"], seen["ignore_result"]) == (False,) * 3


def test_09_a_member_knows_its_group_and_a_step_what_follows() -> None:
    members = group(tasks.describe.s(n) for n in range(2)).delay()
    seen = members.get(timeout=SOON)
    assert [each["group"] for each in seen] == [members.id] * 2
    assert [each["group_index"] for each in seen] == [0, 1]

    last = chain(tasks.describe.s(), tasks.echo.s()).delay()
    (following,) = last.get(timeout=SOON)["chain"]
    assert following["task"] == tasks.echo.name


def test_09_a_task_may_end_its_chain() -> None:
    last = chain(tasks.abort_the_rest.si(), tasks.echo.s()).delay()

    assert last.parent.get(timeout=SOON) == "aborted"
    with pytest.raises(TaskRevokedError):
        last.get(timeout=SOON)


def test_10_get_within_a_task_is_refused_unless_allowed() -> None:
    done = tasks.add.delay(1, 1)
    done.get(timeout=SOON)

    with pytest.raises(RuntimeError, match=r"Never call result\.get\(\) within a task!"):
        tasks.get_within.delay(done.id).get(timeout=SOON)
    assert tasks.get_within_allowed.delay(done.id).get(timeout=SOON) == 2
    assert tasks.get_within_enabled.delay(done.id).get(timeout=SOON) == 2


def test_11_ignore_leaves_the_state_and_reject_fails() -> None:
    left = tasks.ignore.delay()
    wait_for(lambda: left.state == "LEFT", "the task's own state")
    assert left.info == {"by": "the task"}
    assert left.get(timeout=SOON) == {"by": "the task"}
    assert (left.state, AsyncResult(left.id).state) == ("LEFT", "LEFT")

    rejected = tasks.reject.delay()
    with pytest.raises(Reject):
        rejected.get(timeout=SOON)
    assert rejected.state == FAILURE
    assert isinstance(rejected.result, Reject)


def test_12_soft_and_hard_time_limits() -> None:
    assert tasks.run_softly.delay().get(timeout=SOON) == "tidied"
    with pytest.raises(SoftTimeLimitExceeded):
        tasks.run_beyond_soft.delay().get(timeout=SOON)
    with pytest.raises(TimeLimitExceeded, match=r"0\.5"):
        tasks.run_beyond_hard.delay().get(timeout=SOON)
    with pytest.raises(TimeLimitExceeded):
        tasks.nap.apply_async((30,), time_limit=0.3).get(timeout=SOON)
    assert tasks.add.delay(1, 1).get(timeout=SOON) == 2


def test_13_revoked_terminated_expired(app: DaskFacade, tmp_path: Path) -> None:
    waiting = tasks.nap.apply_async((0,), countdown=30)
    running = tasks.wait_for_file.apply_async((str(tmp_path / "never"),), time_limit=60)
    expired = tasks.echo.apply_async((1,), countdown=1, expires=0.2)
    wait_for(lambda: running.state == STARTED, "its start")

    waiting.revoke()
    running.revoke(terminate=True)

    for result, word in ((waiting, "revoked"), (running, "terminated"), (expired, "expired")):
        with pytest.raises(TaskRevokedError, match=word):
            result.get(timeout=SOON)
        assert result.state == REVOKED
        assert isinstance(result.result, TaskRevokedError)


def test_13_revoking_a_running_call_without_terminate_lets_it_end(tmp_path: Path) -> None:
    running = tasks.wait_for_file.delay(str(tmp_path / "seen"))
    wait_for(lambda: running.state == STARTED, "its start")

    running.revoke()
    (tmp_path / "seen").touch()

    assert running.get(timeout=SOON) == "seen"


def test_13_a_call_in_a_workers_own_thread_is_terminated_with_its_worker(tmp_path: Path) -> None:
    running = tasks.wait_for_file.delay(str(tmp_path / "never"))
    wait_for(lambda: running.state == STARTED, "its start")

    running.revoke(terminate=True)

    with pytest.raises(TaskRevokedError, match="terminated"):
        running.get(timeout=SOON)
    results = [tasks.add.delay(n, n) for n in range(20)]
    assert [result.get(timeout=SOON) for result in results] == [2 * n for n in range(20)]


def test_13_an_id_may_be_revoked_before_it_exists(app: DaskFacade, tmp_path: Path) -> None:
    app.control.revoke("revoked-before-it-exists")

    result = tasks.note.apply_async(
        (str(tmp_path / "ran"),), task_id="revoked-before-it-exists", countdown=1
    )

    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get(timeout=SOON)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "task",
    [
        *(tasks.exit_hard, tasks.kill_itself, tasks.exit_softly, tasks.exit_isolated),
        tasks.exit_unrepeatably,
    ],
)
def test_14_a_call_that_ends_its_process_fails_and_is_not_run_again(
    task: Any, tmp_path: Path
) -> None:
    path = tmp_path / "runs"

    with pytest.raises(WorkerLostError):
        task.delay(str(path)).get(timeout=SOON)

    assert len(path.read_text().splitlines()) == 1


def test_15_a_state_of_the_tasks_own_is_seen_until_it_ends(tmp_path: Path) -> None:
    result = tasks.progress.delay(str(tmp_path / "go"))

    wait_for(lambda: result.state == "PROGRESS", "the state")
    assert result.info == result.result == {"current": 3, "total": 10}

    (tmp_path / "go").touch()
    assert result.get(timeout=SOON) == "done"
    assert result.state == SUCCESS


def test_16_an_ignored_result_is_none_at_once() -> None:
    result = tasks.echo.apply_async((1,), ignore_result=True)

    assert result.ignored
    assert result.get() is None
    assert (result.state, result.result) == (PENDING, None)


def test_16_nothing_is_told_of_a_job_whose_result_is_ignored_but_to_who_looks(
    app: DaskFacade,
) -> None:
    sent = app.send_task(tasks.echo.name, (1,), ignore_result=True)
    wait_for(lambda: app.store.fetch([sent.id])[sent.id].ready, "its end")

    meta = app.backend.get_task_meta(sent.id)

    assert (meta["status"], meta["result"]) == (PENDING, None)
    assert (sent.ignored, sent.state) == (True, PENDING)
    assert AsyncResult(sent.id).state == SUCCESS


def test_17_parents_are_walked_backwards_and_the_rest_of_a_failed_chain_fails() -> None:
    last = chain(tasks.add.s(1, 1), tasks.add.s(1), tasks.fail.si("in the middle"), tasks.echo.s())
    result = last.delay()

    with pytest.raises(tasks.MyErr, match="in the middle"):
        result.get(timeout=SOON)

    assert result.parent.parent.get(timeout=SOON) == 3
    assert result.parent.parent.parent.get(timeout=SOON) == 2
    assert result.parent.parent.parent.parent is None
    assert result.state == FAILURE
    assert isinstance(result.result, tasks.MyErr)


def test_18_partial_arguments_go_first_and_si_takes_nothing() -> None:
    assert tasks.echo.s().delay("x").get(timeout=SOON) == "x"
    assert chain(tasks.echo.s("a"), tasks.add.s("b")).delay().get(timeout=SOON) == "ab"
    assert chain(tasks.echo.s("a"), tasks.add.si(1, 1)).delay().get(timeout=SOON) == 2


def test_19_a_group_before_a_task_is_a_chord_and_behind_one_a_chain() -> None:
    members, task = group(tasks.echo.s(1), tasks.echo.s(2)), tasks.echo.s()

    assert isinstance(members | task, chord)
    assert isinstance(tasks.echo.s(0) | group(tasks.echo.s(), tasks.echo.s()), _chain)
    assert (members | task).delay().get(timeout=SOON) == [1, 2]


def test_20_a_group_raises_its_first_error_or_mixes() -> None:
    members = group(tasks.echo.s(1), tasks.fail.s("second"), tasks.echo.s(3)).delay()

    with pytest.raises(tasks.MyErr, match="second"):
        members.get(timeout=SOON)

    first, second, third = members.get(timeout=SOON, propagate=False)
    assert (first, third) == (1, 3)
    assert isinstance(second, tasks.MyErr)


def test_21_a_chord_whose_header_fails_raises_its_exception_and_is_a_chord_error() -> None:
    result = chord([tasks.echo.s(1), tasks.fail.s("in the header")], tasks.echo.s()).delay()

    with pytest.raises(tasks.MyErr, match="in the header"):
        result.get(timeout=SOON)

    error = result.get(timeout=SOON, propagate=False)
    assert isinstance(error, ChordError)
    assert "Dependency" in str(error)
    assert result.state == FAILURE


def test_22_error_callbacks_by_their_signatures(tmp_path: Path) -> None:
    new, old, none = (str(tmp_path / name) for name in ("new", "old", "none"))

    result = tasks.fail.apply_async(
        ("watched",),
        link_error=[
            tasks.errback_new.s(path=new),
            tasks.errback_old.s(path=old),
            tasks.errback_immutable.si(none),
        ],
    )

    with pytest.raises(tasks.MyErr):
        result.get(timeout=SOON)
    for path in (new, old, none):
        wait_for(lambda path=path: Path(path).exists() and Path(path).read_text(), path)
    assert Path(new).read_text() == f"{result.id}|MyErr|watched|True"
    assert Path(old).read_text() == result.id


def test_22_an_error_callback_that_raises_is_a_failure_of_its_own() -> None:
    result = tasks.fail.apply_async(("first",), link_error=tasks.errback_that_raises.s())

    with pytest.raises(tasks.MyErr, match="first"):
        result.get(timeout=SOON)

    wait_for(lambda: result.children, "the callback")
    (callback,) = result.children
    with pytest.raises(tasks.MyErr, match=f"about {result.id}"):
        callback.get(timeout=SOON)
    assert isinstance(result.result, tasks.MyErr)
    assert str(result.result) == "first"


@pytest.mark.parametrize("how", ["link", "link_error"])
def test_22_a_callback_that_no_worker_knows_fails_alone(how: str) -> None:
    task = tasks.echo if how == "link" else tasks.fail

    result = task.apply_async(("x",), **{how: signature("no.such.callback")})
    value = result.get(timeout=SOON, propagate=False)

    wait_for(lambda: result.children, "the callback")
    (callback,) = result.children
    with pytest.raises(NotRegistered, match=r"no\.such\.callback"):
        callback.get(timeout=SOON)
    assert value == "x" if how == "link" else isinstance(value, tasks.MyErr)


def test_23_a_link_gets_the_result(tmp_path: Path) -> None:
    result = tasks.add.apply_async((1, 2), link=tasks.add.s(10))

    assert result.get(timeout=SOON) == 3
    wait_for(lambda: result.children, "the link")
    (linked,) = result.children
    assert linked.get(timeout=SOON) == 13
    assert [value for _, value in result.collect()] == [3, 13]


def test_24_a_replaced_job_keeps_its_id() -> None:
    result = tasks.replace_by_add.delay(2, 3)

    assert result.get(timeout=SOON) == 5
    assert AsyncResult(result.id).result == 5


def test_25_groups_are_saved_and_restored() -> None:
    members = group(tasks.echo.s(n) for n in range(3)).delay()
    members.save()

    again = GroupResult.restore(members.id)

    assert again is not None
    assert again.get(timeout=SOON) == [0, 1, 2]
    assert GroupResult.restore("nobody-knows-it") is None
    assert group([]).delay().get(timeout=SOON) == []


def test_26_eager_calls_return_eager_results(app: DaskFacade) -> None:
    result = tasks.add.apply((1, 2))
    assert (type(result).__name__, result.get(), result.state) == ("EagerResult", 3, SUCCESS)
    failed = tasks.fail.apply(("eager",))
    assert failed.state == FAILURE
    with pytest.raises(tasks.MyErr, match="eager"):
        failed.get()
    with pytest.raises(tasks.MyErr, match="eager"):
        tasks.fail.apply(("eager",), throw=True)


def test_27_an_unknown_task_fails(app: DaskFacade) -> None:
    result = app.send_task("no.such.task")

    with pytest.raises(NotRegistered, match=r"no\.such\.task"):
        result.get(timeout=SOON)

    assert isinstance(result.result, KeyError)


def test_27_an_unknown_task_in_a_canvas_fails_what_depends_on_it() -> None:
    unknown = signature("no.such.step", (1,))

    chained = chain(tasks.echo.s(1), unknown, tasks.echo.s()).delay()
    body = chord([tasks.echo.s(1), unknown], tasks.echo.s()).delay()

    for result in (chained, body):
        with pytest.raises(NotRegistered, match=r"no\.such\.step"):
            result.get(timeout=SOON)
    assert isinstance(body.get(timeout=SOON, propagate=False), ChordError)


def test_28_the_sets_of_states_are_celerys() -> None:
    assert {SUCCESS, FAILURE, REVOKED} == READY_STATES
    assert {FAILURE, REVOKED} == PROPAGATE_STATES


def test_29_without_workers_nobody_answers(app: DaskFacade) -> None:
    nobody = DaskFacade("nobody", store=MemoryStore(), set_as_current=False)

    assert nobody.control.inspect(timeout=0.1).active() is None
    assert nobody.control.ping(timeout=0.1) == []
    nobody.close()
    wait_for(lambda: len(app.control.ping(timeout=SOON)) == 2, "both workers")
    assert set(app.control.inspect(timeout=SOON).active()) == {
        name for reply in app.control.ping(timeout=SOON) for name in reply
    }


def test_30_a_bound_task_called_directly_raises_what_it_would_retry() -> None:
    with pytest.raises(tasks.MyErr, match="mine"):
        tasks.retry_with_exc()


def test_31_an_expected_exception_is_a_failure_all_the_same() -> None:
    result = tasks.throws.delay()

    with pytest.raises(tasks.MyErr, match="expected"):
        result.get(timeout=SOON)


@pytest.mark.parametrize("task", [tasks.until_aborted, tasks.until_aborted_in_a_process])
def test_31_a_task_that_looks_is_told_that_it_is_aborted(task: Any, tmp_path: Path) -> None:
    path = tmp_path / "running"
    result = task.delay(str(path))
    wait_for(path.exists, "its start")
    assert not result.is_aborted()

    result.abort()

    assert result.is_aborted()
    assert result.get(timeout=SOON) == "tidied"
    assert (result.state, result.is_aborted()) == (SUCCESS, False)


def test_31_a_job_is_aborted_before_it_begins(app: DaskFacade) -> None:
    result = tasks.aborted_at_its_start.apply_async(countdown=2)

    result.abort()

    wait_for(lambda: result.state == ABORTED, "its state")
    assert AbortableAsyncResult(result.id, app=app).is_aborted()
    assert result.get(timeout=SOON) is True


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("task", [tasks.adds_to_chord, tasks.adds_to_chord_in_a_process])
def test_31_a_body_waits_for_what_a_member_adds_to_its_header(task: Any, lazy: bool) -> None:
    result = chord([task.s([1, 2], lazy=lazy), tasks.add.s(1, 1)], tasks.echo.s()).delay()

    first, second, *added = result.get(timeout=SOON)

    assert (first, second) == ("first", 2)
    assert added == [11, 12, [101, 102]]


def test_31_what_is_added_comes_behind_nested_results_and_before_other_arguments() -> None:
    more, two = tasks.add.delay(5, 5), group(tasks.add.s(1), tasks.add.s(2))
    header = group(tasks.adds_to_chord.s([1]), tasks.add.si(1, 1) | two)
    nested = chord(header, tasks.both.s(more)).delay()
    flat = chord([tasks.adds_to_chord.s([1])], tasks.both.s(more)).delay()

    assert nested.get(timeout=SOON) == [["first", [3, 4], 11, [101]], 10]
    assert flat.get(timeout=SOON) == [["first", 11, [101]], 10]


def test_31_a_task_that_is_in_no_chord_adds_to_none() -> None:
    result = tasks.adds_to_chord.delay([1])

    with pytest.raises(ValueError, match="not member of any chord"):
        result.get(timeout=SOON)


def test_31_what_has_ended_stays_as_it_ended() -> None:
    result = tasks.aborted_at_its_start.delay()
    assert result.get(timeout=SOON) is False

    result.abort()

    app = result.app
    wait_for(lambda: not app.store.asked(ABORT, result.id), "the request's end")
    assert (AsyncResult(result.id).state, result.is_aborted()) == (SUCCESS, False)


def test_the_state_of_another_job_can_be_told(tmp_path: Path) -> None:
    path = tmp_path / "seen"
    other = tasks.wait_for_file.delay(str(path))
    wait_for(lambda: other.state == STARTED, "its start")

    told = tasks.tell_of_another.delay(other.id)

    wait_for(lambda: other.state == "BEHIND", "its state")
    assert other.info == {"by": told.id}
    path.touch()
    assert other.get(timeout=SOON) == "seen"
    assert other.state == SUCCESS


def test_a_job_that_waits_is_done_by_hand_and_what_waits_for_it_goes_on(app: DaskFacade) -> None:
    last = chain(tasks.add.si(1, 1).set(countdown=60), tasks.add.s(1)).delay()
    other = tasks.add.apply_async((1, 1), countdown=60)

    app.backend.mark_as_done(last.parent.id, 40)
    app.backend.mark_as_failure(other.id, tasks.MyErr("by hand"))

    assert last.get(timeout=SOON) == 41
    assert last.parent.get(timeout=SOON) == 40
    with pytest.raises(tasks.MyErr, match="by hand"):
        other.get(timeout=SOON)


def test_a_step_that_waits_for_another_is_done_by_hand_once(
    app: DaskFacade, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    last = chain(tasks.wait_for_file.si(str(seen)), tasks.note.si(str(tmp_path / "ran"))).delay()
    wait_for(lambda: last.parent.state == STARTED, "its start")

    app.backend.mark_as_done(last.id, "by hand")

    assert last.get(timeout=SOON) == "by hand"
    seen.touch()
    assert last.parent.get(timeout=SOON) == "seen"
    assert tasks.add.delay(1, 1).get(timeout=SOON) == 2
    assert (last.state, last.get(), (tmp_path / "ran").exists()) == (SUCCESS, "by hand", False)


def test_a_header_that_raises_while_it_is_made_submits_no_part_of_the_chord(
    app: DaskFacade,
) -> None:
    ids = [new_id(), new_id()]

    def header() -> Iterator[Any]:
        yield tasks.echo.s(1).set(task_id=ids[0])
        raise tasks.MyErr("in the generator")

    with pytest.raises(tasks.MyErr, match="in the generator"):
        chord(header(), tasks.echo.s().set(task_id=ids[1])).delay()

    assert app.store.fetch(ids) == {}


def test_a_canvas_that_holds_itself_is_refused_before_anything_is_written(app: DaskFacade) -> None:
    ids = [new_id(), new_id()]
    whole = chain(*(tasks.echo.s(1).set(task_id=id) for id in ids))
    whole.tasks.append(whole)

    with pytest.raises(ValueError, match="itself"):
        whole.apply_async()

    assert app.store.fetch(ids) == {}


@pytest.mark.parametrize(
    ("how", "lines"),
    [
        ("succeed", ["before_start", "on_success succeed", f"after_return {SUCCESS}"]),
        ("fail", ["before_start", "on_failure recorded", f"after_return {FAILURE}"]),
        (
            "retry",
            [
                *("before_start", "on_retry MyErr"),
                *("before_start", "on_success retry", f"after_return {SUCCESS}"),
            ],
        ),
    ],
)
def test_hooks_are_called_in_celerys_order(how: str, lines: list[str], tmp_path: Path) -> None:
    path = tmp_path / "hooks"

    tasks.recorded.delay(how, path=str(path)).get(timeout=SOON, propagate=False)

    assert path.read_text().splitlines() == lines


def test_a_task_may_print_as_much_as_it_likes(dispatcher: DispatcherProcess) -> None:
    assert tasks.chatter.delay(500).get(timeout=SOON) == 500

    wait_for(lambda: "line 499" in dispatcher.output, "its last line")


def test_children_carry_their_parents_id(app: DaskFacade) -> None:
    parent = tasks.spawn.delay(3)

    children = [AsyncResult(id) for id in parent.get(timeout=SOON)]

    assert [child.get(timeout=SOON) for child in children] == [0, 2, 4]
    assert [child.id for child in parent.children] == [child.id for child in children]
    jobs = app.store.fetch([child.id for child in children]).values()
    assert {(job.parent_id, job.root_id) for job in jobs} == {(parent.id, parent.id)}


def test_a_child_outlives_the_failure_of_its_parent() -> None:
    parent = tasks.spawn_and_fail.delay()

    with pytest.raises(tasks.MyErr):
        parent.get(timeout=SOON)

    assert AsyncResult(f"child-of-{parent.id}").get(timeout=SOON) == 2


def test_celery_is_the_app_under_its_old_name() -> None:
    assert Celery is DaskFacade
