"""Whether a job is to be revoked, or aborted, is looked up by its id."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dask_facade", "0004_named_jobs")]

    operations = [
        migrations.AddIndex(
            model_name="request",
            index=models.Index(fields=["job_id"], name="dask_facade_request_job"),
        ),
    ]
