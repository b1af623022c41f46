"""What is done with named jobs: shown in other words, stopped, their results processed, deleted.

A row is taken before what it says decides anything. What moves the ledger's jobs is asked of the
dispatcher in the same transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import TYPE_CHECKING

from django.db import transaction

from dask_facade import current
from dask_facade.control import ask
from dask_facade.exceptions import DaskJobException
from dask_facade.jobs import FORGET, REVOKE
from dask_facade.named import clusters, statuses
from dask_facade.named.reading import ends_of, standing_in
from dask_facade.named.rows import STEERED, change, change_each, taken
from dask_facade.named.standing import Seen
from dask_facade.named.work import path_of, process
from dask_facade.states import PENDING

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


def say(job: DaskJob, status: str | None) -> None:
    """Show *status*, words of the project's own; None: read the job's row again."""
    if status is None:
        job.refresh_from_db(fields=[*STEERED, "own_status", "own_message"])
        job.noted = None
        return
    if status in statuses.MEANINGS and status != statuses.OTHER:
        raise ValueError(
            f"{status!r} is for the ledger to tell: only words of your own can be said of a job"
        )
    change([job], own_status=status)


def stop(job: DaskJob) -> None:
    """Ask that the job's work ends; nothing is done about what has ended."""
    with transaction.atomic(using=job._state.db):
        rows = taken(job)
        known = ends_of(rows)
        going = [each for each in rows if standing_in(known, each).kind not in statuses.TERMINAL]
        change(going, stopped=True, held=False)
        withdraw(going, known, terminate=True)


def withdraw(jobs: Collection[DaskJob], known: Mapping[str, Seen], *, terminate: bool) -> None:
    """Ask that jobs of the ledger are revoked; let Dask drop those that nobody follows yet.

    *known* is what the ledger says of them.
    """
    ids = ids_of(jobs)
    if not ids:
        return
    app = current.app()
    ask(app, REVOKE, ids, terminate=terminate)
    works = [job.ledger_id for job in jobs]
    unfollowed = [id for id in works if id in known and known[id].state == PENDING]
    if unfollowed:
        app.store.on_commit(partial(clusters.give_up, app, unfollowed))


def ids_of(jobs: Collection[DaskJob]) -> list[str]:
    """Return the jobs of the ledger that do the work of jobs, and process its results."""
    return [id for job in jobs for id in (job.results_id, job.ledger_id) if id]


def process_results(job: DaskJob) -> None:
    """Submit the call of the results function of a job that was executed without one."""
    with transaction.atomic(using=job._state.db):
        rows = [
            each
            for each in taken(job)
            if each.ledger_id and not each.results_id and not each.forget
            and (job.results_function or each.results_function)
        ]  # fmt: skip
        for each in rows:
            each.results_function = path_of(job.results_function or each.results_function)
            each.results_id = process(
                current.app(), each.results_function, each.ledger_id, each.owner
            )
        change_each(rows, ["results_function", "results_id"])


def delete(
    job: DaskJob, delete_row: Callable[[], tuple[int, dict[str, int]]]
) -> tuple[int, dict[str, int]]:
    """Stop a job, let the ledger forget it once it has ended, and delete its row and leaves."""
    with transaction.atomic(using=job._state.db):
        try:
            rows = taken(job)
        except DaskJobException:  # somebody else has deleted it, and stopped it then
            return delete_row()
        withdraw(rows, ends_of(rows), terminate=True)
        ask(current.app(), FORGET, ids_of(rows))
        return delete_row()
