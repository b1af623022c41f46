"""What a job says while it runs, where its result is kept, and how it goes on."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dask_facade", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Group",
            fields=[
                ("id", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("tree", models.JSONField(help_text="Ids of jobs, and lists of such.")),
            ],
            options={
                "verbose_name": "group",
                "verbose_name_plural": "groups",
                "db_table": "dask_facade_saved_group",
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[
                ("name", models.CharField(max_length=255, primary_key=True, serialize=False)),
                ("paused", models.BooleanField(default=False)),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
            },
        ),
        migrations.AddField(
            model_name="lease",
            name="scheduler",
            field=models.CharField(
                blank=True, default="", help_text="Address of the Dask scheduler.", max_length=255
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="expires",
            field=models.DateTimeField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name="job",
            name="delay",
            field=models.FloatField(
                default=0, help_text="Seconds from when it waits for nothing else."
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="graph",
            field=models.BooleanField(default=False, help_text="It follows a Dask future."),
        ),
        migrations.AddField(
            model_name="job",
            name="owner",
            field=models.CharField(blank=True, default="", max_length=255),
        ),
        migrations.AddField(
            model_name="job",
            name="options",
            field=models.BinaryField(blank=True, default=b"", verbose_name="stored options"),
        ),
        migrations.AddField(
            model_name="job",
            name="errbacks",
            field=models.BinaryField(
                blank=True, default=b"", verbose_name="stored error callbacks"
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="said",
            field=models.CharField(
                blank=True, default="", max_length=64, verbose_name="state of its own"
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="meta",
            field=models.BinaryField(
                blank=True, null=True, verbose_name="stored words of its own"
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="key",
            field=models.CharField(
                blank=True,
                default="",
                help_text="The result is Dask data, too.",
                max_length=255,
            ),
        ),
        migrations.AddField(
            model_name="job",
            name="size",
            field=models.BigIntegerField(
                default=0, help_text="Bytes of a result that has a key."
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("parent_id__isnull", False)),
                fields=["parent_id"],
                name="dask_facade_parent",
            ),
        ),
        migrations.AddIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("owner__gt", "")),
                fields=["owner", "id"],
                name="dask_facade_owner",
            ),
        ),
    ]
