"""What Celery has for Django's projects, under its names: here all tasks are Django's."""

from __future__ import annotations
