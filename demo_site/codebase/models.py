"""Which main jobs were started from this site."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Run(models.Model):
    """One submission of the main job; its state and result are those of the job."""

    job_id = models.CharField(max_length=255, unique=True)
    group_id = models.CharField(max_length=255)
    created = models.DateTimeField(auto_now_add=True)
    files = models.PositiveIntegerField()

    class Meta:
        ordering = ("-created", "-pk")

    def __str__(self) -> str:
        return f"{self.files} files, job {self.job_id}"

    def get_absolute_url(self) -> str:
        """Return the address of the run's page."""
        return reverse("run", args=[self.job_id])
