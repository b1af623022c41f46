"""Calls as a dispatcher hands them out, for those who test what is done with one."""

from __future__ import annotations

from typing import Any

from dask_facade.messages import Call, Shape
from dask_facade.serialization import dump_arguments


def a_call(id: str, task: str = "task", *args: Any, **changes: Any) -> Call:
    """Return a call of *task* with *args*, its first attempt; *changes* are of its fields."""
    call = Call(
        id=id,
        task=task,
        attempt=1,
        hand=1,
        queue="q",
        priority=0,
        created=0.0,
        due=None,
        acks_late=False,
        ignore_result=False,
        lost=0,
        root_id=id,
        parent_id=None,
        group_id=None,
        shape=Shape.NOTHING,
        payload=dump_arguments(args, {}),
        expires=None,
        graph=False,
        options=b"",
        near="",
        inputs=(),
    )
    return call._replace(**changes)
