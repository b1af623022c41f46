"""The ledger's tables."""

from __future__ import annotations

import django.utils.timezone
from django.db import migrations, models

import dask_facade.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Lease",
            fields=[
                ("name", models.CharField(max_length=32, primary_key=True, serialize=False)),
                ("epoch", models.BigIntegerField(help_text="Grows with each change of leader.")),
                ("beat", models.BigIntegerField(help_text="Grows while the leader lives.")),
                ("holder", models.CharField(blank=True, default="", max_length=255)),
                ("addresses", models.JSONField(blank=True, default=list)),
                ("secret", models.BinaryField()),
                ("updated", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "lease",
                "verbose_name_plural": "leases",
            },
        ),
        migrations.CreateModel(
            name="Request",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("kind", models.CharField(max_length=32)),
                ("job_id", models.CharField(max_length=255, verbose_name="job")),
                ("arguments", models.JSONField(blank=True, default=dict)),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
            ],
            options={
                "verbose_name": "request",
                "verbose_name_plural": "requests",
            },
        ),
        migrations.CreateModel(
            name="Edge",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("parent_id", models.CharField(max_length=255, verbose_name="parent")),
                ("child_id", models.CharField(max_length=255, verbose_name="child")),
                ("position", models.IntegerField()),
                ("takes_result", models.BooleanField()),
            ],
            options={
                "verbose_name": "dependency",
                "verbose_name_plural": "dependencies",
                "indexes": [
                    models.Index(fields=["parent_id"], name="dask_facade_edge_parent"),
                    models.Index(fields=["child_id", "position"], name="dask_facade_edge_child"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Job",
            fields=[
                (
                    "id",
                    dask_facade.models.JobIdField(
                        max_length=255, primary_key=True, serialize=False
                    ),
                ),
                ("task", models.CharField(max_length=255)),
                ("queue", models.CharField(max_length=255)),
                ("priority", models.IntegerField(default=0, help_text="Larger goes first.")),
                ("payload", models.BinaryField(verbose_name="stored arguments")),
                ("arguments", models.TextField(blank=True, default="", help_text="A preview.")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("FAILURE", "FAILURE"),
                            ("PENDING", "PENDING"),
                            ("RECEIVED", "RECEIVED"),
                            ("RETRY", "RETRY"),
                            ("REVOKED", "REVOKED"),
                            ("STARTED", "STARTED"),
                            ("SUCCESS", "SUCCESS"),
                        ],
                        default="PENDING",
                        max_length=16,
                    ),
                ),
                ("attempt", models.IntegerField(default=1)),
                ("hand", models.IntegerField(default=0, verbose_name="times claimed")),
                ("lost", models.IntegerField(default=0, verbose_name="workers lost")),
                (
                    "open",
                    models.IntegerField(
                        blank=True,
                        help_text="Unknown: no dispatcher has taken the job up yet. 0: it is ready.",
                        null=True,
                        verbose_name="open dependencies",
                    ),
                ),
                ("runner", models.CharField(blank=True, default="", max_length=255)),
                ("worker", models.CharField(blank=True, default="", max_length=255)),
                ("acks_late", models.BooleanField(default=False)),
                ("ignore_result", models.BooleanField(default=False)),
                ("shape", models.SmallIntegerField(default=0, verbose_name="shape of the inputs")),
                ("root_id", models.CharField(max_length=255, verbose_name="root")),
                (
                    "parent_id",
                    models.CharField(blank=True, max_length=255, null=True, verbose_name="parent"),
                ),
                (
                    "group_id",
                    models.CharField(blank=True, max_length=255, null=True, verbose_name="group"),
                ),
                ("created", models.DateTimeField(default=django.utils.timezone.now)),
                ("eta", models.DateTimeField(blank=True, null=True, verbose_name="not before")),
                ("claimed", models.DateTimeField(blank=True, null=True)),
                ("started", models.DateTimeField(blank=True, null=True)),
                ("finished", models.DateTimeField(blank=True, null=True)),
                ("runtime", models.FloatField(blank=True, help_text="Seconds.", null=True)),
                ("result", models.BinaryField(blank=True, null=True, verbose_name="stored result")),
                ("result_preview", models.TextField(blank=True, default="", verbose_name="result")),
                ("traceback", models.TextField(blank=True, null=True)),
            ],
            options={
                "verbose_name": "job",
                "verbose_name_plural": "jobs",
                "indexes": [
                    models.Index(
                        condition=models.Q(
                            ("eta__isnull", True), ("open__isnull", True), ("state", "PENDING")
                        ),
                        fields=["-priority", "created"],
                        name="dask_facade_new",
                    ),
                    models.Index(
                        condition=models.Q(
                            ("eta__isnull", False),
                            ("open__isnull", True),
                            ("state__in", ["PENDING", "RETRY"]),
                        ),
                        fields=["eta"],
                        name="dask_facade_due",
                    ),
                    models.Index(
                        condition=models.Q(("open", 0), ("state__in", ["PENDING", "RETRY"])),
                        fields=["open"],
                        name="dask_facade_taken",
                    ),
                    models.Index(
                        condition=models.Q(("state__in", ["RECEIVED", "STARTED"])),
                        fields=["runner"],
                        name="dask_facade_in_flight",
                    ),
                    models.Index(
                        condition=models.Q(("group_id__isnull", False)),
                        fields=["group_id", "created"],
                        name="dask_facade_group",
                    ),
                    models.Index(fields=["state", "created"], name="dask_facade_state"),
                ],
            },
        ),
    ]
