"""Results: of one job, of several, of groups, of calls that ran where they were made."""

from __future__ import annotations

from typing import Any

from dask_facade.async_result import AsyncResult
from dask_facade.eager_result import EagerResult
from dask_facade.group_result import GroupResult
from dask_facade.result_base import ResultBase
from dask_facade.result_set import ResultSet
from dask_facade.waiting import (
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    task_join_will_block,
)

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "assert_will_not_block",
    "denied_join_result",
    "result_from_tuple",
    "task_join_will_block",
]


def result_from_tuple(form: Any, app: Any = None) -> Any:
    """Return the result of which *form* is the ``as_tuple()``; a result is returned as it is."""
    if isinstance(form, ResultBase):
        return form
    head, members = form
    id, parent = head if isinstance(head, tuple | list) else (head, None)
    before = None if parent is None else result_from_tuple(parent, app)
    if members is None:
        return AsyncResult(id, before, app=app)
    return GroupResult(id, [result_from_tuple(each, app) for each in members], before, app=app)
