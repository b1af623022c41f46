"""What running calls submit, in transactions and threads, in a worker's thread or its child."""

from __future__ import annotations

from typing import Any

import pytest

from dask_facade import AsyncResult, DaskFacade
from tests.cluster import tasks

pytestmark = pytest.mark.usefixtures("dispatcher")

SOON = 20  # seconds
in_a_child_or_not = pytest.mark.parametrize(
    "options", [{}, {"time_limit": 30}], ids=["thread", "child"]
)


@in_a_child_or_not
def test_a_child_leaves_when_its_parents_transaction_commits(
    app: DaskFacade, options: dict[str, Any]
) -> None:
    parent = tasks.spawn_in_transactions.apply_async(**options)

    kept, lost = parent.get(timeout=SOON)

    assert AsyncResult(kept).get(timeout=SOON) == 2
    rows = app.store.fetch([kept, lost])
    assert rows.keys() == {kept}
    assert (rows[kept].parent_id, rows[kept].root_id) == (parent.id, parent.id)


@in_a_child_or_not
def test_a_thread_that_knows_of_its_job_submits_for_it(
    app: DaskFacade, options: dict[str, Any]
) -> None:
    parent = tasks.spawn_in_a_thread.apply_async(**options)

    child = parent.get(timeout=SOON)

    assert AsyncResult(child).get(timeout=SOON) == 6
    assert app.store.fetch([child])[child].parent_id == parent.id


@in_a_child_or_not
def test_what_a_job_submits_is_of_the_same_owner(app: DaskFacade, options: dict[str, Any]) -> None:
    parent = tasks.spawn_in_a_thread.apply_async(user=7, **options)

    child = parent.get(timeout=SOON)

    assert app.store.fetch([child])[child].owner == "7"
