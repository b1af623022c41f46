"""Named jobs over Dask graphs and futures: made, found and listed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dask_facade.exceptions import DaskJobException
from dask_facade.models import DaskJob, DaskScheduler
from dask_facade.named.models import DaskJobs
from dask_facade.named.reading import alias
from dask_facade.options import owner_of

__all__ = ["DaskJob", "DaskJobException", "create_job", "get_job", "list_jobs"]

JOB_TYPES = ("DASK",)


def create_job(
    name: str,
    user: Any,
    job_type: str | type[DaskJob] = "DASK",
    *,
    scheduler: DaskScheduler | None = None,
    forget: bool = False,
    description: str = "",
    label: str = "",
    groups: Collection[Any] = (),
    extended_properties: Mapping[str, Any] | None = None,
    process_results_function: Any = None,
    status_message: str = "",
) -> DaskJob:
    """Return a new job, Pending, in the ledger's database.

    *user* and *groups* are given as such or by primary key. Without *scheduler* it is the one that
    jobs run on. Raises ValueError for another kind of job, and for a user that is nobody.
    """
    if job_type is not DaskJob and job_type not in JOB_TYPES:
        raise ValueError(f"a job_type is one of {', '.join(JOB_TYPES)}, not {job_type!r}")
    owner = owner_of(user)
    if not owner or owner == "None":
        raise ValueError(f"a job needs the user whose it is; {user!r} has no primary key")
    job = DaskJob(
        name=name,
        owner=owner,
        scheduler=scheduler,
        forget=forget,
        description=description,
        label=label,
        extended_properties=dict(extended_properties or {}),
        own_message=status_message,
    )
    job.process_results_function = process_results_function
    job.save(using=alias())
    if groups:
        job.groups.set(groups)
    return job


def get_job(
    job_id: Any, user: Any = None, filters: Mapping[str, Any] | None = None
) -> DaskJob | None:
    """Return the job of this id, with *user* only a job of theirs; None where there is none."""
    jobs = _jobs(filters)
    if user is not None:
        jobs = jobs.owned_by(user)
    try:
        return jobs.filter(pk=job_id).first()
    except (TypeError, ValueError, OverflowError):
        return None


def list_jobs(
    user: Any = None,
    order_by: str = "id",
    filters: Mapping[str, Any] | None = None,
    *,
    groups: Any = None,
) -> DaskJobs:
    """Return the jobs of a user, or those shared with a group or one of several, or all.

    *filters* are lookups of Django's. Raises ValueError where both are given.
    """
    if user is not None and groups is not None:
        raise ValueError("list_jobs() takes a user or groups, not both")
    jobs = _jobs(filters)
    if user is not None:
        jobs = jobs.owned_by(user)
    elif groups is not None:
        jobs = jobs.shared_with(groups)
    return jobs.order_by(order_by)


def _jobs(filters: Mapping[str, Any] | None) -> DaskJobs:
    jobs = DaskJob.objects.using(alias())
    said = dict(filters or {})
    if "user" in said:
        jobs = jobs.owned_by(said.pop("user"))
    return jobs.filter(**said)
