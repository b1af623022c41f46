"""What is asked for in JSON, and jobs as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import models
from django.utils import timezone
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.reverse import reverse

from dask_facade.models import ID_LENGTH, Job
from dask_facade.serialization import NONE, loads

FARTHEST = timedelta(days=3650).total_seconds()
SMALLEST, LARGEST = -(2**31), 2**31 - 1
JSON_FORM = NONE[:1]
"""The first byte of what is stored as JSON. Nothing else is read here."""


class Strict(serializers.Serializer):  # type: ignore[type-arg]  # not generic at run time
    """Refuses names that it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values."""
        if isinstance(data, Mapping) and (unknown := sorted(map(str, data.keys() - self.fields))):
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {name: [f"There is no such field; there are {known}."] for name in unknown}
            )
        return super().to_internal_value(data)


class Moment(serializers.DateTimeField):
    """A time that says its zone."""

    default_error_messages = {"naive": "Say the time zone, as in 2030-01-31T12:00:00Z."}

    def enforce_timezone(self, value: datetime) -> datetime:
        """Return *value*; raise ValidationError if it has no zone."""
        if timezone.is_naive(value):
            self.fail("naive")
        return super().enforce_timezone(value)


class UtcTime(serializers.DateTimeField):
    """A time of ours, said in UTC."""

    def to_representation(self, value: Any) -> str:
        """Return the time as text."""
        aware = timezone.make_aware(value) if timezone.is_naive(value) else value
        return f"{aware.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


class Seconds(serializers.FloatField):
    """A number of seconds from now, of 0 or more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=FARTHEST, **options)

    def to_internal_value(self, data: Any) -> float:
        """Return *data* as a number."""
        value = super().to_internal_value(data)
        if math.isnan(value):
            self.fail("invalid")
        return value


class OptionsSerializer(Strict):
    """How a job is to be run."""

    queue = serializers.CharField(max_length=255, required=False)
    priority = serializers.IntegerField(min_value=SMALLEST, max_value=LARGEST, required=False)
    countdown = Seconds(required=False)
    eta = Moment(required=False)
    expires = Moment(required=False)
    task_id = serializers.CharField(max_length=ID_LENGTH, trim_whitespace=False, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse two times to begin at."""
        if "countdown" in attrs and "eta" in attrs:
            raise serializers.ValidationError("Say countdown or eta, not both.")
        return attrs


class SubmissionSerializer(Strict):
    """A task's name, its arguments and options."""

    task = serializers.CharField(max_length=255)
    args = serializers.ListField(default=list)
    kwargs = serializers.DictField(default=dict)
    options = OptionsSerializer(default=dict)


class CancelSerializer(Strict):
    """Whether a job that runs is to be ended, too."""

    terminate = serializers.BooleanField(default=False)


class JobSerializer(serializers.ModelSerializer[Job]):
    """A job as its row says."""

    serializer_field_mapping = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.DateTimeField: UtcTime,
    }

    url = serializers.SerializerMethodField()
    group = serializers.CharField(source="group_id")
    # Declared fields are no attributes of the class.
    parent = serializers.CharField(source="parent_id")  # type: ignore[assignment]  # see above
    root = serializers.CharField(source="root_id")  # type: ignore[assignment]  # see above
    result_preview = serializers.CharField()
    meta = serializers.SerializerMethodField()

    class Meta:
        model = Job
        fields = [
            "id",
            "url",
            "task",
            "state",
            "said",
            "meta",
            "queue",
            "priority",
            "attempt",
            "owner",
            "arguments",
            "result_preview",
            "group",
            "parent",
            "root",
            "worker",
            "created",
            "eta",
            "expires",
            "started",
            "finished",
            "runtime",
        ]
        read_only_fields = fields

    def get_url(self, job: Job) -> str:
        """Return where the job is."""
        return job_url(job.id, self.context.get("request"))

    def get_meta(self, job: Job) -> Any:
        """Return what the task said of its progress, where JSON says it."""
        return None if job.meta is None else read_json(bytes(job.meta))[0]


def job_url(id: str, request: Request | None) -> str:
    """Return the address of a job: absolute where *request* is known."""
    return reverse("dask_facade_api:job", args=[id], request=request)


def read_json(stored: bytes) -> tuple[Any, bool]:
    """Return the value of stored bytes and True, or None and False where they are no JSON."""
    return (loads(stored), True) if stored[:1] == JSON_FORM else (None, False)
