"""What the ledger says of named jobs: many at a time, and nothing is written."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.models import Case, Q, Value, When

from dask_facade import current
from dask_facade.exceptions import ImproperlyConfigured
from dask_facade.named.standing import Seen, Standing, standing_of, standing_of_parent
from dask_facade.named.statuses import TERMINAL
from dask_facade.result import AsyncResult
from dask_facade.result_base import fetch_all

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob, DaskJobs

CHUNK = 500  # ids in one query
OWN = ("parent", "is_parent", "ledger_id", "results_id", "execute_time", "held", "stopped",
       "refusal", "own_status", "own_message")  # fmt: skip
_FIELDS = ("state", "said", "result_preview", "far", "worker", "claimed", "started", "finished")


def alias() -> str:
    """Return the database of the ledger, which has the named jobs, too."""
    found: str | None = getattr(current.app().store, "alias", None)
    if found is None:
        raise ImproperlyConfigured(
            "named jobs need the ledger of a Django site; this app has one in memory"
        )
    return found


def seen(ids: Collection[str], using: str) -> dict[str, Seen]:
    """Return what the ledger says of these jobs; unknown ids are left out."""
    rows = apps.get_model("dask_facade", "Job")._default_manager.using(using)
    far = Case(When(Q(result=None) & ~Q(key=""), then=Value(True)), default=Value(False))
    wanted, found = list(ids), dict[str, Seen]()
    for start in range(0, len(wanted), CHUNK):
        those = rows.filter(id__in=wanted[start : start + CHUNK]).annotate(far=far)
        found.update((id, Seen(*said)) for id, *said in those.values_list("id", *_FIELDS))
    return found


def ends_of(jobs: Collection[DaskJob]) -> dict[str, Seen]:
    """Return what the ledger says of the work of jobs and of their results functions, by id."""
    ids = {id for job in jobs for id in (job.ledger_id, job.results_id) if id}
    return seen(ids, next(iter(jobs))._state.db or alias()) if ids else {}


def standing_in(known: Mapping[str, Seen], job: DaskJob) -> Standing:
    """Return where a job stands that is no parent, by what `ends_of` has told."""
    return standing_of(job.own(), known.get(job.ledger_id), known.get(job.results_id))


def standings(jobs: Iterable[DaskJob]) -> dict[Any, Standing]:
    """Return where jobs stand, by their primary keys."""
    jobs = list(jobs)
    parents = [job for job in jobs if job.is_parent]
    leaves = _leaves_of(parents) if parents else []
    known = ends_of([*jobs, *leaves])
    below: dict[Any, list[Standing]] = {job.pk: [] for job in parents}
    for leaf in leaves:
        below[leaf.parent_id].append(standing_in(known, leaf))
    return {
        job.pk: standing_of_parent(job.own(), below[job.pk])
        if job.is_parent
        else standing_in(known, job)
        for job in jobs
    }


def _leaves_of(parents: Sequence[DaskJob]) -> list[DaskJob]:
    """Return the leaves of parents, with no more than tells where they stand."""
    rows: DaskJobs = type(parents[0])._default_manager.using(parents[0]._state.db)
    return list(rows.filter(parent__in=[job.pk for job in parents]).only(*OWN))


def results_id_of(job: DaskJob) -> str:
    """Return the id of the ledger's job whose result is that of *job*."""
    return job.results_id or job.ledger_id


def result_of(job: DaskJob) -> Any:
    """Return the result of a job, see `DaskJob.result`."""
    if job.forget:
        return None
    results = _results_of(_leaves(job) if job.is_parent else [job])
    return results if job.is_parent else results[0]


def _results_of(jobs: Sequence[DaskJob]) -> list[Any]:
    """Return the results of jobs, none of which is a parent."""
    app, known = current.app(), ends_of(jobs)
    found = {
        job.pk: AsyncResult(results_id_of(job), app=app)
        for job in jobs
        if job.ledger_id and not job.forget and standing_in(known, job).kind in TERMINAL
    }
    fetch_all(app, found.values())
    return [found[job.pk].result if job.pk in found else None for job in jobs]


def preview_of(job: DaskJob) -> str:
    """Return the result of a job as people may see it, without rebuilding it."""
    jobs = _leaves(job) if job.is_parent else [job]
    known = ends_of(jobs)
    words = [
        "" if found is None or found.finished is None else found.words
        for found in (known.get(results_id_of(each)) for each in jobs)
    ]
    if not job.is_parent:
        return words[0]
    return "\n".join(f"{leaf.name}: {each}" for leaf, each in zip(jobs, words, strict=True))


def logs_of(job: DaskJob) -> dict[str, str]:
    """Return what is known of a job's run, by heading."""
    if not job.is_parent:
        return next(_logs_of([job]))
    leaves = _leaves(job)
    return {
        f"{leaf.name}: {heading}": text
        for leaf, logs in zip(leaves, _logs_of(leaves), strict=True)
        for heading, text in logs.items()
    }


def _leaves(job: DaskJob) -> list[DaskJob]:
    return list(job.leaves.defer("work").order_by("pk"))


def _logs_of(jobs: Sequence[DaskJob]) -> Iterator[dict[str, str]]:
    """Yield what is known of the run of each, none of which is a parent."""
    known = ends_of(jobs)
    traces = _traces(list(known), jobs[0]._state.db or alias()) if known else {}
    for job in jobs:
        logs = {"Job": "\n".join(_told(job, standing_in(known, job)))}
        for heading, id in (("Work", job.ledger_id), ("Results function", job.results_id)):
            if id in known:
                logs[heading] = "\n".join(_history(id, known[id]))
                if trace := traces.get(id):
                    logs[f"{heading}: traceback"] = trace
        yield logs


def _traces(ids: Sequence[str], using: str) -> dict[str, str | None]:
    rows = apps.get_model("dask_facade", "Job")._default_manager.using(using)
    found = dict[str, str | None]()
    for start in range(0, len(ids), CHUNK):
        those = rows.filter(id__in=ids[start : start + CHUNK])
        found.update(those.values_list("id", "traceback"))
    return found


def _told(job: DaskJob, standing: Standing) -> Iterable[str]:
    yield f"{job.creation_time:%Y-%m-%d %H:%M:%S} created by user {job.owner}"
    if job.execute_time is not None:
        yield f"{job.execute_time:%Y-%m-%d %H:%M:%S} executed"
    yield f"{standing.status}{f': {standing.message}' if standing.message else ''}"


def _history(id: str, job: Seen) -> Iterable[str]:
    yield f"job {id}{f' on {job.worker}' if job.worker else ''}"
    for what, when in (("claimed", job.claimed), ("begun", job.started), ("ended", job.finished)):
        if when is not None:
            yield f"{when:%Y-%m-%d %H:%M:%S.%f} {what}"
    if job.finished is not None:
        yield f"{job.state}: {job.words}"
