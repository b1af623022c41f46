"""Plans of signatures, as a submitter would make them whose ids are id-1, id-2 ..."""

from __future__ import annotations

import itertools
from typing import Any

from dask_facade.options import Defaults
from dask_facade.plan import Plan, compile_plan
from dask_facade.submitter import Submitter
from dask_facade.task import Task

NOW = 1_700_000_000.0


def plan_of(made: Any, *known: Task, **options: Any) -> Plan:
    """Return the plan of a signature; *options* are those of a Submitter that knows some tasks."""
    numbers = itertools.count(1)
    unsaid = {
        "task": {task.name: task for task in known}.get,
        "defaults": Defaults(),
        "new_id": lambda: f"id-{next(numbers)}",
        "now": lambda: NOW,
        "payload_limit": 10_000,
    }
    return compile_plan(made, Submitter(**{**unsaid, **options}))


def task_of(run: Any, name: str = "", **attributes: Any) -> Task:
    """Return a task that no registry knows; it has the function's name, unless one is said."""
    task = Task()
    task.name, task.run = name or run.__name__, run  # type: ignore[method-assign]  # its own
    for attribute, value in attributes.items():
        setattr(task, attribute, value)
    return task
