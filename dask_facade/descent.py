"""What followed from a job: the results of what it submitted, and what goes on with its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from dask_facade.exceptions import IncompleteStream
from dask_facade.result_base import ResultBase


def children_of(app: Any, job_id: str) -> list[ResultBase]:
    """Return the results of a job's children: of groups that are whole as those of groups."""
    store = app.store
    rows = store.children(job_id)
    ids = {id for id, _ in rows}
    groups = {group for _, group in rows if group is not None}
    members = {group: store.group(group) for group in groups}
    whole = {group for group in groups if ids.issuperset(members[group])}
    found: list[ResultBase] = []
    for id, group in rows:
        if group not in whole:
            found.append(app.AsyncResult(id))
        elif group in members:
            results = [app.AsyncResult(each) for each in members.pop(group)]
            found.append(app.GroupResult(group, results))
    return found


def levels_below(
    result: ResultBase, intermediate: bool
) -> Iterator[tuple[ResultBase | None, ResultBase]]:
    """Yield (parent, result) for *result* and all that followed from it, level by level.

    Raises IncompleteStream at the first that has not ended, unless *intermediate*.
    """
    queue: deque[tuple[ResultBase | None, ResultBase]] = deque([(None, result)])
    while queue:
        parent, node = queue.popleft()
        yield parent, node
        if node.ready():
            queue.extend((node, child) for child in node.children)
        elif not intermediate:
            raise IncompleteStream(f"{node} has not ended")
