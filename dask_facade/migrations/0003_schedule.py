"""When the entries of the schedule ran last."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dask_facade", "0002_options_queues_groups")]

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("last_run", models.FloatField(help_text="Seconds since the epoch.")),
                ("runs", models.BigIntegerField(default=0)),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
            },
        ),
    ]
