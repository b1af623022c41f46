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

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob

CHUNK = 500  # ids in one query
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


def standings(jobs: Iterable[DaskJob]) -> dict[Any, Standing]:
    """Return where jobs stand, by their primary keys."""
    jobs = list(jobs)
    if not jobs:
        return {}
    using = jobs[0]._state.db or alias()
    parents = [job for job in jobs if job.is_parent]
    leaves: Sequence[DaskJob] = ()
    if parents:
        leaves = list(type(parents[0])._default_manager.using(using).defer("work").filter(
            parent__in=[job.pk for job in parents]
        ))  # fmt: skip
    ids = {id for job in (*jobs, *leaves) for id in (job.ledger_id, job.results_id) if id}
    known = seen(ids, using)
    below: dict[Any, list[Standing]] = {job.pk: [] for job in parents}
    for leaf in leaves:
        below[leaf.parent_id].append(_alone(leaf, known))
    return {
        job.pk: standing_of_parent(job.own(), below[job.pk])
        if job.is_parent
        else _alone(job, known)
        for job in jobs
    }


def _alone(job: DaskJob, known: Mapping[str, Seen]) -> Standing:
    return standing_of(job.own(), known.get(job.ledger_id), known.get(job.results_id))


def results_id_of(job: DaskJob) -> str:
    """Return the id of the ledger's job whose result is that of *job*."""
    return job.results_id or job.ledger_id


def result_of(job: DaskJob) -> Any:
    """Return the result of a job, see `DaskJob.result`."""
    if job.forget:
        return None
    if job.is_parent:
        return [result_of(leaf) for leaf in job.leaves.order_by("id")]
    if not job.ledger_id or job.standing.kind not in TERMINAL:
        return None
    return AsyncResult(results_id_of(job), app=current.app()).result


def preview_of(job: DaskJob) -> str:
    """Return the result of a job as people may see it, without rebuilding it."""
    jobs = _leaves(job) if job.is_parent else [job]
    known = seen({results_id_of(each) for each in jobs}, job._state.db or alias())
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
        return next(_logs_of([job], job._state.db or alias()))
    leaves = _leaves(job)
    return {
        f"{leaf.name}: {heading}": text
        for leaf, logs in zip(leaves, _logs_of(leaves, job._state.db or alias()), strict=True)
        for heading, text in logs.items()
    }


def _leaves(job: DaskJob) -> list[DaskJob]:
    return list(job.leaves.defer("work").order_by("id"))


def _logs_of(jobs: Sequence[DaskJob], using: str) -> Iterator[dict[str, str]]:
    """Yield what is known of the run of each, none of which is a parent."""
    where = standings(jobs)
    known = seen({id for each in jobs for id in (each.ledger_id, each.results_id) if id}, using)
    traces = _traces(list(known), using)
    for job in jobs:
        logs = {"Job": "\n".join(_told(job, where[job.pk]))}
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
    yield f"{job.creation_time:%Y-%m-%d %H:%M:%S} created by {job.owner}"
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
