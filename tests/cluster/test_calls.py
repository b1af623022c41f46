"""From a call to its result, by real processes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import transaction

from dask_facade import AsyncResult, DaskFacade, GroupResult, chain, chord, group
from dask_facade.exceptions import (
    ChordError,
    EncodeError,
    NotRegistered,
    PayloadTooLarge,
    TimeoutError,
    UnpickleableExceptionWrapper,
    WorkerLostError,
)
from dask_facade.states import FAILURE, PENDING, SUCCESS
from tests.cluster import tasks
from tests.cluster.processes import python, wait_for

pytestmark = pytest.mark.usefixtures("dispatcher")


def test_a_call_returns_what_its_task_returns() -> None:
    result = tasks.add.delay(2, 2)

    assert result.get(timeout=20) == 4
    assert (result.state, result.result, result.traceback) == (SUCCESS, 4, None)
    assert result.ready()
    assert result.successful()
    assert not result.failed()


@pytest.mark.parametrize(
    "value", [None, (1, 2), {1: {2}}, b"\x00", float("inf"), "\x00 \ud800", datetime.now(UTC)]
)
def test_arguments_and_results_keep_their_types(value: object) -> None:
    assert tasks.echo.delay(value).get(timeout=20) == value


def test_a_row_tells_the_story_of_its_job(app: DaskFacade) -> None:
    result = tasks.add.apply_async((1,), {"y": 2}, queue="other", priority=7)
    result.get(timeout=20)

    (job,) = app.store.fetch([result.id]).values()

    assert (job.task, job.queue, job.priority) == ("tests.cluster.tasks.add", "other", 7)
    assert (job.state, job.attempt, job.arguments, job.result_preview) == (
        SUCCESS,
        1,
        "1, y=2",
        "3",
    )
    assert job.created is not None
    assert job.started is not None
    assert job.finished is not None
    assert job.created <= job.started <= job.finished
    assert job.worker.startswith("tcp://127.0.0.1:")


def test_a_bound_task_knows_its_job() -> None:
    result = tasks.describe.apply_async((1, 2), queue="other")

    assert result.get(timeout=20) == {
        "id": result.id,
        "task": "tests.cluster.tasks.describe",
        "root_id": result.id,
        "parent_id": None,
        "group": None,
        "retries": 0,
        "args": [1, 2],
        "queue": "other",
        "direct": False,
    }


def test_a_result_tells_its_row_also_after_it_was_told_the_end() -> None:
    result = tasks.add.apply_async((1, 2), queue="other")

    result.get(timeout=20)

    assert (result.name, result.queue, result.args) == ("tests.cluster.tasks.add", "other", "1, 2")
    assert result.retries == 0


def test_a_failure_raises_the_tasks_own_exception_and_keeps_its_traceback() -> None:
    result = tasks.fail.delay("no good")

    with pytest.raises(ValueError, match="no good") as caught:
        result.get(timeout=20)

    assert str(caught.value) == "no good"
    assert result.state == FAILURE
    assert isinstance(result.result, ValueError)
    assert isinstance(result.get(propagate=False), ValueError)
    assert result.traceback.startswith("Traceback")
    assert "raise ValueError(message)" in result.traceback
    assert "execution.py" not in result.traceback  # the user's frames, not ours


def test_an_exception_that_cannot_be_rebuilt_fails_with_its_words() -> None:
    with pytest.raises(UnpickleableExceptionWrapper, match=r"Unbuildable\('1 and 2'\)"):
        tasks.fail_oddly.delay().get(timeout=20)


def test_a_task_that_exits_fails_and_spares_its_worker() -> None:
    process = tasks.process_id.delay().get(timeout=20)

    with pytest.raises(WorkerLostError, match=r"raised SystemExit\(3\)"):
        tasks.leave.delay(3).get(timeout=20)

    assert process in {tasks.process_id.delay().get(timeout=20) for _ in range(20)}


def test_another_process_reads_the_result(environment: dict[str, str]) -> None:
    done, failed = tasks.add.delay(20, 22), tasks.fail.delay()
    done.get(timeout=20)

    reader = python(
        "from dask_facade import AsyncResult\n"
        f"done, failed = AsyncResult({done.id!r}), AsyncResult({failed.id!r})\n"
        "print(done.get(timeout=10), done.state, type(failed.get(timeout=10, propagate=False)))",
        **environment,
    )

    assert reader.stdout.split(maxsplit=2) == ["42", "SUCCESS", "<class 'ValueError'>\n"]


def test_another_process_waits_for_a_result_that_is_still_to_come(
    environment: dict[str, str], tmp_path: Path
) -> None:
    go = tmp_path / "go"
    result = tasks.text_when.delay(str(go), 2)

    reader = python(
        "import pathlib, threading\n"
        "from dask_facade import AsyncResult\n"
        f"result = AsyncResult({result.id!r})\n"
        "before = result.ready()\n"
        f"threading.Timer(0.5, pathlib.Path({str(go)!r}).touch).start()\n"
        "print(before, result.get(timeout=20), result.ready())",
        **environment,
    )

    assert reader.stdout == "False xx True\n"


def test_a_process_that_exits_at_once_loses_nothing(
    app: DaskFacade, environment: dict[str, str]
) -> None:
    script = python(
        "from tests.cluster.tasks import add\n"
        "import os, sys\n"
        "print(add.delay(1, 2).id)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)",
        **environment,
    )

    assert AsyncResult(script.stdout.strip(), app=app).get(timeout=20) == 3


def test_a_row_that_nobody_hinted_at_is_found(
    app: DaskFacade, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app.client, "offer", lambda calls: None)

    assert tasks.add.delay(1, 1).get(timeout=20) == 2


def test_a_rollback_means_that_it_never_runs(alias: str, tmp_path: Path) -> None:
    with transaction.atomic(using=alias):
        result = tasks.note.delay(str(tmp_path), "never")
        transaction.set_rollback(True, using=alias)

    tasks.note.delay(str(tmp_path), "after").get(timeout=20)
    assert not (tmp_path / "never").exists()
    assert result.state == PENDING


def test_a_call_in_a_transaction_runs_after_its_commit(alias: str, tmp_path: Path) -> None:
    with transaction.atomic(using=alias):
        result = tasks.note.delay(str(tmp_path), "later")
        time.sleep(1.5)  # longer than the dispatcher waits before it looks for rows itself
        assert not (tmp_path / "later").exists()

    assert result.get(timeout=20) == "later"


def test_a_chain_hands_results_on() -> None:
    result = chain(tasks.add.s(1, 1), tasks.add.s(10), tasks.add.si(5, 5) | tasks.echo.s()).delay()

    assert result.get(timeout=20) == 10
    assert [result.parent.get(), result.parent.parent.get()] == [10, 12]
    assert result.parent.parent.parent.get() == 2


def test_a_group_gives_results_in_order() -> None:
    result = group(tasks.echo.s(number) for number in range(500)).delay()

    assert isinstance(result, GroupResult)
    assert result.get(timeout=30) == list(range(500))
    assert result.successful()
    assert result.completed_count() == 500


def test_a_group_raises_its_first_error_or_mixes_in_exceptions() -> None:
    result = group(tasks.echo.s(1), tasks.fail.s("mixed"), tasks.echo.s(3)).delay()

    with pytest.raises(ValueError, match="mixed"):
        result.get(timeout=20)

    first, error, third = result.get(timeout=20, propagate=False)
    assert (first, type(error), third) == (1, ValueError, 3)


def test_a_chord_runs_its_body_once_with_all_results(app: DaskFacade) -> None:
    result = chord((tasks.echo.s(number) for number in range(300)), tasks.total.s()).delay()

    assert result.get(timeout=30) == sum(range(300))
    assert isinstance(result.parent, GroupResult)
    assert app.store.fetch([result.id])[result.id].attempt == 1


def test_a_chords_body_may_take_more_than_one_message_can_carry() -> None:
    result = chord([tasks.text_of.s(400_000)] * 60, tasks.sizes.s()).delay()

    assert result.get(timeout=60) == [400_000] * 60


def test_an_empty_group_and_a_chord_without_header_have_results() -> None:
    assert group([]).delay().get(timeout=20) == []
    assert chord([], tasks.total.s()).delay().get(timeout=20) == 0


def test_canvas_nests() -> None:
    inner = chord([tasks.add.s(1), tasks.add.s(2)], tasks.total.s())
    result = chain(tasks.echo.s(10), inner, group(tasks.add.s(1), tasks.add.s(2))).delay()

    assert result.get(timeout=20) == [24, 25]


def test_what_follows_a_failure_fails_with_the_same_exception(tmp_path: Path) -> None:
    result = chain(
        tasks.fail.si("first"), tasks.note.si(str(tmp_path), "ran"), tasks.echo.s()
    ).delay()

    with pytest.raises(ValueError, match="first"):
        result.get(timeout=20)

    assert [result.state, result.parent.state] == [FAILURE, FAILURE]
    assert isinstance(result.result, ValueError)
    assert not (tmp_path / "ran").exists()


def test_a_chord_whose_header_fails_raises_that_error_and_its_body_is_a_chord_error() -> None:
    result = chord([tasks.echo.s(1), tasks.fail.s("header")], tasks.total.s()).delay()

    with pytest.raises(ValueError, match="header"):
        result.get(timeout=20)

    failed = result.parent.results[1].id
    assert isinstance(result.result, ChordError)
    assert str(result.result) == f"Dependency {failed} raised ValueError('header')"


def test_nothing_begins_before_its_time() -> None:
    start = time.time()

    by_countdown = tasks.echo.apply_async((1,), countdown=1)
    by_eta = tasks.echo.apply_async((2,), eta=datetime.now(UTC) + timedelta(seconds=3))

    for result, seconds in ((by_countdown, 1), (by_eta, 3)):
        result.get(timeout=20)
        began = result.app.store.fetch([result.id])[result.id].started.timestamp()
        # Neighbours may take the machine away for seconds.
        assert seconds <= began - start <= seconds + 5.0


def test_a_slow_call_holds_no_fast_ones_hostage() -> None:
    group(tasks.nap.s(0) for _ in range(50)).delay().get(timeout=20)  # it looks fast now

    slow = tasks.nap.delay(6)
    fast = group(tasks.nap.s(0) for _ in range(200)).delay()
    start = time.monotonic()
    fast.get(timeout=20)

    assert time.monotonic() - start < 4
    assert slow.get(timeout=20) == 6


def test_time_is_up_when_it_is_up() -> None:
    result = tasks.nap.delay(1.5)

    with pytest.raises(TimeoutError, match=f"job '{result.id}' is unfinished after 0.1 s"):
        result.get(timeout=0.1)

    assert result.get(timeout=20) == 1.5


class TestBadInput:
    """Each a clear error, and a row, where there is one, that says why."""

    def test_an_unknown_task_fails_by_name(self, app: DaskFacade) -> None:
        result = app.send_task("tests.cluster.tasks.nothing")

        with pytest.raises(NotRegistered, match="no task is registered as"):
            result.get(timeout=20)

    def test_a_module_that_cannot_be_imported_on_the_worker_is_named(self, app: DaskFacade) -> None:
        result = app.send_task("tests.cluster.broken.task")

        with pytest.raises(NotRegistered, match="No module named 'a_package_that_is_not_there'"):
            result.get(timeout=20)
        assert "a_package_that_is_not_there" in result.traceback

    def test_wrong_arguments_are_refused_at_the_call(self, app: DaskFacade) -> None:
        with pytest.raises(TypeError, match=r"tasks\.add\(x.*missing a required argument: 'y'"):
            tasks.add.delay(1)

    def test_arguments_that_cannot_be_stored_are_refused_at_the_call(self) -> None:
        with pytest.raises(EncodeError, match=r"cannot be serialised.*lock"):
            tasks.echo.delay(tasks.unstorable())

    def test_arguments_that_are_too_large_are_refused_at_the_call(self) -> None:
        with pytest.raises(PayloadTooLarge, match="pass a reference"):
            tasks.echo.delay(tasks.huge())

    def test_a_result_that_cannot_be_serialised_fails_with_the_reason(self) -> None:
        with pytest.raises(EncodeError, match="a lock cannot be serialised"):
            tasks.unstorable.delay().get(timeout=20)

    def test_a_result_that_is_too_large_for_the_table_is_on_the_cluster(
        self, app: DaskFacade
    ) -> None:
        result = tasks.huge.delay()

        assert len(result.get(timeout=20)) == 17 * 2**20
        assert app.store.fetch([result.id])[result.id].result is None

    def test_get_within_a_task_is_refused(self, app: DaskFacade) -> None:
        wait_for(lambda: app.client.connected, "a line")
        result = app.send_task("tests.cluster.tasks.get_within")

        with pytest.raises(RuntimeError, match=r"Never call result\.get"):
            result.get(timeout=20)
