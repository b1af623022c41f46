"""The table of named jobs. `dask_facade.models` has its names, too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import models
from django.utils import timezone

from dask_facade import current
from dask_facade.builtin import function_at
from dask_facade.named import (
    clusters,
    executing,
    holding,
    reading,
    resubmitting,
    statuses,
    steering,
)
from dask_facade.named.schedulers import DaskScheduler
from dask_facade.named.shares import JobGroups
from dask_facade.named.standing import Own, Standing
from dask_facade.named.work import path_of
from dask_facade.options import owner_of


class DaskJobs(models.QuerySet["DaskJob"]):
    """Several named jobs."""

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete each as `DaskJob.delete` does."""
        jobs = list(self.defer("work"))
        chosen = {job.pk for job in jobs}
        counts = Counter[str]()
        for job in jobs:
            if job.parent_id not in chosen:  # whose leaves it deletes, too
                counts.update(job.delete()[1])
        return counts.total(), dict(counts)

    def slim(self) -> DaskJobs:
        """Return the jobs without their graphs; `has_graph` still tells which keep one."""
        is_kept = models.ExpressionWrapper(
            models.Q(work__isnull=False), output_field=models.BooleanField()
        )
        return self.defer("work").annotate(graph_is_kept=is_kept)

    def owned_by(self, user: Any) -> DaskJobs:
        """Return the jobs of a user, given as such or by primary key."""
        return self.filter(owner=owner_of(user) or None)

    def shared_with(self, groups: Any) -> DaskJobs:
        """Return the jobs that have one of these groups, or this group."""
        many = groups if isinstance(groups, Iterable) else [groups]
        return self.filter(shares__group__in=[owner_of(each) for each in many]).distinct()


class DaskJob(models.Model):
    """A job by name: what it is called, whose it is, and which jobs of the ledger do its work.

    Its status is read from the ledger and written nowhere.
    """

    PRE_RUNNING_STATUSES = statuses.PRE_RUNNING
    RUNNING_STATUSES = statuses.RUNNING_STATUSES
    ACTIVE_STATUSES = statuses.ACTIVE
    NON_TERMINAL_STATUSES = statuses.NON_TERMINAL
    TERMINAL_STATUSES = statuses.TERMINAL

    name = models.CharField(max_length=1024)
    description = models.CharField(max_length=2048, blank=True, default="")
    label = models.CharField(max_length=1024, blank=True, default="")
    owner = models.CharField(max_length=255, help_text="Primary key of the user whose it is.")
    creation_time = models.DateTimeField(default=timezone.now)
    execute_time = models.DateTimeField(null=True, blank=True)
    extended_properties = models.JSONField(default=dict, blank=True)
    scheduler = models.ForeignKey(
        DaskScheduler, on_delete=models.SET_NULL, null=True, blank=True, related_name="jobs"
    )
    forget = models.BooleanField(default=False, help_text="Its result is never fetched.")
    key = models.CharField(max_length=1024, blank=True, default="", help_text="Of its future.")
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="leaves"
    )
    is_parent = models.BooleanField(default=False, help_text="Its leaves are its work.")
    results_function = models.CharField(max_length=1024, blank=True, default="")
    ledger_id = models.CharField("job", max_length=255, blank=True, default="")
    results_id = models.CharField("job of its results", max_length=255, blank=True, default="")
    work = models.BinaryField("stored graph", null=True, blank=True)
    held = models.BooleanField("paused", default=False)
    stopped = models.BooleanField(default=False)
    refusal = models.TextField(blank=True, default="", help_text="Why it could not be executed.")
    own_status = models.CharField(max_length=255, blank=True, default="")
    own_message = models.CharField(max_length=2048, blank=True, default="")

    objects = DaskJobs.as_manager()

    class Meta:
        app_label = "dask_facade"
        verbose_name = "named job"
        verbose_name_plural = "named jobs"
        indexes = [
            models.Index(fields=["owner", "id"], name="dask_facade_named_owner"),
            models.Index(fields=["ledger_id"], name="dask_facade_named_job"),
            models.Index(fields=["results_id"], name="dask_facade_named_results"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"

    # Whose it is

    @property
    def user(self) -> Any:
        """The user whose it is; None where there is no such user any more."""
        return get_user_model()._default_manager.filter(pk=self.owner).first()

    @user.setter
    def user(self, user: Any) -> None:
        self.owner = owner_of(user)

    @property
    def groups(self) -> JobGroups:
        """The groups that it is shared with."""
        return JobGroups(self)

    # Where it stands

    noted: Standing | None = None  # where it stood when it was read with others

    def own(self) -> Own:
        """Return what its row says."""
        return Own(
            executed=self.execute_time,
            held=self.held,
            stopped=self.stopped,
            refusal=self.refusal,
            status=self.own_status,
            message=self.own_message,
            has_work=bool(self.ledger_id),
            has_results=bool(self.results_id),
            is_parent=self.is_parent,
        )

    @property
    def standing(self) -> Standing:
        """Where it stands now, or stood when it was listed: its status and times at one moment."""
        return self.noted or reading.standings([self])[self.pk]

    @property
    def status(self) -> str:
        """The status, or words of the project's own; read from the ledger."""
        return self.standing.status

    @status.setter
    def status(self, status: str) -> None:
        self.update_status(status)

    cached_status = status

    @property
    def status_message(self) -> str:
        """What was said of the status, else why it ended badly, or how many leaves ended how."""
        return self.standing.message

    @status_message.setter
    def status_message(self, message: str) -> None:
        self.own_message = message

    @property
    def start_time(self) -> datetime | None:
        """When its work began."""
        return self.standing.start_time

    @property
    def completion_time(self) -> datetime | None:
        """When it ended, its results function with it."""
        return self.standing.completion_time

    @property
    def run_time(self) -> timedelta | None:
        """How long it ran, or has been running; None before it was executed."""
        return self.standing.run_time(timezone.now())

    def done(self) -> bool:
        """Tell whether it has ended."""
        return self.standing.kind in statuses.TERMINAL

    def update_status(self, status: str | None = None) -> None:
        """Read its row again; with *status*: show words of the project's own until it ends.

        Raises ValueError for a status that the ledger alone may tell.
        """
        steering.say(self, status)

    # Its work

    def execute(self, work: Any = None) -> None:
        """Submit a Delayed, a future, a collection or a dict of such; part of the transaction.

        A list of Delayed objects or futures becomes one job for each, the leaves of this one.
        Without *work* it is what `prepare` was given. Raises DaskJobException, and is Error then.
        """
        executing.execute(self, work)

    @property
    def has_graph(self) -> bool:
        """Whether it keeps a graph, to be run later or again."""
        if "work" in self.get_deferred_fields() and hasattr(self, "graph_is_kept"):
            return bool(self.graph_is_kept)
        return self.work is not None

    def prepare(self, work: Any) -> None:
        """Keep a Delayed or a collection for an `execute` without arguments."""
        executing.prepare(self, work)

    def stop(self) -> None:
        """Ask that its work ends, also while it runs; what others compute with goes on."""
        steering.stop(self)

    def pause(self) -> None:
        """Keep it from beginning, until `resume`.

        Raises NotImplementedError where it runs: what Dask has begun it cannot interrupt.
        """
        holding.pause(self)

    def resume(self) -> None:
        """Let a paused job go on. Raises DaskJobException unless it is paused."""
        holding.resume(self)

    def retry(self) -> None:
        """Run again what ended badly of it. Raises DaskJobException where nothing did."""
        resubmitting.retry(self)

    def resubmit(self) -> None:
        """Run all of it again, once it has ended; futures are tried again where they failed."""
        resubmitting.resubmit(self)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Stop it and delete it, its leaves, and what the ledger has of them."""
        return steering.delete(self, super().delete)

    @property
    def client(self) -> Any:
        """The Dask client of its scheduler, or of the one that jobs run on."""
        if self.scheduler is not None:
            return self.scheduler.client
        return clusters.client_at(current.app().store, "", "", 0, 0)

    @property
    def future(self) -> Any:
        """A Dask future of its work; None before that is submitted."""
        if not self.ledger_id:
            return None
        return clusters.future_of(current.app(), self.ledger_id)

    # Its results

    @property
    def process_results_function(self) -> Any:
        """What is called with the result, on the cluster, and whose return is kept; or None.

        Given as a function that stands in a module, or by its dotted path; raises ValueError for
        another.
        """
        return function_at(self.results_function) if self.results_function else None

    @process_results_function.setter
    def process_results_function(self, function: Any) -> None:
        self.results_function = "" if function is None else path_of(function)

    def process_results(self) -> None:
        """Have the results function called, if it was not; done at the end of its work, too."""
        steering.process_results(self)

    @property
    def result(self) -> Any:
        """The result, or what the results function made of it; a parent's is a list of them.

        None before it has ended, and with `forget`. Of a job that failed it is the exception.
        """
        return reading.result_of(self)

    def get_logs(self) -> dict[str, str]:
        """Return what is known of its run, by heading."""
        return reading.logs_of(self)
