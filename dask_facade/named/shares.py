"""With which groups named jobs are shared."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models

from dask_facade.options import owner_of

if TYPE_CHECKING:
    from dask_facade.named.models import DaskJob


class JobShare(models.Model):
    """A named job is shared with a group."""

    job = models.ForeignKey("dask_facade.DaskJob", on_delete=models.CASCADE, related_name="shares")
    group = models.CharField(max_length=255, help_text="Primary key of the group.")

    class Meta:
        app_label = "dask_facade"
        verbose_name = "share"
        constraints = [
            models.UniqueConstraint(fields=["job", "group"], name="dask_facade_named_share"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} {self.group}"


def share(jobs: Sequence[DaskJob], groups: Sequence[str]) -> None:
    """Share jobs of one database with groups, given by primary key."""
    shares = [JobShare(job=job, group=group) for job in jobs for group in groups]
    JobShare.objects.using(jobs[0]._state.db).bulk_create(shares, ignore_conflicts=True)


class JobGroups:
    """The groups of one job. Rows of users may be in another database, so these are plain keys."""

    def __init__(self, job: DaskJob) -> None:
        self._job = job

    def keys(self) -> list[str]:
        """Return the primary keys of the groups."""
        return list(self._job.shares.order_by("group").values_list("group", flat=True))

    def all(self) -> models.QuerySet[Any]:
        """Return the groups."""
        from django.contrib.auth.models import Group  # where that is installed

        return Group.objects.filter(pk__in=self.keys())

    def add(self, *groups: Any) -> None:
        """Share the job with groups, given as such or by primary key."""
        share([self._job], [owner_of(each) for each in groups])

    def remove(self, *groups: Any) -> None:
        """Share it with these no more."""
        self._job.shares.filter(group__in=[owner_of(each) for each in groups]).delete()

    def set(self, groups: Collection[Any]) -> None:
        """Share it with these alone."""
        self._job.shares.exclude(group__in=[owner_of(each) for each in groups]).delete()
        self.add(*groups)
