from __future__ import annotations

import asyncio
import pickle

import pytest

from dask_facade import AsyncResult, current
from dask_facade.exceptions import TaskRevokedError
from dask_facade.result import EagerResult
from dask_facade.states import FAILURE, RETRY, REVOKED, SUCCESS


class Mine(Exception):
    pass


def test_an_eager_success_has_its_value():
    result = EagerResult("a", 1, SUCCESS, name="tasks.add")

    assert (result.id, result.name, result.state, result.status) == (
        "a",
        "tasks.add",
        *[SUCCESS] * 2,
    )
    assert result.get() == result.wait() == result.result == result.info == 1
    assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
    assert result.children == []
    assert repr(result) == "<EagerResult: a>"
    assert isinstance(result, AsyncResult)


def test_an_eager_failure_is_raised_unless_it_is_not_to_be():
    error = Mine("wrong")
    result = EagerResult("a", error, FAILURE, "Traceback: ...")

    with pytest.raises(Mine) as caught:
        result.get()
    assert caught.value is error
    assert result.get(propagate=False) is error
    assert result.maybe_throw(propagate=False) is error
    assert result.traceback == "Traceback: ..."
    assert (result.ready(), result.successful(), result.failed()) == (True, False, True)


def test_an_eager_failure_that_is_no_exception_is_raised_as_one():
    with pytest.raises(Exception, match="words"):
        EagerResult("a", "words", FAILURE).get()


def test_an_eager_retry_gives_nothing():
    result = EagerResult("a", Mine("slow"), RETRY)

    assert result.get() is None
    assert result.ready()


def test_an_eager_result_can_be_called_revoked():
    result = EagerResult("a", 1, SUCCESS)

    result.revoke(terminate=True)

    assert result.state == REVOKED
    assert type(result.result) is TaskRevokedError
    with pytest.raises(TaskRevokedError, match="revoked"):
        result.get()


def test_an_eager_result_is_not_forgotten():
    result = EagerResult("a", 1, SUCCESS)

    result.forget()

    assert result.get() == 1


def test_an_eager_result_can_be_awaited():
    async def main():
        return await EagerResult("a", 1, SUCCESS)

    assert asyncio.run(main()) == 1


def test_an_eager_result_survives_pickling():
    again = pickle.loads(pickle.dumps(EagerResult("a", 1, SUCCESS, name="tasks.add")))

    assert (again.id, again.get(), again.state, again.name) == ("a", 1, SUCCESS, "tasks.add")


def test_get_of_an_eager_result_inside_of_a_task_is_refused():
    with current.running(current.Context(id="a task")):
        with pytest.raises(RuntimeError, match="Never call"):
            EagerResult("a", 1, SUCCESS).get()
        assert EagerResult("a", 1, SUCCESS).get(disable_sync_subtasks=False) == 1
