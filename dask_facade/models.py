"""The ledger's tables. Rows are written below the ORM, by `ledger.orm` and the leader's desk."""

from __future__ import annotations

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Q
from django.utils import timezone

from dask_facade.messages import Shape
from dask_facade.named.models import DaskJob
from dask_facade.named.schedulers import DaskScheduler
from dask_facade.named.shares import JobShare
from dask_facade.states import ALL_STATES, IN_FLIGHT_STATES, PENDING, WAITING_STATES

__all__ = [
    "DaskJob",
    "DaskScheduler",
    "Edge",
    "Group",
    "Job",
    "JobShare",
    "Lease",
    "Queue",
    "Request",
    "Schedule",
]

ID_LENGTH = 255
"""Characters of a job's id, at most."""


class JobIdField(models.CharField):  # type: ignore[type-arg]  # not generic at run time
    """The id of a job as primary key.

    On PostgreSQL it sorts by bytes: comparing is cheaper than by the rules of a language, and the
    primary key itself serves searches by prefix. Spelt so, Django adds no second index for them.
    """

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        """Return the column's type."""
        if connection.vendor == "postgresql":
            return f'character varying({self.max_length}) COLLATE "C"'
        return super().db_type(connection) or ""


class Job(models.Model):
    """One call or graph: what was asked, where it stands, how it ended."""

    id = JobIdField(primary_key=True, max_length=ID_LENGTH)
    task = models.CharField(max_length=255)
    queue = models.CharField(max_length=255)
    priority = models.IntegerField(default=0, help_text="Larger goes first.")
    payload = models.BinaryField("stored arguments")
    arguments = models.TextField(blank=True, default="", help_text="A preview.")
    state = models.CharField(
        max_length=16, choices=[(state, state) for state in sorted(ALL_STATES)], default=PENDING
    )
    attempt = models.IntegerField(default=1)
    hand = models.IntegerField("times claimed", default=0)
    lost = models.IntegerField("workers lost", default=0)
    open = models.IntegerField(
        "open dependencies",
        null=True,
        blank=True,
        help_text="Unknown: no dispatcher has taken the job up yet. 0: it is ready.",
    )
    runner = models.CharField(max_length=255, blank=True, default="")
    worker = models.CharField(max_length=255, blank=True, default="")
    acks_late = models.BooleanField(default=False)
    ignore_result = models.BooleanField(default=False)
    graph = models.BooleanField(default=False, help_text="It follows a Dask future.")
    owner = models.CharField(max_length=255, blank=True, default="")
    shape = models.SmallIntegerField("shape of the inputs", default=Shape.NOTHING)
    options = models.BinaryField("stored options", blank=True, default=b"")
    errbacks = models.BinaryField("stored error callbacks", blank=True, default=b"")
    root_id = models.CharField("root", max_length=ID_LENGTH)
    parent_id = models.CharField("parent", max_length=ID_LENGTH, null=True, blank=True)
    group_id = models.CharField("group", max_length=ID_LENGTH, null=True, blank=True)
    created = models.DateTimeField(default=timezone.now)
    eta = models.DateTimeField("not before", null=True, blank=True)
    expires = models.DateTimeField(null=True, blank=True)
    delay = models.FloatField(default=0, help_text="Seconds from when it waits for nothing else.")
    claimed = models.DateTimeField(null=True, blank=True)
    started = models.DateTimeField(null=True, blank=True)
    finished = models.DateTimeField(null=True, blank=True)
    runtime = models.FloatField(null=True, blank=True, help_text="Seconds.")
    result = models.BinaryField("stored result", null=True, blank=True)
    result_preview = models.TextField("result", blank=True, default="")
    traceback = models.TextField(null=True, blank=True)
    said = models.CharField("state of its own", max_length=64, blank=True, default="")
    meta = models.BinaryField("stored words of its own", null=True, blank=True)
    key = models.CharField(
        max_length=255, blank=True, default="", help_text="The result is Dask data, too."
    )
    size = models.BigIntegerField(default=0, help_text="Bytes of a result that has a key.")

    class Meta:
        verbose_name = "job"
        verbose_name_plural = "jobs"
        # Every change of state writes to every index: few, and small where a condition allows.
        indexes = [
            models.Index(
                fields=["-priority", "created"],
                name="dask_facade_new",
                condition=Q(state=PENDING, open__isnull=True, eta__isnull=True),
            ),
            models.Index(
                fields=["eta"],
                name="dask_facade_due",
                condition=Q(state__in=sorted(WAITING_STATES), open__isnull=True, eta__isnull=False),
            ),
            models.Index(
                fields=["open"],
                name="dask_facade_taken",
                condition=Q(state__in=sorted(WAITING_STATES), open=0),
            ),
            models.Index(
                fields=["runner"],
                name="dask_facade_in_flight",
                condition=Q(state__in=sorted(IN_FLIGHT_STATES)),
            ),
            models.Index(
                fields=["group_id", "created"],
                name="dask_facade_group",
                condition=Q(group_id__isnull=False),
            ),
            models.Index(
                fields=["parent_id"],
                name="dask_facade_parent",
                condition=Q(parent_id__isnull=False),
            ),
            models.Index(
                fields=["owner", "id"], name="dask_facade_owner", condition=Q(owner__gt="")
            ),
            models.Index(fields=["state", "created"], name="dask_facade_state"),
        ]

    def __str__(self) -> str:
        return f"{self.task} {self.id}"


class Edge(models.Model):
    """The job *child* waits for the job *parent*.

    Plain ids without foreign keys: plans are inserted in bulk, a parent may be committed after its
    child, and jobs are pruned by the thousand; a constraint would check each row each time.
    """

    parent_id = models.CharField("parent", max_length=ID_LENGTH)
    child_id = models.CharField("child", max_length=ID_LENGTH)
    position = models.IntegerField()
    takes_result = models.BooleanField()

    class Meta:
        verbose_name = "dependency"
        verbose_name_plural = "dependencies"
        indexes = [
            models.Index(fields=["parent_id"], name="dask_facade_edge_parent"),
            models.Index(fields=["child_id", "position"], name="dask_facade_edge_child"),
        ]

    def __str__(self) -> str:
        return f"{self.parent_id} -> {self.child_id}"


class Request(models.Model):
    """What people and other processes ask of the leading dispatcher, which removes it."""

    kind = models.CharField(max_length=32)
    job_id = models.CharField("job", max_length=ID_LENGTH)
    arguments = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "request"
        verbose_name_plural = "requests"
        indexes = [models.Index(fields=["job_id"], name="dask_facade_request_job")]

    def __str__(self) -> str:
        return f"{self.kind} {self.job_id}"


class Queue(models.Model):
    """What is kept of a queue. One that nobody ever paused has no row."""

    name = models.CharField(primary_key=True, max_length=255)
    paused = models.BooleanField(default=False)

    class Meta:
        verbose_name = "queue"
        verbose_name_plural = "queues"

    def __str__(self) -> str:
        return self.name


class Group(models.Model):
    """The shape of a group that was put together by hand."""

    id = models.CharField(primary_key=True, max_length=ID_LENGTH)
    tree = models.JSONField(help_text="Ids of jobs, and lists of such.")

    class Meta:
        db_table = "dask_facade_saved_group"  # an index has the name without "saved"
        verbose_name = "group"
        verbose_name_plural = "groups"

    def __str__(self) -> str:
        return self.id


class Schedule(models.Model):
    """What is kept of an entry of the schedule; what it calls, and when, the settings say."""

    name = models.TextField(primary_key=True)
    last_run = models.FloatField(help_text="Seconds since the epoch.")
    runs = models.BigIntegerField(default=0)

    class Meta:
        verbose_name = "schedule"
        verbose_name_plural = "schedules"

    def __str__(self) -> str:
        return self.name


class Lease(models.Model):
    """Which dispatcher leads. There is one row."""

    name = models.CharField(primary_key=True, max_length=32)
    epoch = models.BigIntegerField(help_text="Grows with each change of leader.")
    beat = models.BigIntegerField(help_text="Grows while the leader lives.")
    holder = models.CharField(max_length=255, blank=True, default="")
    addresses = models.JSONField(default=list, blank=True)
    secret = models.BinaryField()
    scheduler = models.CharField(
        max_length=255, blank=True, default="", help_text="Address of the Dask scheduler."
    )
    updated = models.DateTimeField(default=timezone.now)

    class Meta:
        verbose_name = "lease"
        verbose_name_plural = "leases"

    def __str__(self) -> str:
        return f"{self.name}: {self.holder or 'nobody'}, epoch {self.epoch}"
