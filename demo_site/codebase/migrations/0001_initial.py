from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True
    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Run",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("job_id", models.CharField(max_length=255, unique=True)),
                ("group_id", models.CharField(max_length=255)),
                ("created", models.DateTimeField(auto_now_add=True)),
                ("files", models.PositiveIntegerField()),
            ],
            options={"ordering": ("-created", "-pk")},
        ),
    ]
